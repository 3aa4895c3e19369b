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

    A tenant above its share leaves free what the others had in use of late, also before it came
    itself, and one unit more, up to one share.
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
        "_total",
        "_total_before",
        "units",
    )

    def __init__(self, limit: Callable[[], int], units: Units, *, tenant_share: float) -> None:
        self._limit = limit
        self.units = units
        self._share = tenant_share
        self._class_limits = (0,) * len(PRIORITIES)
        self._class_limits_of = -1
        self._mean_hold = 0.0
        # Most units that others than this tenant had in use, and all: of late, and before that.
        self._others: dict[str, int] = {}
        self._others_before: dict[str, int] = {}
        self._total = self._total_before = 0
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
        total = self.units.total()
        used = self._used_by_others(tenant, total, total - held, now)
        if held == 0 or held + weight <= self._tenant_units():
            return limit
        # One more than that, so that who uses more from now on does not wait for each unit.
        kept = min(used + 1, self._tenant_units()) if used else 0
        return limit - max(0, kept - (total - held))

    def fits(self, tenant: str, rank: int, weight: int, now: float) -> bool:
        """Whether so many units are free for it; what is heavier than all gets in alone."""
        total = self.units.total()
        return total == 0 or total + weight <= self.limit_of(tenant, rank, weight, now)

    def within_share(self, tenant: str, weight: int) -> bool:
        """Whether the tenant has no more than its share with so many units more."""
        held = self.units.of(tenant)
        return held == 0 or held + weight <= self._tenant_units()

    def somebody_has_more_than_a_share(self) -> bool:
        """Whether a tenant does, as far as this process sees."""
        return self.units.own_most * self.units.processes > self._tenant_units()

    def at_most_a_share(self, weight: int) -> int:
        """The units that a request of this weight takes: no more than a tenant's share.

        So a few heavy requests never have the whole limit, and nobody waits behind one that
        needs it empty.
        """
        return min(weight, self._tenant_units())

    def _used_by_others(self, tenant: str, total: int, others: int, now: float) -> int:
        """The most units that others than this tenant had in use of late.

        Before a tenant came, all were others. Constant time; what is remembered is bounded by the
        tenants that came of late.
        """
        if now - self._others_since >= KEEPING_SECONDS:
            recent = now - self._others_since < 2 * KEEPING_SECONDS
            self._others_before, self._total_before = (
                (self._others, self._total) if recent else ({}, 0)
            )
            self._others, self._total = {}, 0
            self._others_since = now
        most = self._others.get(tenant)
        if most is None and tenant not in self._others_before:
            most = max(self._total, self._total_before)
        most = self._others[tenant] = max(others, most or 0)
        self._total = max(self._total, total)
        return max(most, self._others_before.get(tenant, 0))

    def _tenant_units(self) -> int:
        return max(1, int(self._share * self.limits()[0]))

    def held_for(self, seconds: float) -> None:
        """Units were given back after that long."""
        self._mean_hold += (seconds - self._mean_hold) * (_SMOOTHING if self._mean_hold else 1.0)

    def seconds_until_free(self, units: int, rank: int) -> float:
        """Until the class was given so many, at the rate of late (Little's law)."""
        return units * self._mean_hold * self.units.processes / self.limits()[rank]
