"""Single flight: those who ask the same at the same time share one generation.

The generation runs in a task of its own, and what it tells is kept for its clients, who read it
from the start, each at their own pace (`replay_buffer.py`). So any client may leave, the one for
whom it was begun, its leader, as well; when all have left, the task is cancelled.

A flight carries only those who lose nothing by it:

- It is of at least the client's priority class: a critical question does not wait behind the
  model's gate as a sheddable one.
- It has at least half of the client's time left. Its deadline is that of its leader, and is not
  moved: timeouts that are running have it already. A client with less time than the flight
  leaves it in time for an extract of its own.
- A client that is sent a stream does not join an answer that is made whole, whose first words
  may still be withdrawn. One that is told the end alone may join a stream, and starts over where
  that breaks off: alone it would have been given what stands in for the model.
- It has not failed, or done less, for reasons of its leader's: who has seen nothing of it yet
  starts over, and the first who does begins the next flight.

A process has its own flights, so N gateways make N generations of one question at most.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import Final

from ragstone.domain.answer import AnswerEvent
from ragstone.domain.budget import Standing
from ragstone.domain.errors import (
    BudgetExhausted,
    DeadlineExceeded,
    DependencyError,
    Overloaded,
    ShuttingDown,
    TooManyRequests,
)
from ragstone.domain.principal import PRIORITIES
from ragstone.pipeline.asked import Asked
from ragstone.pipeline.replay_buffer import Reader, ReplayBuffer
from ragstone.pipeline.settle import Bill
from ragstone.resilience.held import Held
from ragstone.resilience.time_limit import TimeLimit

Place = tuple[bytes, Standing, bool]
"""The key of the question, how the budgets are, and whether it is streamed."""

_SHARE_OF_TIME: Final = 0.5

_LEADERS_OWN: Final = (DeadlineExceeded, BudgetExhausted, Overloaded, TooManyRequests)
"""Failures that tell of the leader, not of what everybody needs."""


class StartOver(Exception):
    """To a follower that has seen nothing yet: the flight failed for reasons of its leader's."""


class GoAlone(Exception):
    """To a follower that has seen nothing yet: its time or its budget does not allow it to stay."""


