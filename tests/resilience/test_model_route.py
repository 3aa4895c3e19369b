"""A route gives one answer or one error, whatever its endpoints do and whenever it is left."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import aclosing, suppress
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ragstone.domain.errors import (
    CircuitOpen,
    DeadlineExceeded,
    DependencyBusy,
    DependencyError,
    ModelAuthentication,
    ModelFailed,
    ModelProtocolError,
    ModelQuotaExhausted,
    ModelRateLimited,
    ModelRejectedRequest,
    ModelTimedOut,
    ModelUnreachable,
    RagstoneError,
)
from ragstone.models.llms.fake import ScriptedModel
from ragstone.ports import Clock, Finished, ModelChosen, Passed, Prompt, TextDelta
from ragstone.resilience.breaker import Breaker, BreakerSettings
from ragstone.resilience.dependency import Dependency
from ragstone.resilience.dependency_parts import Unobserved
from ragstone.resilience.gate import Gate, GateSettings
from ragstone.resilience.limiter import AdaptiveLimiter
from ragstone.resilience.model_route import GuardedRoute, direct_route
from ragstone.resilience.retry import RetrySettings
from ragstone.resilience.throttle import ClientThrottle
from tests.clock import VirtualClock
from tests.virtual_loop import VirtualLoop, run, running_clock

PROMPT = Prompt(system="", messages=[], max_tokens=10)
ROUND_TRIP = 0.05
Event = ModelChosen | TextDelta | Finished


async def nothing_to_do(model: str) -> None:
    """Nobody waits for the news."""


class Endpoint:
    """A model that behaves in each call as its script says, the last entry from then on."""

    def __init__(self, name: str, script: Sequence[str], clock: Clock) -> None:
        self.name = name
        self._script = list(script)
        self._clock = clock
        self.calls: list[float] = []
        self.pauses: list[tuple[float, float]] = []
        self.open_streams = 0
        self.closed = False

    async def stream(
        self, prompt: Prompt, *, deadline: float
    ) -> AsyncGenerator[TextDelta | Finished, None]:
        behaviour = self._script[min(len(self.calls), len(self._script) - 1)]
        model = BEHAVIOURS[behaviour](self.name, self._clock)
        self.calls.append(self._clock.monotonic())
        self.open_streams += 1
        try:
            await asyncio.sleep(min(ROUND_TRIP, deadline - self._clock.monotonic()))
            async with aclosing(model.stream(prompt, deadline=deadline)) as events:
                async for event in events:
                    yield event
        except ModelRateLimited as error:
            told = self._clock.monotonic()
            self.pauses.append((told, told + (error.retry_after or 0.0)))
            raise
        finally:
            self.open_streams -= 1

    async def close(self) -> None:
        self.closed = True


def behaving(
    *, first: float = 0.25, error: RagstoneError | None = None, after: int = 0
) -> Callable[[str, Clock], ScriptedModel]:
    def make(name: str, clock: Clock) -> ScriptedModel:
        texts = [f"{name}{number} " for number in range(4)]
        return ScriptedModel(
            texts,
            clock=clock,
            name=name,
            first_delay=first,
            delay=0.1,
            error=error,
            error_after=after,
        )

    return make


BEHAVIOURS: dict[str, Callable[[str, Clock], ScriptedModel]] = {
    "ok": behaving(),
    "slow": behaving(first=8.0),
    "hangs": behaving(first=1e6),
    "fails": behaving(error=ModelFailed("500")),
    "unreachable": behaving(error=ModelUnreachable("no route")),
    "breaks": behaving(error=ModelProtocolError("broke off"), after=2),
    "gap": behaving(error=ModelTimedOut("silence"), after=2),
    "limited": behaving(error=ModelRateLimited("429", retry_after=20.0)),
    "limited_briefly": behaving(error=ModelRateLimited("429", retry_after=0.5)),
    "quota": behaving(error=ModelQuotaExhausted("no credit")),
    "key": behaving(error=ModelAuthentication("no key")),
    "rejects": behaving(error=ModelRejectedRequest("too long")),
    "timed_out": behaving(error=ModelTimedOut("no content")),
}


class Heard(Unobserved):
    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.retries: list[tuple[str, str]] = []

    def called(self, dependency: str, outcome: str) -> None:
        self.calls.append((dependency, outcome))

    def retried(self, dependency: str, outcome: str) -> None:
        self.retries.append((dependency, outcome))


class Route:
    """A route over scripted endpoints, with the real parts."""

    def __init__(
        self, clock: Clock, *scripts: Sequence[str], seed: int = 1, limit: int = 20
    ) -> None:
        self.clock = clock
        self.heard = Heard()
        self.endpoints: list[Endpoint] = []
        self.dependencies: list[Dependency] = []
        self.gates: list[Gate] = []
        for position, script in enumerate(scripts):
            self._add(f"m{position}", script, Random(seed + position), limit)
        self.route = GuardedRoute(
            list(zip(self.endpoints, self.dependencies, strict=True)),
            clock=clock,
            random=Random(seed),
            retry=RetrySettings(),
            observer=self.heard,
        )

    def _add(self, name: str, script: Sequence[str], random: Random, limit: int) -> None:
        limiter = AdaptiveLimiter(initial=limit, minimum=1, maximum=limit, clock=self.clock)
        gate = Gate(
            name,
            limit=lambda: limiter.limit,
            settings=GateSettings(
                queue=10, target_seconds=5.0, interval_seconds=5.0, tenant_share=1.0
            ),
            clock=self.clock,
        )
        self.endpoints.append(Endpoint(name, script, self.clock))
        self.gates.append(gate)
        self.dependencies.append(
            Dependency(
                name,
                clock=self.clock,
                gate=gate,
                limiter=limiter,
                breaker=Breaker(name, BreakerSettings(), clock=self.clock, random=random),
                throttle=ClientThrottle(2.0, clock=self.clock, random=random),
                observer=self.heard,
            )
        )

    async def ask(self, seconds: float = 20.0) -> list[Event]:
        return [event async for event in self.stream(seconds)]

    async def stream(self, seconds: float = 20.0) -> AsyncGenerator[Event, None]:
        events = self.route.stream(
            PROMPT,
            tenant="acme",
            priority="standard",
            deadline=self.clock.monotonic() + seconds,
            on_asked=nothing_to_do,
        )
        async with aclosing(events):
            async for event in events:
                yield event

    def assert_quiet(self) -> None:
        for endpoint, dependency, gate in zip(
            self.endpoints, self.dependencies, self.gates, strict=True
        ):
            assert endpoint.open_streams == 0
            assert dependency.in_flight == 0
            assert gate.in_use == 0
            assert gate.waiting == 0


def whole(name: str, *, instead_of: Passed | None = None) -> list[Event]:
    return [
        ModelChosen(name=name, instead_of=instead_of),
        *(TextDelta(f"{name}{number} ") for number in range(4)),
        Finished(usage=None, reason="stop"),
    ]


def in_virtual_time(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Runs a test's coroutine on the virtual loop."""

    def runner() -> None:
        run(test())  # type: ignore[arg-type]

    runner.__name__ = test.__name__
    runner.__doc__ = test.__doc__
    return runner


