"""The language models in the order in which they are tried.

Everything that may be repeated happens before the first delta, in `_open`: attempts within the
retry budget, then the next endpoint. What follows only relays. After the first delta an error
is the caller's: text that was seen cannot be taken back.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from random import Random
from typing import Final

from ragstone.domain.errors import (
    BudgetExhausted,
    DeadlineExceeded,
    DependencyError,
    ModelProtocolError,
    ModelTimedOut,
)
from ragstone.domain.principal import Priority
from ragstone.ports import (
    Clock,
    Finished,
    LanguageModel,
    ModelChosen,
    ModelOffer,
    Passed,
    Prompt,
    TextDelta,
)
from ragstone.resilience.dependency import Dependency
from ragstone.resilience.dependency_parts import DependencyObserver, Unobserved
from ragstone.resilience.held import Held
from ragstone.resilience.retry import Retries, RetrySettings
from ragstone.resilience.time_limit import TimeLimit

_LEAST_SECONDS: Final = 0.2
"""With less left before the deadline, no model is asked any more."""


def _ignore(error: Exception) -> None:
    """Nobody counts what failed attempts cost."""


@dataclass(frozen=True, slots=True)
class _Call:
    prompt: Prompt
    tenant: str
    priority: Priority
    deadline: float
    on_asked: Callable[[str], Awaitable[None]]
    on_failed: Callable[[Exception], None]
    models: Sequence[str] | None


@dataclass(frozen=True, slots=True)
class _Endpoint:
    model: LanguageModel
    dependency: Dependency
    retries: Retries


@dataclass(frozen=True, slots=True)
class _Opened:
    """A stream whose first event is there, and which is to be closed; `attempt` has its permit."""

    chosen: ModelChosen
    first: TextDelta | Finished
    rest: AsyncGenerator[TextDelta | Finished, None]
    attempt: Held


class GuardedRoute:
    """Implements `ports.ModelRoute`."""

    def __init__(
        self,
        endpoints: Sequence[tuple[LanguageModel, Dependency]],
        *,
        clock: Clock,
        random: Random,
        retry: RetrySettings,
        observer: DependencyObserver | None = None,
        offers: Sequence[ModelOffer] = (),
    ) -> None:
        """`endpoints`: at least one, the preferred one first; `offers`: one for each, or none
        where nobody chooses."""
        self._clock = clock
        self._observer = observer or Unobserved()
        self._endpoints = [
            _Endpoint(model, dependency, Retries(retry, random=random))
            for model, dependency in endpoints
        ]
        self._offers = list(offers) or [
            ModelOffer(name=model.name, quality=0, region="", input_price=0, output_price=0)
            for model, _ in endpoints
        ]

    @property
    def name(self) -> str:
        return self._endpoints[0].model.name

    @property
    def offers(self) -> Sequence[ModelOffer]:
        return self._offers

    async def stream(
        self,
        prompt: Prompt,
        *,
        tenant: str,
        priority: Priority,
        deadline: float,
        on_asked: Callable[[str], Awaitable[None]],
        on_failed: Callable[[Exception], None] = _ignore,
        models: Sequence[str] | None = None,
    ) -> AsyncGenerator[ModelChosen | TextDelta | Finished, None]:
        opened = await self._open(
            _Call(prompt, tenant, priority, deadline, on_asked, on_failed, models)
        )
        finished: Finished | None = None
        async with opened.attempt, aclosing(opened.rest):
            yield opened.chosen
            if isinstance(opened.first, TextDelta):
                yield opened.first
                async for event in opened.rest:
                    if isinstance(event, Finished):
                        finished = event
                        break
                    yield event
            else:
                finished = opened.first
        # The call is over and its permit is back before the reader hears so: one who stops
        # reading at this event has not left early.
        if finished is not None:
            yield finished

    async def close(self) -> None:
        for endpoint in self._endpoints:
            await endpoint.model.close()

    async def _open(self, call: _Call) -> _Opened:
        """The first endpoint that begins to answer."""
        last: DependencyError | BudgetExhausted | None = None
        instead_of: Passed | None = None
        tried = self._named(call.models)
        for position, endpoint in enumerate(tried):
            if last is not None and call.deadline - self._clock.monotonic() < _LEAST_SECONDS:
                break
            until = self._until(tried[position + 1 :], call)
            try:
                return await self._open_at(endpoint, call, until, instead_of)
            except BudgetExhausted as error:
                last, instead_of = error, instead_of or "dearer"
            except DependencyError as error:
                last, instead_of = error, "failed"
        assert last is not None, "a route is asked for at least one model that it has"
        try:
            raise last
        finally:
            del last  # its traceback knows this frame: see `Gate`

    def _named(self, models: Sequence[str] | None) -> list[_Endpoint]:
        """In the order of the names; all of them where there are none."""
        if models is None:
            return self._endpoints
        return [
            endpoint
            for name in models
            for endpoint in self._endpoints
            if endpoint.model.name == name
        ]

    def _until(self, later: Sequence[_Endpoint], call: _Call) -> float:
        """When the first delta must be there.

        An endpoint and each of its available successors have equal shares of what is left, so
        that a first token that never comes leaves the next one as much as this one had.
        """
        successors = sum(other.dependency.available for other in later)
        if not successors:
            return call.deadline
        now = self._clock.monotonic()
        return now + (call.deadline - now) / (1 + successors)

    async def _open_at(
        self, endpoint: _Endpoint, call: _Call, until: float, instead_of: Passed | None
    ) -> _Opened:
        """Raises the last attempt's `DependencyError`, and `DeadlineExceeded` when it is the
        request's."""
        attempts = 0
        while True:
            attempts += 1
            try:
                opened = await self._attempt(endpoint, call, until, instead_of, first=attempts == 1)
            except DeadlineExceeded:
                self._note_retry(endpoint, attempts, "error")
                if until >= call.deadline:
                    raise
                raise ModelTimedOut(
                    f"The model {endpoint.model.name} did not begin to answer in its share of "
                    "the time."
                ) from None
            except DependencyError as error:
                self._note_retry(endpoint, attempts, "error")
                left = until - _LEAST_SECONDS - self._clock.monotonic()
                pause = endpoint.retries.pause(error, attempts=attempts, time_left=left)
                if pause is None:
                    raise
            else:
                self._note_retry(endpoint, attempts, "ok")
                return opened
            await asyncio.sleep(pause)

    def _note_retry(self, endpoint: _Endpoint, attempts: int, outcome: str) -> None:
        if attempts > 1:
            self._observer.retried(endpoint.dependency.name, outcome)

    async def _attempt(
        self,
        endpoint: _Endpoint,
        call: _Call,
        until: float,
        instead_of: Passed | None,
        *,
        first: bool,
    ) -> _Opened:
        model = endpoint.model
        attempt = endpoint.dependency.attempt(
            tenant=call.tenant, priority=call.priority, deadline=until
        )
        await attempt.__aenter__()
        async with Held(attempt) as held:
            await call.on_asked(model.name)
            if first:
                endpoint.retries.budget.deposit()  # only for what is really sent
            events = model.stream(call.prompt, deadline=call.deadline)
            try:
                event = await self._first_event(events, model.name, call, until)
            except Exception as error:  # which has ended the events
                call.on_failed(error)
                raise
            attempt.first_result(event.waited if isinstance(event, TextDelta) else None)
            return _Opened(
                chosen=ModelChosen(name=model.name, instead_of=instead_of),
                first=event,
                rest=events,
                attempt=held.handed_over(),
            )

    async def _first_event(
        self,
        events: AsyncGenerator[TextDelta | Finished, None],
        name: str,
        call: _Call,
        until: float,
    ) -> TextDelta | Finished:
        """Raises `DeadlineExceeded` at `until`; the model itself does at the call's deadline."""

        def late() -> DeadlineExceeded:
            return DeadlineExceeded(f"The model {name} did not begin to answer in time.")

        try:
            if until >= call.deadline:
                return await anext(events)
            async with TimeLimit(until - self._clock.monotonic(), late):
                return await anext(events)
        except StopAsyncIteration:
            raise ModelProtocolError(f"The model {name} ended without an answer.") from None


def direct_route(model: LanguageModel, clock: Clock) -> GuardedRoute:
    """One model without limits or retries, as for an evaluation."""
    return GuardedRoute(
        [(model, Dependency("model", clock=clock))],
        clock=clock,
        random=Random(0),
        retry=RetrySettings(attempts=1, budget=0.0),
    )
