"""Single flight: those who ask the same at the same time share one generation.

The generation runs in a task of its own, the producer, and its events go into a buffer that
every client reads at its own pace, from the start. So any client may leave, the one for whom it
was begun as well; when all have left, the producer is cancelled.

A flight carries only those who lose nothing by it:

- It is of at least the client's priority class: a critical question does not wait behind the
  model's gate as a sheddable one.
- It has at least half of the client's time left. Its deadline is that of the client for whom it
  was begun, and is not moved: timeouts that are running have it already. A client with less time
  than the flight leaves it in time for an extract of its own.
- A client that is sent a stream does not join an answer that is made whole, whose first words
  may still be withdrawn. One that is told the end alone may join a stream, and starts over where
  that breaks off: alone it would have been given what stands in for the model.

A process has its own flights, so N gateways make N generations of one question at most.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from types import TracebackType
from typing import Final

from ragstone.domain.answer import AnswerEvent, Delta, Done, PassagesFound
from ragstone.domain.budget import Standing
from ragstone.domain.errors import (
    BudgetExhausted,
    DeadlineExceeded,
    DependencyError,
    InternalError,
    Overloaded,
    RateLimited,
    ShuttingDown,
    TokensRateLimited,
    TooManyRequests,
)
from ragstone.domain.principal import PRIORITIES
from ragstone.pipeline.asked import Asked
from ragstone.pipeline.settle import Bill

MAX_CHARS: Final = 256 * 1024
"""Of text that a flight holds for clients that are behind; a long answer has 10,000."""

_SHARE_OF_TIME: Final = 0.5

_LEADERS_OWN: Final = (
    DeadlineExceeded,
    BudgetExhausted,
    Overloaded,
    TooManyRequests,
    RateLimited,
    TokensRateLimited,
    ShuttingDown,
)
"""Failures that tell of the client for whom a flight was begun, not of what everybody needs."""


class StartOver(Exception):
    """To a follower that has seen nothing yet: the flight failed for reasons of its leader's."""


class GoAlone(Exception):
    """To a follower that has seen nothing yet: its time or its budget does not allow it to stay."""