@in_virtual_time
async def test_the_first_endpoint_answers() -> None:
    route = Route(running_clock(), ["ok"], ["ok"])
    assert await route.ask() == whole("m0")
    assert route.endpoints[1].calls == []
    assert route.route.name == "m0"
    route.assert_quiet()


@in_virtual_time
async def test_a_failure_before_the_first_delta_is_repeated_once() -> None:
    route = Route(running_clock(), ["unreachable", "ok"])
    assert await route.ask() == whole("m0")
    assert route.heard.retries == [("m0", "ok")]
    route.assert_quiet()


@in_virtual_time
async def test_then_the_next_endpoint_is_asked() -> None:
    route = Route(running_clock(), ["fails"], ["ok"])
    assert await route.ask() == whole("m1", instead_of="failed")
    assert len(route.endpoints[0].calls) == 2
    assert route.heard.retries == [("m0", "error")]
    route.assert_quiet()


@in_virtual_time
async def test_no_text_twice_after_the_first_delta() -> None:
    route = Route(running_clock(), ["breaks"], ["ok"])
    async with aclosing(route.stream()) as events:
        seen = [await anext(events) for _ in range(3)]
        assert seen == whole("m0")[:3]
        with pytest.raises(ModelProtocolError):
            await anext(events)
    assert route.endpoints[1].calls == []
    route.assert_quiet()


