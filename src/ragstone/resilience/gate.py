"""Who may begin now, who waits, and who is refused at once: one limit, held exactly.

    in use + weight <= limit          of the class: critical all of it, standard 95 %,
                                      sheddable 80 %; a request heavier than that gets in alone
    weight                            at most one tenant's share of the limit
    kept free                         by tenants above their share: what the others had in use of
                                      late and one unit more, up to one share
    next                              tenants below their share before those above it; then by
                                      class; then the tenant with the fewest units; then the
                                      oldest, or the newest where the line stands
    longest wait                      CoDel, for each class: see `wait_limit`
    refused at once                   the room is full and nobody in it ranks lower, or the
                                      expected wait is longer than what may be waited

Units pass from who leaves to who is next within one turn of the event loop, so none is in use
twice or lost, whoever is cancelled when.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from ragstone.domain.errors import DeadlineExceeded, RagstoneError
from ragstone.domain.principal import PRIORITIES, Priority
from ragstone.ports import Clock
from ragstone.resilience.capacity import Capacity
from ragstone.resilience.refusals import Refusals
from ragstone.resilience.ticket import Ticket
from ragstone.resilience.turn_order import TurnOrder
from ragstone.resilience.units import LocalUnits, Units
from ragstone.resilience.wait_limit import WaitLimit
from ragstone.resilience.waiting import WaitingRoom
from ragstone.resilience.waiting_line import Waiter

_RANK: Final[dict[Priority, int]] = {name: rank for rank, name in enumerate(PRIORITIES)}
_POLL_SECONDS: Final = 0.002
"""How soon a waiter notices units that another process freed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """How many wait, and how long."""

    queue: int
    """Requests that may wait; one more is refused, or takes the place of a lesser one."""
    target_seconds: float
    """Longest wait under overload."""
    interval_seconds: float
    """Longest wait otherwise, and how long a queue stands before that is overload."""
    tenant_share: float
    """Of the units and of the queue: what one tenant has before others that wait."""