class Flight:
    """One generation and those who read it."""

    __slots__ = (
        *("_bill", "_buffer", "_clients", "_has_begun", "_is_unwanted", "_on_end", "_task"),
        *("asked", "at"),
    )

    def __init__(
        self, at: Place, asked: Asked, bill: Bill, on_end: Callable[["Flight"], None]
    ) -> None:
        """`on_end` is called when nobody can join any more, before its clients hear of it."""
        self.at = at
        """Its place among the `Flights`."""
        self.asked = asked
        """The leader's."""
        self._bill = bill
        self._on_end = on_end
        self._buffer = ReplayBuffer()
        self._clients = 0
        self._task: asyncio.Task[None] | None = None
        self._has_begun = False
        self._is_unwanted = False

    def carries(self, asked: Asked) -> bool:
        """Whether this client loses nothing by joining; see the module's docstring."""
        mine, its = asked.deadline.remaining(), self.asked.deadline.remaining()
        rank = PRIORITIES.index
        return (
            not self._is_unwanted
            and not self._failed_its_leader()
            and its >= _SHARE_OF_TIME * mine
            and rank(self.asked.priority) <= rank(asked.priority)
        )

    def start(
        self,
        events: AsyncGenerator[AnswerEvent, None],
        place: Held,
        billed: Held,
    ) -> None:
        """Begins to produce `events`. Both contexts are left after them."""
        self._task = asyncio.create_task(self._produce(events, place, billed))

    def lead(self) -> AsyncGenerator[AnswerEvent, None]:
        """The events as they come, for the leader. Raises what the generation raises."""
        return self._read(self.asked, 0.0)

    def follow(self, asked: Asked, model_seconds: float) -> AsyncGenerator[AnswerEvent, None]:
        """The events from the start, for another client.

        The evidence comes with the first words: until then the client may have to start over.
        What was given to a client that is not `streamed` is void until the end.
        Raises `StartOver`, `GoAlone`, `DeadlineExceeded`, and what the generation raises.
        """
        return self._read(asked, model_seconds)

    async def _read(self, asked: Asked, model_seconds: float) -> AsyncGenerator[AnswerEvent, None]:
        buffer, leads = self._buffer, asked is self.asked
        reader = Reader(is_shown=asked.streamed)
        # As the leader's, which needs no limit; and each layer between adds to what a word costs.
        ends_before = self.asked.deadline.at <= asked.deadline.at
        self._clients += 1
        try:
            if not leads:
                await self._pay(asked)
            while True:
                # Taken before events are given: what is told meanwhile is not missed.
                news, is_over = buffer.news(reader), buffer.is_over
                if not leads and self._is_to_start_over(asked, reader):
                    raise StartOver
                for event in buffer.unread(reader, opening_alone=leads):
                    yield event
                if is_over:
                    break
                if ends_before:
                    await news
                else:
                    await self._wait(news, asked, reader, model_seconds)
            buffer.check()
        finally:
            await self._leave()

    async def _pay(self, asked: Asked) -> None:
        """A part of what the generation costs. Nothing is left to pay near its end."""
        if not await self._bill.share_with(asked.spender) and not self._bill.is_paid():
            raise GoAlone

    def _failed_its_leader(self) -> bool:
        """Whether it failed, or does less, for reasons that need not be another client's."""
        why = (self._buffer.error, *self.asked.trace.notices)
        return any(isinstance(each, _LEADERS_OWN) for each in why)

    def _is_to_start_over(self, asked: Asked, reader: Reader) -> bool:
        """Whether it fails this follower, to whom nothing was given that cannot be taken back."""
        if reader.has_seen and asked.streamed:
            return False
        broke_off = self.asked.streamed and isinstance(self._buffer.error, DependencyError)
        return self._failed_its_leader() or (broke_off and not asked.streamed)

    async def _wait(
        self, news: "asyncio.Future[None]", asked: Asked, reader: Reader, model_seconds: float
    ) -> None:
        deadline = asked.deadline
        bound = reader.has_seen and asked.streamed
        until = deadline.at if bound else deadline.model_until(model_seconds)
        left = deadline.remaining() - (deadline.at - until)
        late = partial(deadline.exceeded, "generate") if bound else GoAlone
        async with TimeLimit(left, late):
            await news

    async def _produce(
        self,
        events: AsyncGenerator[AnswerEvent, None],
        place: Held,
        billed: Held,
    ) -> None:
        self._has_begun = True
        try:
            async with place, billed, aclosing(events):
                if self._is_unwanted:
                    raise asyncio.CancelledError
                async for event in events:
                    self._buffer.add(event)
            self._end(None)
        except asyncio.CancelledError:  # by the last client, or by a process that ends
            remedy = "Try again."
            self._end(ShuttingDown("The server is shutting down.", remedy=remedy, retry_after=1.0))
        except Exception as error:
            self._end(error)

    def _end(self, error: Exception | None) -> None:
        self._on_end(self)
        self._buffer.end(error)

    async def _leave(self) -> None:
        """The last one out ends the generation, and waits until it has ended."""
        self._clients -= 1
        if self._clients or self._task is None:
            return
        if self._buffer.is_over:
            self._buffer.forget_error()
            return
        self._is_unwanted = True
        if self._has_begun:  # else it sees for itself: a task cancelled before it begins never runs
            self._task.cancel()
        await asyncio.wait([self._task])


class Flights:
    """Those of one process, by the key of the question and by how the budgets are: whoever may
    have the better model does not join one who may not."""

    def __init__(self) -> None:
        self._flights: dict[Place, Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def find(self, key: bytes, asked: Asked, standing: Standing) -> Flight | None:
        """One that this client may join."""
        for streamed in (True,) if asked.streamed else (True, False):
            flight = self._flights.get((key, standing, streamed))
            if flight is not None and flight.carries(asked):
                return flight
        return None

    def begin(
        self,
        key: bytes,
        asked: Asked,
        bill: Bill,
        events: AsyncGenerator[AnswerEvent, None],
        place: Held,
        billed: Held,
    ) -> Flight:
        """A new flight, which those who come next may join. For the contexts see `Flight.start`."""
        at = (key, bill.standing, asked.streamed)

        flight = self._flights[at] = Flight(at, asked, bill, self._forget)
        flight.start(events, place, billed)
        return flight

    def _forget(self, flight: Flight) -> None:
        if self._flights.get(flight.at) is flight:  # else a later one has its place
            del self._flights[flight.at]
