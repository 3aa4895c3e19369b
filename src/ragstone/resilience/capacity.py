"""How much of a limit each class and each tenant may use, and how soon it becomes free again."""

from collections.abc import Callable
from typing import Final

from ragstone.domain.principal import PRIORITIES, Priority
from ragstone.resilience.units import Units

RESERVED: Final[dict[Priority, float]] = {"critical": 0.0, "standard": 0.05, "sheddable": 0.2}
"""Share of the limit that a class may not use, so that what ranks higher finds room at once.

Stripe keeps 20 % of its workers for critical requests ("Scaling your API with rate limiters",
2017). The share is rounded, so a limit below 10 reserves nothing against standard requests."""

KEEPING_SECONDS: Final = 5.0
"""What others had in use within the last one to two of these is kept for them."""

_SMOOTHING: Final = 0.05
"""Weight of the newest hold in the running mean."""


class Capacity:
    """A limit that may change at any time, the units of it in use, and how long they are held.

    A rank is an index in `PRIORITIES`.

    A tenant above its share leaves free what the others had in use of late, and one unit more,
    up to one share.
    Turns alone are not enough: units taken at once come back at once, and when all holds last
    about as long, whoever arrives between has to wait for nearly a whole one.
    """

    __slots__ = (
        "_class_limits",
        "_class_limits_of",
        "_limit",
        "_mean_hold",
        "_others",
        "_others_before",
        "_others_since",
        "_share",
        "units",
    )

    def __init__(self, limit: Callable[[], int], units: Units, *, tenant_share: float) -> None:
        self._limit = limit
        self.units = units
        self._share = tenant_share
        self._class_limits = (0,) * len(PRIORITIES)
        self._class_limits_of = -1
        self._mean_hold = 0.0
        # Most units that others than this tenant, which is above its share, had in use.
        self._others: dict[str, int] = {}
        self._others_before: dict[str, int] = {}
        self._others_since = 0.0

    def limits(self) -> tuple[int, ...]:
        """By rank: the most units that may be in use after one more of the class got in."""
        limit = self._limit()
        if limit != self._class_limits_of:
            self._class_limits_of = limit
            self._class_limits = tuple(
                max(1, limit - round(RESERVED[name] * limit)) for name in PRIORITIES
            )
        return self._class_limits

    def limit_of(self, tenant: str, rank: int, weight: int, now: float) -> int:
        """The most units that may be in use after one more of this tenant and class got in."""
        limit = self.limits()[rank]
        held = self.units.of(tenant)
        if held == 0 or held + weight <= self._tenant_units():
            return limit
        others = self.units.total() - held
        return limit - max(0, self._kept_from(tenant, others, now) - others)

    def fits(self, tenant: str, rank: int, weight: int, now: float) -> bool:
        """Whether so many units are free for it; what is heavier than all gets in alone."""
        total = self.units.total()
        return total == 0 or total + weight <= self.limit_of(tenant, rank, weight, now)

    def within_share(self, tenant: str, weight: int) -> bool:
        """Whether the tenant has no more than its share with so many units more."""
        held = self.units.of(tenant)
        return held == 0 or held + weight <= self._tenant_units()

    def at_most_a_share(self, weight: int) -> int:
        """The units that a request of this weight takes: no more than a tenant's share.

        So a few heavy requests never have the whole limit, and nobody waits behind one that
        needs it empty.
        """
        return min(weight, self._tenant_units())

    def _kept_from(self, tenant: str, others: int, now: float) -> int:
        """Units that are not for this tenant, where the others have so many in use now.

        Constant time; what is remembered is bounded by the tenants above their share.
        """
        if now - self._others_since >= KEEPING_SECONDS:
            recent = now - self._others_since < 2 * KEEPING_SECONDS
            self._others_before = self._others if recent else {}
            self._others = {}
            self._others_since = now
        most = self._others[tenant] = max(others, self._others.get(tenant, 0))
        most = max(most, self._others_before.get(tenant, 0))
        # One more than that, so that who uses more from now on does not wait for each unit.
        return min(most + 1, self._tenant_units()) if most else 0

    def _tenant_units(self) -> int:
        return max(1, int(self._share * self.limits()[0]))

    def held_for(self, seconds: float) -> None:
        """Units were given back after that long."""
        self._mean_hold += (seconds - self._mean_hold) * (_SMOOTHING if self._mean_hold else 1.0)

    def seconds_until_free(self, units: int, rank: int) -> float:
        """Until the class was given so many, at the rate of late (Little's law)."""
        return units * self._mean_hold * self.units.processes / self.limits()[rank]
