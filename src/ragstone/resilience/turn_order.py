"""Whose turn it is at a gate, and who may stay although the time that one may wait is over."""

from typing import Final

from ragstone.domain.principal import PRIORITIES
from ragstone.resilience.capacity import Capacity
from ragstone.resilience.waiting import WaitingRoom
from ragstone.resilience.waiting_line import Waiter

_CLASSES: Final = len(PRIORITIES)


class TurnOrder:
    """Tenants below their share before those above it; then by class; then as in the line.

    Places in line are numbered in that order from 0: the classes below the share, then above it.
    """

    __slots__ = ("_capacity", "_room", "_units")

    def __init__(self, capacity: Capacity, room: WaitingRoom) -> None:
        self._capacity = capacity
        self._units = capacity.units
        self._room = room

    def next(self, now: float) -> tuple[Waiter | None, int | None]:
        """Who is to be let in, None if nobody; and the place in line of the first who waits.

        Who does not fit keeps back all that come later, except the higher classes: their limits
        leave room that it could never have.
        """
        foremost: int | None = None
        ranks = _CLASSES
        for entitled in (True, False):
            for rank, line in enumerate(self._room.lines[:ranks]):
                if not line:
                    continue
                waiter = line.head(now)
                if entitled and not self._capacity.within_share(waiter.tenant, waiter.weight):
                    continue
                place = rank if entitled else rank + _CLASSES
                if self._capacity.fits(waiter.tenant, rank, waiter.weight, now):
                    gives_way = self._units.gives_way(place, self._capacity.limits())
                    return (None if gives_way else waiter), place
                foremost = place if foremost is None else foremost
                ranks = rank
                break
        return None, foremost

    def may_stay(self, waiter: Waiter, now: float) -> bool:
        """Whether it is not for a long queue that it waited, or not for its own tenant's.

        That is so for who is next, and for a tenant that even with one more would ask for no more
        than an equal part: what makes it wait is another's flood.
        """
        held = self._units.of(waiter.tenant)
        asked = held + self._room.of(waiter.tenant)
        others = self._units.total() > held
        active = max(self._units.own_tenants, self._room.tenants, 2 if others else 1)
        if (asked + 1) * active <= self._capacity.limits()[waiter.rank]:
            return True
        return self._room.lines[waiter.rank].head(now) is waiter

    def may_join(self, waiter: Waiter, now: float) -> bool:
        """Whether it may wait in a line from which others are refused: whoever may stay, and
        who goes before another that has more than its share."""
        goes_first = self._capacity.within_share(waiter.tenant, waiter.weight)
        if goes_first and self._capacity.somebody_has_more_than_a_share():
            return True
        return self.may_stay(waiter, now)
