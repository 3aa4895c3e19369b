"""Who may begin now, who waits, and who is refused at once: one limit, held exactly.

    in use + weight <= limit          of the class: critical all of it, standard 95 %,
                                      sheddable 80 %; a request heavier than that gets in alone
    next                              tenants below their share before those above it; then by
                                      class; then the tenant with the fewest units; then the
                                      oldest, or under overload the newest
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

from ragstone.domain.errors import (
    DeadlineExceeded,
    Overloaded,
    RagstoneError,
    ShuttingDown,
    TooManyRequests,
)
from ragstone.domain.principal import PRIORITIES, Priority
from ragstone.ports import Clock
from ragstone.resilience.units import LocalUnits, Units
from ragstone.resilience.wait_limit import WaitLimit
from ragstone.resilience.waiting import Waiter, WaitingRoom

RESERVED: Final[dict[Priority, float]] = {"critical": 0.0, "standard": 0.05, "sheddable": 0.2}
"""Share of the limit that a class may not use, so that what ranks higher finds room at once.

Stripe keeps 20 % of its workers for critical requests ("Scaling your API with rate limiters",
2017). The share is rounded, so a limit below 10 reserves nothing against standard requests."""

_RANK: Final[dict[Priority, int]] = {name: rank for rank, name in enumerate(PRIORITIES)}
_CLASSES: Final = len(PRIORITIES)
_SMOOTHING: Final = 0.05
"""Weight of the newest hold in the running mean that the expected wait is computed from."""
_LEAST_RETRY_SECONDS: Final = 1.0
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


class Ticket:
    """Units in use, until `release`."""

    __slots__ = ("_gate", "_tenant", "_weight", "held", "since", "waited")

    def __init__(self, gate: "Gate", tenant: str, weight: int, since: float, waited: float) -> None:
        self._gate = gate
        self._tenant = tenant
        self._weight = weight
        self.held = True
        """Until `release`."""
        self.since = since
        """When it was let in, by `Clock.monotonic`."""
        self.waited = waited
        """Seconds in the queue."""

    def release(self) -> None:
        """Gives the units to who is next. A second call does nothing."""
        if self.held:
            self.held = False
            self._gate._give_back(self._tenant, self._weight, self.since)


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
        self._name = name
        self._limit = limit
        self._clock = clock
        self._random = random or Random()
        self._share = settings.tenant_share
        self._units = board if board is not None else LocalUnits()
        self._room = WaitingRoom(
            settings.queue, tenant_share=settings.tenant_share, in_use=self._units.own_of
        )
        self._wait_limits = tuple(
            WaitLimit(target=settings.target_seconds, interval=settings.interval_seconds)
            for _ in PRIORITIES
        )
        self._class_limits = (0,) * _CLASSES
        self._class_limits_of = -1
        self._mean_hold = 0.0
        self._poll: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def in_use(self) -> int:
        """Units in use by this process."""
        return self._units.own

    @property
    def waiting(self) -> int:
        """Requests of this process that wait."""
        return self._room.count

    def check(self, *, tenant: str, priority: Priority, weight: int, deadline: float) -> None:
        """Raises what `acquire` would raise at once, and takes nothing."""
        now = self._clock.monotonic()
        rank = _RANK[priority]
        self._refuse_late(now, deadline)
        if self._fits(rank, weight):
            return
        if (error := self._hopeless(tenant, rank, weight, now, deadline)) is not None:
            raise error
        if self._room.full and self._room.displaced_by(tenant, rank) is None:
            raise self._no_room(tenant)

    async def acquire(
        self, *, tenant: str, priority: Priority, weight: int = 1, deadline: float
    ) -> Ticket:
        """Waits for `weight` units, at least 1. `deadline` is a reading of `Clock.monotonic`.

        Raises `Overloaded`, `TooManyRequests` (the tenant has its share, and others get in),
        `ShuttingDown`, `DeadlineExceeded` (it would begin too late).
        """
        now = self._clock.monotonic()
        rank = _RANK[priority]
        self._refuse_late(now, deadline)
        units = self._units
        if (
            not self._room.count
            and not units.contested
            and units.take(tenant, weight, self._limits()[rank])
        ):
            return Ticket(self, tenant, weight, now, 0.0)
        return await self._wait(Waiter(tenant, rank, weight, since=now, deadline=deadline))

    def kick(self) -> None:
        """The limit may have risen: lets in who has room now."""
        if self._room.count:
            self._dispatch()

    def close(self) -> None:
        """Refuses from now on, and whoever waits. What is in use goes on."""
        self._closed = True
        for line in self._room.lines:
            while line:
                self._refuse(line.head(newest=False), self._shutting_down())
        self._tell_others(None)

    # Limits

    def _limits(self) -> tuple[int, ...]:
        """The most units that may be in use after one of each class got in."""
        limit = self._limit()
        if limit != self._class_limits_of:
            self._class_limits_of = limit
            self._class_limits = tuple(
                max(1, limit - round(RESERVED[name] * limit)) for name in PRIORITIES
            )
        return self._class_limits

    def _fits(self, rank: int, weight: int) -> bool:
        total = self._units.total()
        return total == 0 or total + weight <= self._limits()[rank]

    def _within_share(self, tenant: str, weight: int) -> bool:
        share = max(1, int(self._share * self._limits()[0]))
        held = self._units.of(tenant)
        return held == 0 or held + weight <= share

    # Waiting

    async def _wait(self, waiter: Waiter) -> Ticket:
        self._room.push(waiter)
        self._dispatch()
        if waiter.outcome is None:
            self._make_room_for(waiter)
        if waiter.outcome is None:
            await self._turn_of(waiter)
        if isinstance(waiter.outcome, Ticket):
            return waiter.outcome
        assert waiter.outcome is not None
        raise waiter.outcome

    def _make_room_for(self, waiter: Waiter) -> None:
        """Refuses the newcomer, or in a room that is too full whoever ranks least."""
        rank, now = waiter.rank, waiter.since
        if (error := self._hopeless(waiter.tenant, rank, 0, now, waiter.deadline)) is not None:
            self._refuse(waiter, error)
        elif self._room.overfull:
            lesser = self._room.displaced_by(waiter.tenant, rank) or waiter
            self._refuse(lesser, self._no_room(lesser.tenant))
            self._dispatch()  # who left may have been too heavy, and in the way of others
        if waiter.outcome is not None:
            self._wait_limits[rank].turned_away(now)

    async def _turn_of(self, waiter: Waiter) -> None:
        waiter.turn = asyncio.get_running_loop().create_future()
        self._let_wait(waiter, self._wait_limits[waiter.rank].allowed(waiter.since), waiter.since)
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
            self._remove(waiter)
            self._dispatch()  # as above

    def _give_up(self, waiter: Waiter, at_deadline: bool) -> None:
        if waiter.outcome is not None:
            return
        now = self._clock.monotonic()
        wait_limit = self._wait_limits[waiter.rank]
        if at_deadline:
            self._refuse(waiter, self._too_late())
        elif self._may_stay(waiter, now) and (more := wait_limit.extension(now - waiter.since)):
            self._let_wait(waiter, more, now)
        else:
            wait_limit.gave_up(now)
            self._refuse(waiter, self._no_room(waiter.tenant))
        self._dispatch()

    def _may_stay(self, waiter: Waiter, now: float) -> bool:
        """Whether it is not for a long queue that it waited, or not for its own tenant's.

        That is so for who is next, and for a tenant that even with one more would ask for no more
        than an equal part: what makes it wait is another's flood.
        """
        asked = self._units.own_of(waiter.tenant) + self._room.of(waiter.tenant)
        active = max(self._units.own_tenants, self._room.tenants)
        if (asked + 1) * active * self._units.processes <= self._limits()[waiter.rank]:
            return True
        line = self._room.lines[waiter.rank]
        return line.head(newest=self._wait_limits[waiter.rank].overloaded(now)) is waiter

    def _refuse(self, waiter: Waiter, error: RagstoneError) -> None:
        self._remove(waiter)
        waiter.settle(error)

    def _remove(self, waiter: Waiter) -> None:
        self._room.remove(waiter)
        if not self._room.lines[waiter.rank]:
            self._wait_limits[waiter.rank].emptied()

    # Letting in

    def _give_back(self, tenant: str, weight: int, since: float) -> None:
        self._units.give(tenant, weight)
        held = self._clock.monotonic() - since
        self._mean_hold += (held - self._mean_hold) * (_SMOOTHING if self._mean_hold else 1.0)
        if self._room.count:
            self._room.freed(tenant)
            self._dispatch()

    def _dispatch(self) -> None:
        """Lets in whoever may begin now."""
        now = self._clock.monotonic()
        place = None
        while self._room.count:
            waiter, place = self._next(now)
            if waiter is None:
                break
            if waiter.deadline <= now:
                self._refuse(waiter, self._too_late())
            elif not self._let_in(waiter, now):
                break
            place = None
        self._tell_others(place)

    def _next(self, now: float) -> tuple[Waiter | None, int | None]:
        """Who is to be let in, None if nobody; and the place in line of the first who waits.

        Places are numbered by share, then by class. Who does not fit keeps back all that come
        later, except the higher classes: their limits leave room that it could never have.
        """
        foremost: int | None = None
        ranks = _CLASSES
        for entitled in (True, False):
            for rank, line in enumerate(self._room.lines[:ranks]):
                if not line:
                    continue
                waiter = line.head(newest=self._wait_limits[rank].overloaded(now))
                if entitled and not self._within_share(waiter.tenant, waiter.weight):
                    continue
                place = rank if entitled else rank + _CLASSES
                if self._fits(rank, waiter.weight):
                    gives_way = self._units.gives_way(place, self._limits())
                    return (None if gives_way else waiter), place
                foremost = place if foremost is None else foremost
                ranks = rank
                break
        return None, foremost

    def _let_in(self, waiter: Waiter, now: float) -> bool:
        limit = self._limits()[waiter.rank]
        if not self._units.take(waiter.tenant, waiter.weight, limit):
            return False  # another process was quicker
        waited = now - waiter.since
        self._wait_limits[waiter.rank].served(now, waited)
        self._remove(waiter)
        waiter.settle(Ticket(self, waiter.tenant, waiter.weight, now, waited))
        return True

    def _tell_others(self, place: int | None) -> None:
        """Other processes learn who waits here, and this one looks again soon."""
        self._units.want(place)
        if place is not None and self._poll is None and self._units.processes > 1:
            self._poll = asyncio.get_running_loop().call_later(_POLL_SECONDS, self._look_again)

    def _look_again(self) -> None:
        self._poll = None
        self._dispatch()

    # Refusing

    def _refuse_late(self, now: float, deadline: float) -> None:
        if self._closed:
            raise self._shutting_down()
        if deadline <= now:
            raise self._too_late()

    def _hopeless(
        self, tenant: str, rank: int, weight: int, now: float, deadline: float
    ) -> RagstoneError | None:
        """Why it would wait in vain, by what is ahead of it and the rate at which that goes."""
        wait_limit = self._wait_limits[rank]
        lines = self._room.lines[: rank if wait_limit.overloaded(now) else rank + 1]
        expected = self._seconds_for(rank, sum(line.ahead_of(tenant, weight) for line in lines))
        if expected > deadline - now:
            return self._too_late()
        if expected > wait_limit.allowed(now):
            return self._no_room(tenant)
        return None

    def _seconds_for(self, rank: int, units: int) -> float:
        """Until so many units were freed, at the rate of late (Little's law)."""
        return units * self._mean_hold * self._units.processes / self._limits()[rank]

    def _no_room(self, tenant: str) -> RagstoneError:
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

    def _has_share_among_others(self, tenant: str) -> bool:
        others = self._units.total() > self._units.of(tenant)
        others = others or self._room.count > self._room.of(tenant)
        return others and not self._within_share(tenant, 1)

    def _too_late(self) -> RagstoneError:
        return DeadlineExceeded(
            f"The request's time is used up before the {self._name} has room for it.",
            remedy="Try again later, or allow more time.",
            retry_after=self.retry_after(),
        )

    def _shutting_down(self) -> RagstoneError:
        return ShuttingDown(
            "The server is shutting down.",
            remedy="Try again: another process answers.",
            retry_after=_LEAST_RETRY_SECONDS,
        )

    def retry_after(self) -> float:
        """Seconds: the wait behind all who wait now, times 1 to 2 so that not all come at once."""
        waiting = sum(line.units for line in self._room.lines)
        expected = self._seconds_for(_CLASSES - 1, waiting)
        return max(_LEAST_RETRY_SECONDS, expected) * self._random.uniform(1.0, 2.0)