@in_virtual_time
async def test_the_last_endpoints_error_is_raised() -> None:
    route = Route(running_clock(), ["fails"], ["quota"])
    with pytest.raises(ModelQuotaExhausted):
        await route.ask()
    route.assert_quiet()


@in_virtual_time
async def test_a_first_token_that_never_comes_leaves_time_for_the_next_endpoint() -> None:
    clock = running_clock()
    route = Route(clock, ["hangs"], ["ok"])
    began = clock.monotonic()
    assert await route.ask(20.0) == whole("m1", instead_of="failed")
    assert clock.monotonic() - began == pytest.approx(10.0 + 0.6)
    route.assert_quiet()


@in_virtual_time
async def test_a_slow_endpoint_keeps_all_the_time_when_its_successor_is_cut_off() -> None:
    clock = running_clock()
    route = Route(clock, ["slow"], ["key"])
    with pytest.raises(ModelAuthentication):
        await route.ask(10.0)
    assert route.dependencies[1].breaker_state == "open"
    assert await route.ask(10.0) == whole("m0")


@in_virtual_time
async def test_with_the_deadline_near_no_other_endpoint_is_asked() -> None:
    route = Route(running_clock(), ["hangs"], ["ok"])
    with pytest.raises(ModelTimedOut):
        await route.ask(0.3)
    assert route.endpoints[1].calls == []
    route.assert_quiet()


@in_virtual_time
async def test_the_requests_own_deadline_is_told_as_such() -> None:
    route = Route(running_clock(), ["hangs"])
    with pytest.raises(DeadlineExceeded):
        await route.ask(3.0)
    with pytest.raises(DeadlineExceeded):
        await route.ask(0.0)
    route.assert_quiet()


@in_virtual_time
async def test_a_long_retry_after_is_obeyed_by_all_questions() -> None:
    clock = running_clock()
    route = Route(clock, ["limited", "ok"], ["ok"])
    for _ in range(40):
        await route.ask()
    first, *later = route.endpoints[0].calls
    assert later
    assert min(later) >= first + 20.0
    route.assert_quiet()


@in_virtual_time
async def test_a_short_retry_after_is_waited_for() -> None:
    route = Route(running_clock(), ["limited_briefly", "ok"])
    assert await route.ask() == whole("m0")
    first, second = route.endpoints[0].calls
    assert second >= first + 0.5


@in_virtual_time
async def test_an_exhausted_quota_is_not_asked_again_for_a_while() -> None:
    route = Route(running_clock(), ["quota"], ["ok"])
    for _ in range(20):
        assert await route.ask() == whole("m1", instead_of="failed")
    assert len(route.endpoints[0].calls) == 1


@in_virtual_time
async def test_all_cut_off_is_refused_at_once() -> None:
    clock = running_clock()
    route = Route(clock, ["key"], ["quota"])
    with pytest.raises(DependencyError):
        await route.ask()
    began = clock.monotonic()
    with pytest.raises(CircuitOpen):
        await route.ask()
    assert clock.monotonic() == began


@in_virtual_time
async def test_a_full_endpoint_is_passed_over() -> None:
    route = Route(running_clock(), ["ok"], ["ok"], limit=1)
    held = await route.gates[0].acquire(tenant="b", priority="standard", deadline=1e9)
    answer = asyncio.ensure_future(route.ask(2.0))
    assert await answer == whole("m1", instead_of="failed")
    held.release()
    route.assert_quiet()