class Flight:
    """One generation and those who read it."""

    def __init__(self, asked: Asked, bill: Bill, *, max_chars: int = MAX_CHARS) -> None:
        self.asked = asked
        """By whom it was begun."""
        self._bill = bill
        self._max_chars = max_chars
        self._clients = 0
        self._opening: PassagesFound | None = None
        self._pieces: list[str] = []
        self._dropped = 0
        """Pieces that were there before the first of `_pieces`."""
        self._chars = 0
        self._ending: list[AnswerEvent] = []
        self._error: Exception | None = None
        self._news: asyncio.Event | None = None
        """Set when there is more; made by the first who waits, since most pieces find nobody."""
        self._begun = False
        self._over = False
        self._unwanted = False
        self._task: asyncio.Task[None] | None = None

    @property
    def clients(self) -> int:
        return self._clients

    def carries(self, asked: Asked) -> bool:
        """Whether this client loses nothing by joining; see the module's docstring."""
        mine, its = asked.deadline.remaining(), self.asked.deadline.remaining()
        rank = PRIORITIES.index
        return (
            not self._unwanted
            and its >= _SHARE_OF_TIME * mine
            and rank(self.asked.priority) <= rank(asked.priority)
        )

    def start(
        self,
        events: AsyncGenerator[AnswerEvent, None],
        *held: AbstractAsyncContextManager[object],
        on_end: Callable[["Flight"], None],
    ) -> None:
        """Produces `events`, then leaves the contexts `held`, the last of them first; `on_end` is
        called once, when no more can join."""
        self._task = asyncio.create_task(self._produce(events, held, on_end))

    async def lead(self) -> AsyncGenerator[AnswerEvent, None]:
        """The events as they come, for the client for whom the flight was begun."""
        position = _Position()
        self._clients += 1
        try:
            while True:
                news, over = self._expected(), self._over  # what comes in a yield is not missed
                for event in self._next(position, evidence_first=True):
                    yield event
                if over:
                    break
                await news.wait()
            for event in self._rest(position):
                yield event
        finally:
            await self._leave()

    async def follow(self, asked: Asked, model_seconds: float) -> AsyncGenerator[AnswerEvent, None]:
        """The events from the start, for another client.

        The evidence comes with the first words: until then the client may have to start over.
        What was given to a client that is not `streamed` is void until the end.
        Raises `StartOver`, `GoAlone`, `DeadlineExceeded`, and what the generation raises.
        """
        position = _Position()
        self._clients += 1
        try:
            await self._pay(asked)
            while True:
                news, over = self._expected(), self._over
                if self._has_failed_only_others(asked, position):
                    raise StartOver
                for event in self._next(position, evidence_first=False):
                    yield event
                if over:
                    break
                await self._wait(news, asked, position, model_seconds)
            for event in self._rest(position):
                yield event
        finally:
            await self._leave()

    async def _pay(self, asked: Asked) -> None:
        """A part of what the generation costs. Nothing is left to pay near its end."""
        if not await self._bill.share_with(asked.spender) and not self._bill.is_paid():
            raise GoAlone

    def _has_failed_only_others(self, asked: Asked, position: "_Position") -> bool:
        """Whether it failed, or does less, for reasons that need not be this follower's, to which
        nothing was given that cannot be taken back."""
        if position.seen and asked.streamed:
            return False
        if self.asked.streamed and not asked.streamed and isinstance(self._error, DependencyError):
            return True
        why = (self._error, *self.asked.trace.notices)
        return any(isinstance(each, _LEADERS_OWN) for each in why)

    def _next(self, position: "_Position", *, evidence_first: bool) -> list[AnswerEvent]:
        """What is there now and was not given yet."""
        events: list[AnswerEvent] = []
        text = "" if position.piece < self._dropped else self._text_from(position)
        whole = self._over and self._error is None
        if not position.seen and self._opening is not None and (evidence_first or text or whole):
            position.seen = True
            events.append(self._opening)
        if text:
            position.piece = self._dropped + len(self._pieces)
            position.chars += len(text)
            events.append(Delta(text))
        return events

    def _text_from(self, position: "_Position") -> str:
        return "".join(self._pieces[position.piece - self._dropped :])

    def _rest(self, position: "_Position") -> list[AnswerEvent]:
        """How it ends. Whoever was too far behind for the buffer gets the text from the answer."""
        if self._error is not None:
            raise self._error
        done = self._ending[-1] if self._ending else None
        if not isinstance(done, Done):
            raise InternalError("The answer ended without an end.")
        if position.piece < self._dropped:
            return [Delta(done.answer.answer[position.chars :]), *self._ending]
        return self._ending

    async def _wait(
        self, news: asyncio.Event, asked: Asked, position: "_Position", model_seconds: float
    ) -> None:
        """A flight that ends before the client's own deadline needs no limit."""
        deadline = asked.deadline
        if self.asked.deadline.at <= deadline.at:
            await news.wait()
            return
        bound = position.seen and asked.streamed
        now = deadline.at - deadline.remaining()
        until = deadline.at if bound else deadline.model_until(model_seconds)
        try:
            async with asyncio.timeout(until - now):
                await news.wait()
        except TimeoutError:
            if bound:
                raise deadline.exceeded("generate") from None
            raise GoAlone from None

    async def _produce(
        self,
        events: AsyncGenerator[AnswerEvent, None],
        held: Sequence[AbstractAsyncContextManager[object]],
        on_end: Callable[["Flight"], None],
    ) -> None:
        self._begun = True
        try:
            async with AsyncExitStack() as stack:
                for context in held:
                    stack.push_async_exit(context)
                await stack.enter_async_context(aclosing(events))
                if self._unwanted:
                    raise asyncio.CancelledError
                async for event in events:
                    self._feed(event)
        except asyncio.CancelledError:  # by the last client, or by a process that ends
            self._error = ShuttingDown(
                "The server is shutting down.", remedy="Try again.", retry_after=1.0
            )
        except Exception as error:
            self._error = error
        finally:
            self._over = True
            on_end(self)
            self._wake()

    def _feed(self, event: AnswerEvent) -> None:
        if isinstance(event, PassagesFound):
            self._opening = event
        elif isinstance(event, Delta):
            self._pieces.append(event.text)
            self._chars += len(event.text)
            while self._chars > self._max_chars:
                self._chars -= len(self._pieces.pop(0))
                self._dropped += 1
        else:  # told when all is settled
            self._ending.append(event)
            return
        self._wake()

    def _expected(self) -> asyncio.Event:
        if self._news is None:
            self._news = asyncio.Event()
        return self._news

    def _wake(self) -> None:
        news, self._news = self._news, None
        if news is not None:
            news.set()

    async def _leave(self) -> None:
        """The last one out ends the generation, and waits until it has ended."""
        self._clients -= 1
        if self._clients or self._over or self._task is None:
            return
        self._unwanted = True
        if self._begun:  # else it sees for itself: a task cancelled before it begins never runs
            self._task.cancel()
        await asyncio.wait([self._task])


class _Position:
    """How far a client has read."""

    __slots__ = ("chars", "piece", "seen")

    def __init__(self) -> None:
        self.seen = False
        """Whether it was given anything."""
        self.piece = 0
        self.chars = 0


class Flights:
    """Those of one process, by the key of the question and by how the budgets are: whoever may
    have the better model does not join one who may not."""

    def __init__(self) -> None:
        self._flights: dict[tuple[bytes, Standing, bool], Flight] = {}

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
        *held: AbstractAsyncContextManager[object],
    ) -> Flight:
        """A new flight, which those who come next may join."""
        flight, place = Flight(asked, bill), (key, bill.standing, asked.streamed)

        def ended(flight: Flight) -> None:
            if self._flights.get(place) is flight:
                del self._flights[place]

        self._flights[place] = flight
        flight.start(events, *held, on_end=ended)
        return flight


class HeldByTwo:
    """A context that two hold, and that is left when the second of them leaves."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._holders = 2

    async def __aenter__(self) -> None:
        """Both are in already."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._holders -= 1
        if not self._holders:
            await self._stack.__aexit__(kind, error, traceback)
