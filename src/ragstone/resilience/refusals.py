"""Why a gate refuses, and after how long it is worth trying again."""

from random import Random
from typing import Final

from ragstone.domain.errors import (
    DeadlineExceeded,
    Overloaded,
    RagstoneError,
    ShuttingDown,
    TooManyRequests,
)
from ragstone.domain.principal import PRIORITIES
from ragstone.resilience.capacity import Capacity
from ragstone.resilience.waiting import WaitingRoom

_LOWEST: Final = len(PRIORITIES) - 1
_LEAST_RETRY_SECONDS: Final = 1.0


class Refusals:
    """Of the gate called `name`. They are returned, not raised."""

    def __init__(self, name: str, capacity: Capacity, room: WaitingRoom, random: Random) -> None:
        self._name = name
        self._capacity = capacity
        self._room = room
        self._random = random

    def expected_wait(self, tenant: str, rank: int, weight: int = 0) -> float:
        """Seconds until the last waiter of a tenant and class gets in, or one more of a weight."""
        units = self._room.units_until(tenant, rank, weight)
        return self._capacity.seconds_until_free(units, rank)

    def waits_in_vain(
        self, tenant: str, expected: float, *, longest: float, left: float
    ) -> RagstoneError | None:
        """None if the expected wait is no longer than it may be, nor than its deadline leaves."""
        if expected > left:
            return self.too_late()
        if expected > longest:
            return self.no_room(tenant)
        return None

    def no_room(self, tenant: str) -> RagstoneError:
        if self._has_share_among_others(tenant):
            return TooManyRequests(
                f"This tenant has its share of the {self._name} in use, and others get in.",
                remedy="Send fewer requests at once, or try again later.",
                retry_after=self.retry_after(),
            )
        return Overloaded(
            f"The {self._name} has no room for another request now.",
            remedy="Try again later.",
            retry_after=self.retry_after(),
        )

    def too_late(self) -> RagstoneError:
        return DeadlineExceeded(
            f"The request's time is used up before the {self._name} has room for it.",
            remedy="Try again later, or allow more time.",
            retry_after=self.retry_after(),
        )

    def shutting_down(self) -> RagstoneError:
        return ShuttingDown(
            "The server is shutting down.",
            remedy="Try again: another process answers.",
            retry_after=_LEAST_RETRY_SECONDS,
        )

    def retry_after(self) -> float:
        """Seconds: the wait behind all who wait now, times 1 to 2 so that not all come at once."""
        waiting = sum(line.units for line in self._room.lines)
        expected = self._capacity.seconds_until_free(waiting, _LOWEST)
        return max(_LEAST_RETRY_SECONDS, expected) * self._random.uniform(1.0, 2.0)

    def _has_share_among_others(self, tenant: str) -> bool:
        units = self._capacity.units
        others = units.total() > units.of(tenant) or self._room.count > self._room.of(tenant)
        return others and not self._capacity.within_share(tenant, 1)