@in_virtual_time
async def test_one_full_endpoint_alone_is_busy_or_late() -> None:
    route = Route(running_clock(), ["ok"], limit=1)
    held = await route.gates[0].acquire(tenant="b", priority="standard", deadline=1e9)
    with pytest.raises((DependencyBusy, DeadlineExceeded)):
        await route.ask(2.0)
    held.release()
    assert await route.ask(2.0) == whole("m0")


@in_virtual_time
async def test_an_empty_answer_is_a_failure_of_the_endpoint() -> None:
    class Empty(Endpoint):
        async def stream(
            self, prompt: Prompt, *, deadline: float
        ) -> AsyncGenerator[TextDelta | Finished, None]:
            for event in ():
                yield event

    clock = running_clock()
    route = direct_route(Empty("m", ["ok"], clock), clock)
    events = route.stream(
        PROMPT,
        tenant="",
        priority="standard",
        deadline=clock.monotonic() + 5,
        on_asked=nothing_to_do,
    )
    with pytest.raises(ModelProtocolError):
        await anext(events)


@in_virtual_time
async def test_closing_closes_every_model() -> None:
    route = Route(running_clock(), ["ok"], ["ok"])
    await route.route.close()
    assert all(endpoint.closed for endpoint in route.endpoints)


@in_virtual_time
async def test_retries_stay_within_a_tenth_in_an_outage() -> None:
    clock = running_clock()
    route = Route(clock, ["unreachable"])
    asked = 0
    for _ in range(3000):
        with suppress(DependencyError):
            await route.ask()
        asked += 1
        await asyncio.sleep(0.05)
    sent = len(route.endpoints[0].calls)
    first_attempts = sent - len(route.heard.retries)
    assert first_attempts < asked / 2, "the breaker never opened"
    assert sent <= 1.1 * first_attempts + 1


# Leaving: a cancellation or a close at every point where the route can be left.


class _Cancelling:
    """Awaits a coroutine and has its task cancelled while it waits for the `at`-th time.

    `late`: the cancellation arrives together with what was waited for.
    """

    def __init__(self, work: Coroutine[Any, Any, None], at: int, *, late: bool) -> None:
        self._work = work
        self._at = at
        self._late = late
        self.waits = 0

    def __await__(self) -> Generator[Any, Any, None]:
        task = asyncio.current_task()
        assert task is not None
        steps = self._work.__await__()
        thrown: BaseException | None = None
        while True:
            try:
                waited_for = steps.throw(thrown) if thrown else next(steps)
            except StopIteration:
                return
            thrown = None
            self.waits += 1
            if self.waits == self._at and not self._late:
                asyncio.get_running_loop().call_soon(task.cancel)
            try:
                yield waited_for
            except BaseException as error:
                thrown = error
            if self.waits == self._at and self._late and thrown is None:
                thrown = asyncio.CancelledError()


SCENARIOS = {
    "one answers": [["ok"]],
    "a retry": [["unreachable", "ok"]],
    "a short pause": [["limited_briefly", "ok"]],
    "a failover": [["fails"], ["ok"]],
    "a first token that never comes": [["hangs"], ["ok"]],
    "a break": [["breaks"], ["ok"]],
    "three that fail": [["fails"], ["quota"], ["limited"]],
}


async def _scenario(route: Route, *, contended: bool) -> None:
    if contended:
        held = await route.gates[0].acquire(tenant="b", priority="standard", deadline=1e9)
        asyncio.get_running_loop().call_later(1.0, held.release)
    with suppress(RagstoneError):
        await route.ask()