class Gate:
    """At most `limit()` units in use at once; `name` stands in refusals.

    With a `board` the limit holds over all processes that share it. `limit` may change at any
    time: when it falls below what is in use, nobody is let in until it is above again; call
    `kick` when it has risen. `random` spreads `Retry-After`. Not to be shared between threads.
    """

    def __init__(
        self,
        name: str,
        *,
        limit: Callable[[], int],
        settings: GateSettings,
        clock: Clock,
        board: Units | None = None,
        random: Random | None = None,
    ) -> None:
        self._clock = clock
        self._units = board if board is not None else LocalUnits()
        self._capacity = Capacity(limit, self._units, tenant_share=settings.tenant_share)
        self._room = WaitingRoom(
            settings.queue,
            tenant_share=settings.tenant_share,
            in_use=self._units.own_of,
            new_wait_limit=lambda: WaitLimit(
                target=settings.target_seconds, interval=settings.interval_seconds
            ),
        )
        self._refusals = Refusals(name, self._capacity, self._room, random or Random())
        self._order = TurnOrder(self._capacity, self._room)
        self._poll: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def limit(self) -> int:
        """Units that may be in use at once, by all processes."""
        return self._capacity.limits()[0]

    @property
    def in_use(self) -> int:
        """Units in use by this process."""
        return self._units.own

    @property
    def waiting(self) -> int:
        """Requests of this process that wait."""
        return self._room.count

    def check(
        self,
        *,
        tenant: str,
        priority: Priority,
        weight: int,
        deadline: float,
        hurried: bool = True,
    ) -> None:
        """Raises what `acquire` would raise at once, and takes nothing.

        Who may need no unit after all is not `hurried`: under overload it is refused later.
        """
        now = self._clock.monotonic()
        rank = _RANK[priority]
        self._refuse_late(now, deadline)
        weight = self._capacity.at_most_a_share(weight)
        if self._capacity.fits(tenant, rank, weight, now):
            return
        waiter = Waiter(tenant, rank, weight, since=now, deadline=deadline)
        joins = not hurried or not self._room.lines[rank] or self._order.may_join(waiter, now)
        error = self._in_vain(waiter, weight, joins=joins)
        if error is None and self._room.full and self._room.displaced_by(tenant, rank) is None:
            error = self._refusals.no_room(tenant)
        if error is not None:
            self._turned_away(rank, error, now)
            try:
                raise error
            finally:
                del error  # see `_wait`

    async def acquire(
        self, *, tenant: str, priority: Priority, weight: int = 1, deadline: float
    ) -> Ticket:
        """Waits for `weight` units, at least 1 and at most a tenant's share of the limit.

        `deadline` is a reading of `Clock.monotonic`.

        Raises `Overloaded`, `TooManyRequests` (the tenant has its share, and others get in),
        `ShuttingDown`, `DeadlineExceeded` (it would begin too late).
        """
        now = self._clock.monotonic()
        rank = _RANK[priority]
        self._refuse_late(now, deadline)
        weight = self._capacity.at_most_a_share(weight)
        units = self._units
        if (
            not self._room.count
            and not units.contested
            and units.take(tenant, weight, self._capacity.limit_of(tenant, rank, weight, now))
        ):
            return self._ticket(tenant, weight, now, 0.0)
        return await self._wait(Waiter(tenant, rank, weight, since=now, deadline=deadline))

    def kick(self) -> None:
        """The limit may have risen: lets in who has room now."""
        if self._room.count:
            self._dispatch()

    def close(self) -> None:
        """Refuses from now on, and whoever waits. What is in use goes on."""
        self._closed = True
        now = self._clock.monotonic()
        for line in self._room.lines:
            while line:
                self._refuse(line.head(now), self._refusals.shutting_down())
        self._tell_others(None)

    def retry_after(self) -> float:
        """Seconds after which who is refused now may try again; random within a factor of two."""
        return self._refusals.retry_after()

    def _refuse_late(self, now: float, deadline: float) -> None:
        if self._closed:
            raise self._refusals.shutting_down()
        if deadline <= now:
            raise self._refusals.too_late()

    # Waiting

    async def _wait(self, waiter: Waiter) -> Ticket:
        self._room.push(waiter)
        self._dispatch()
        if waiter.outcome is None:
            self._make_room_for(waiter)
        if waiter.outcome is None:
            await self._turn_of(waiter)
        outcome = waiter.outcome
        if isinstance(outcome, Ticket):
            return outcome
        assert outcome is not None
        try:
            raise outcome
        finally:
            # An error knows its frames: one that knows the error keeps all of them, with the
            # request's data, until a garbage collection, which holds up everybody.
            del outcome, waiter

    def _make_room_for(self, waiter: Waiter) -> None:
        """Refuses the newcomer, or in a room that is too full whoever ranks least."""
        rank, now = waiter.rank, waiter.since
        error = self._in_vain(waiter, 0, joins=self._order.may_join(waiter, now))
        if error is not None:
            self._refuse(waiter, error)
            self._turned_away(rank, error, now)
        elif self._room.overfull:
            lesser = self._room.displaced_by(waiter.tenant, rank) or waiter
            self._refuse(lesser, error := self._refusals.no_room(lesser.tenant))
            self._turned_away(lesser.rank, error, now)
            self._dispatch()  # who left may have been too heavy, and in the way of others

    def _in_vain(self, waiter: Waiter, more: int, *, joins: bool) -> RagstoneError | None:
        """Why who comes now would wait in vain, if so. `more`: what it adds to those in line."""
        wait_limit, now = self._room.wait_limit(waiter.rank), waiter.since
        expected = self._refusals.expected_wait(waiter.tenant, waiter.rank, more)
        waiter.due = wait_limit.due(now, expected)
        longest = wait_limit.longest if joins else wait_limit.worth_while(now)
        left = waiter.deadline - now
        return self._refusals.waits_in_vain(waiter.tenant, expected, longest=longest, left=left)

    def _turned_away(self, rank: int, error: RagstoneError, now: float) -> None:
        if not isinstance(error, DeadlineExceeded):  # a client in haste tells nothing of the load
            self._room.wait_limit(rank).turned_away(now)

    async def _turn_of(self, waiter: Waiter) -> None:
        allowed = self._room.wait_limit(waiter.rank).allowed(waiter.since)
        waiter.turn = asyncio.get_running_loop().create_future()
        self._let_wait(waiter, allowed, waiter.since)
        try:
            await waiter.turn
        except asyncio.CancelledError:
            self._leave(waiter)
            raise
        finally:
            if waiter.timer is not None:
                waiter.timer.cancel()

    def _let_wait(self, waiter: Waiter, seconds: float, now: float) -> None:
        left = waiter.deadline - now
        waiter.timer = asyncio.get_running_loop().call_later(
            min(seconds, left), self._give_up, waiter, left <= seconds
        )

    def _leave(self, waiter: Waiter) -> None:
        """The waiter's task was cancelled, perhaps in the very turn in which it was let in."""
        if isinstance(waiter.outcome, Ticket):
            waiter.outcome.release()
        elif waiter.outcome is None:
            self._room.remove(waiter)
            self._dispatch()  # as above

    def _give_up(self, waiter: Waiter, at_deadline: bool) -> None:
        if waiter.outcome is not None:
            return
        now = self._clock.monotonic()
        wait_limit = self._room.wait_limit(waiter.rank)
        if at_deadline:
            self._refuse(waiter, self._refusals.too_late())
        elif self._order.may_stay(waiter, now) and (
            more := wait_limit.extension(now - waiter.since)
        ):
            self._let_wait(waiter, more, now)
        else:
            wait_limit.gave_up(now)
            self._refuse(waiter, self._refusals.no_room(waiter.tenant))
        self._dispatch()

    def _refuse(self, waiter: Waiter, error: RagstoneError) -> None:
        self._room.remove(waiter)
        waiter.settle(error)

    # Letting in

    def _ticket(self, tenant: str, weight: int, now: float, waited: float) -> Ticket:
        return Ticket(tenant, weight, since=now, waited=waited, give_back=self._give_back)

    def _give_back(self, ticket: Ticket) -> None:
        self._units.give(ticket.tenant, ticket.weight)
        self._capacity.held_for(self._clock.monotonic() - ticket.since)
        if self._room.count:
            self._room.freed(ticket.tenant)
            self._dispatch()

    def _dispatch(self) -> None:
        """Lets in whoever may begin now."""
        now = self._clock.monotonic()
        place = None
        while self._room.count:
            waiter, place = self._order.next(now)
            if waiter is None:
                break
            if waiter.deadline <= now:
                self._refuse(waiter, self._refusals.too_late())
            elif not self._let_in(waiter, now):
                break
            place = None
        self._tell_others(place)

    def _let_in(self, waiter: Waiter, now: float) -> bool:
        limit = self._capacity.limit_of(waiter.tenant, waiter.rank, waiter.weight, now)
        if not self._units.take(waiter.tenant, waiter.weight, limit):
            return False  # another process was quicker
        waited = now - waiter.since
        self._room.wait_limit(waiter.rank).served(now, waited)
        self._room.remove(waiter)
        waiter.settle(self._ticket(waiter.tenant, waiter.weight, now, waited))
        return True

    def _tell_others(self, place: int | None) -> None:
        """Other processes learn who waits here, and this one looks again soon."""
        self._units.want(place)
        if place is not None and self._poll is None and self._units.processes > 1:
            self._poll = asyncio.get_running_loop().call_later(_POLL_SECONDS, self._look_again)

    def _look_again(self) -> None:
        self._poll = None
        self._dispatch()