def _left_at(scripts: list[list[str]], at: int, *, late: bool, contended: bool) -> bool:
    """Whether the scenario was left before its end; everything must be as before."""

    async def main() -> bool:
        route = Route(running_clock(), *scripts, limit=1)
        work = _Cancelling(_scenario(route, contended=contended), at, late=late)

        async def leave() -> None:
            await work

        task = asyncio.ensure_future(leave())
        await asyncio.wait([task])
        await asyncio.sleep(2.0)  # the permit that another held is back, too
        route.assert_quiet()
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        timers = [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        assert timers == []
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert all(
            dependency.breaker_state == "closed" or "quota" in str(scripts)
            for dependency in route.dependencies
        )
        return work.waits >= at

    return run(main())


@pytest.mark.parametrize("late", [False, True], ids=["while waiting", "when woken"])
@pytest.mark.parametrize("contended", [False, True], ids=["free", "contended"])
@pytest.mark.parametrize("scripts", SCENARIOS.values(), ids=SCENARIOS.keys())
def test_cancelled_at_any_wait_it_leaves_nothing(
    scripts: list[list[str]], contended: bool, late: bool
) -> None:
    at = 1
    while _left_at(scripts, at, late=late, contended=contended):
        at += 1
    assert at > 2, "there was nothing to cancel"


@in_virtual_time
async def test_the_call_is_over_and_counted_when_the_last_event_is_given() -> None:
    route = Route(running_clock(), ["ok"])
    async with aclosing(route.stream()) as events:
        async for event in events:
            if isinstance(event, Finished):
                route.assert_quiet()
                break
    assert route.heard.calls == [("m0", "ok")]


@pytest.mark.parametrize("events", range(7))
def test_closed_after_any_event_it_leaves_nothing(events: int) -> None:
    async def main() -> None:
        route = Route(running_clock(), ["ok"])
        async with aclosing(route.stream()) as stream:
            for _ in range(events):
                await anext(stream, None)
        route.assert_quiet()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())


# Any behaviour of any endpoint.


@hypothesis_settings(max_examples=200, deadline=None)
@given(
    scripts=st.lists(
        st.lists(st.sampled_from(sorted(BEHAVIOURS)), min_size=1, max_size=12),
        min_size=1,
        max_size=3,
    ),
    gaps=st.lists(st.sampled_from([0.0, 0.05, 1.0]), min_size=1, max_size=40),
    leaving=st.lists(st.one_of(st.none(), st.floats(0, 12)), min_size=1, max_size=5),
    seconds=st.sampled_from([1.0, 6.0, 30.0]),
    seed=st.integers(0, 100),
)
def test_whatever_endpoints_do(
    scripts: list[list[str]],
    gaps: list[float],
    leaving: list[float | None],
    seconds: float,
    seed: int,
) -> None:
    """One choice, no text twice, an end within the deadline, few retries, nothing left."""

    async def main() -> None:
        clock = running_clock()
        route = Route(clock, *scripts, seed=seed, limit=3)
        questions = []
        for number, gap in enumerate(gaps):
            patience = leaving[number % len(leaving)]
            questions.append(asyncio.ensure_future(_question(route, clock, seconds, patience)))
            await asyncio.sleep(gap)
        await asyncio.gather(*questions)
        route.assert_quiet()
        for endpoint in route.endpoints:
            repeated = sum(name == endpoint.name for name, _ in route.heard.retries)
            # A retry that a breaker or a gate refused is among them, but not among the calls.
            assert repeated <= 0.1 * len(endpoint.calls) + 1 + 1e-9
            _assert_pauses_kept(endpoint)

    run(main())


async def _question(
    route: Route, clock: VirtualClock, seconds: float, patience: float | None
) -> None:
    began = clock.monotonic()
    events: list[Event] = []
    try:
        async with asyncio.timeout(patience):
            async for event in route.stream(seconds):
                events.append(event)  # noqa: PERF401 - what came before an error counts
    except TimeoutError:
        assert patience is not None
    except (DependencyError, DeadlineExceeded):
        assert not any(isinstance(event, Finished) for event in events)
    else:
        assert isinstance(events[-1], Finished)
    assert clock.monotonic() - began <= seconds + 1e-6
    if events:
        chosen = events[0]
        assert isinstance(chosen, ModelChosen)
        expected = whole(chosen.name, instead_of=None if chosen.name == "m0" else "failed")
        assert events == expected[: len(events)]


def _assert_pauses_kept(endpoint: Endpoint) -> None:
    """No call begins during a pause that an answer to an earlier one asked for."""
    for told, until in endpoint.pauses:
        assert not [called for called in endpoint.calls if told < called < until]
