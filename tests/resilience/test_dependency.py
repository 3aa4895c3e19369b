"""What an attempt teaches its dependency, by what became of it."""

import asyncio
from pathlib import Path
from random import Random

import pytest

from ragstone.domain.errors import (
    BudgetExhausted,
    CircuitOpen,
    DeadlineExceeded,
    DependencyBusy,
    InvalidFilter,
    ModelAuthentication,
    ModelFailed,
    ModelNotFound,
    ModelProtocolError,
    ModelQuotaExhausted,
    ModelRateLimited,
    ModelRejectedRequest,
    ModelTimedOut,
    ModelUnreachable,
    Overloaded,
    RecordsUnavailable,
    ShuttingDown,
    TooManyRequests,
)
from ragstone.domain.principal import Priority
from ragstone.resilience.board import Board
from ragstone.resilience.breaker import Breaker, BreakerSettings
from ragstone.resilience.dependency import SET_ASIDE_SECONDS, Dependency
from ragstone.resilience.dependency_parts import LocalPause
from ragstone.resilience.throttle import ClientThrottle
from tests.clock import VirtualClock


class Limiter:
    """Records what it is told; rises by one with each sample."""

    def __init__(self) -> None:
        self.limit = 5
        self.samples: list[tuple[float, int]] = []
        self.drops: list[int] = []

    def sample(self, latency: float, in_flight: int, *, late: float = 0.0) -> None:
        self.samples.append((latency, in_flight))
        self.limit += 1

    def dropped(self, in_flight: int) -> None:
        self.drops.append(in_flight)
        self.limit -= 1


class Gate:
    """Refuses when told to, may suspend, and counts."""

    def __init__(self) -> None:
        self.in_use = 0
        self.kicks = 0
        self.refusal: Exception | None = None
        self.turn = asyncio.Event()
        self.turn.set()
        self.asked: list[tuple[str, Priority]] = []

    async def acquire(
        self, *, tenant: str, priority: Priority, weight: int = 1, deadline: float
    ) -> "Ticket":
        self.asked.append((tenant, priority))
        if self.refusal is not None:
            raise self.refusal
        await self.turn.wait()
        self.in_use += 1
        return Ticket(self)

    def kick(self) -> None:
        self.kicks += 1


class Ticket:
    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.held = True

    def release(self) -> None:
        assert self.held
        self.held = False
        self._gate.in_use -= 1


class Observer:
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.in_flight = 0

    def called(self, dependency: str, outcome: str) -> None:
        self.calls.append(outcome)

    def limit(self, dependency: str, limit: int, in_flight: int) -> None:
        self.in_flight = in_flight

    def breaker(self, dependency: str, state: str) -> None: ...

    def retried(self, dependency: str, outcome: str) -> None: ...

    def hedged(self, dependency: str, outcome: str) -> None: ...


class Parts:
    """A dependency with all of its parts in view."""

    def __init__(self, clock: VirtualClock, *, calls: int = 10) -> None:
        self.clock = clock
        self.gate, self.limiter, self.observer = Gate(), Limiter(), Observer()
        self.breaker = Breaker("model", BreakerSettings(calls=calls), clock=clock, random=Random(3))
        self.throttle = ClientThrottle(2.0, clock=clock, random=Random(4))
        self.pause = LocalPause()
        self.dependency = Dependency(
            "model",
            clock=clock,
            pause=self.pause,
            gate=self.gate,
            limiter=self.limiter,
            breaker=self.breaker,
            throttle=self.throttle,
            observer=self.observer,
            fair_seconds=5.0,
        )

    async def call(
        self,
        error: BaseException | None = None,
        *,
        seconds: float = 1.0,
        first_result: bool = False,
    ) -> None:
        """One attempt that takes `seconds` and ends so; the error does not leave."""
        deadline = self.clock.monotonic() + 60.0
        try:
            async with self.dependency.attempt(
                tenant="acme", priority="critical", deadline=deadline
            ) as attempt:
                self.clock.advance(seconds)
                if first_result:
                    attempt.first_result()
                    self.clock.advance(seconds)
                if error is not None:
                    raise error
        except BaseException as raised:
            assert raised is error  # noqa: PT017 - any other is the test's failure
        assert self.gate.in_use == self.observer.in_flight == self.dependency.in_flight == 0


@pytest.fixture
def parts(clock: VirtualClock) -> Parts:
    return Parts(clock)


async def test_a_success_is_sampled_at_its_first_result(parts: Parts) -> None:
    await parts.call(seconds=1.5, first_result=True)
    assert parts.limiter.samples == [(1.5, 1)]
    assert parts.observer.calls == ["ok"]
    assert parts.gate.asked == [("acme", "critical")]


async def test_what_passed_before_it_was_sent_is_not_the_dependencys_time(parts: Parts) -> None:
    async with parts.dependency.attempt(deadline=parts.clock.monotonic() + 60) as attempt:
        parts.clock.advance(1.5)
        attempt.first_result(0.5)
    assert parts.limiter.samples == [(0.5, 1)]


async def test_without_a_first_result_the_end_is_the_sample(parts: Parts) -> None:
    await parts.call(seconds=0.25)
    assert parts.limiter.samples == [(0.25, 1)]


async def test_the_gate_is_woken_when_the_limit_rose(parts: Parts) -> None:
    await parts.call()
    assert parts.gate.kicks == 1
    await parts.call(ModelTimedOut("x"))
    assert parts.gate.kicks == 1


@pytest.mark.parametrize(
    "error",
    [
        asyncio.CancelledError(),
        GeneratorExit(),
        KeyboardInterrupt(),
        BudgetExhausted("nothing was reserved, so nothing sent"),
        RecordsUnavailable("the same"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_leaving_is_neutral(parts: Parts, error: BaseException) -> None:
    for _ in range(30):
        await parts.call(error)
    assert parts.dependency.breaker_state == "closed"
    assert parts.limiter.samples == []
    assert parts.limiter.drops == []
    assert parts.observer.calls == ["cancelled"] * 30


@pytest.mark.parametrize(
    "error",
    [ModelUnreachable("x"), ModelFailed("x"), ModelProtocolError("x"), ValueError("a bug")],
    ids=lambda error: type(error).__name__,
)
async def test_failures_open_the_breaker_and_are_no_samples(parts: Parts, error: Exception) -> None:
    for _ in range(10):
        parts.throttle.reset()
        await parts.call(error, seconds=0.01)
    assert parts.dependency.breaker_state == "open"
    assert not parts.dependency.available
    assert parts.limiter.samples == []
    assert parts.limiter.drops == []
    with pytest.raises(CircuitOpen):
        parts.dependency.check()
    with pytest.raises(CircuitOpen):
        async with parts.dependency.attempt(deadline=float("inf")):
            pytest.fail("it began")
    assert parts.observer.calls == ["error"] * 10 + ["circuit_open"]


async def test_timeouts_also_lower_the_limit(clock: VirtualClock) -> None:
    parts = Parts(clock, calls=3)
    for _ in range(3):
        await parts.call(ModelTimedOut("x"), seconds=0.01)
    assert parts.limiter.drops == [1, 1, 1]
    assert parts.dependency.breaker_state == "open"
    assert parts.observer.calls == ["timeout"] * 3


async def test_a_gap_after_the_first_result_is_a_failure_but_no_drop(clock: VirtualClock) -> None:
    parts = Parts(clock, calls=3)
    for _ in range(3):
        await parts.call(ModelTimedOut("x"), seconds=0.01, first_result=True)
    assert parts.limiter.drops == []
    assert len(parts.limiter.samples) == 3
    assert parts.dependency.breaker_state == "open"


async def test_the_callers_own_short_deadline_is_neutral(parts: Parts) -> None:
    for _ in range(12):
        await parts.call(DeadlineExceeded("x"), seconds=0.5)
    assert parts.dependency.breaker_state == "closed"
    assert parts.limiter.drops == []
    assert parts.observer.calls == ["out_of_time"] * 12


async def test_a_deadline_that_left_a_fair_chance_is_a_timeout(clock: VirtualClock) -> None:
    parts = Parts(clock, calls=1)
    await parts.call(DeadlineExceeded("x"), seconds=5.0)
    assert parts.limiter.drops == [1]
    assert parts.dependency.breaker_state == "open"


async def test_a_long_answer_cut_by_the_deadline_is_neutral(clock: VirtualClock) -> None:
    parts = Parts(clock, calls=1)
    await parts.call(DeadlineExceeded("x"), seconds=30.0, first_result=True)
    assert parts.limiter.drops == []
    assert parts.dependency.breaker_state == "closed"


async def test_a_rate_limit_pauses_the_endpoint_and_is_no_failure(parts: Parts) -> None:
    await parts.call(ModelRateLimited("429", retry_after=20.0), seconds=0.1)
    assert parts.limiter.drops == [1]
    assert parts.dependency.breaker_state == "closed"
    assert not parts.dependency.available
    parts.clock.advance(19.9)
    with pytest.raises(DependencyBusy) as refused:
        async with parts.dependency.attempt(deadline=float("inf")):
            pytest.fail("it was asked too early")
    assert refused.value.retry_after == pytest.approx(0.1)
    parts.clock.advance(0.2)
    assert parts.dependency.available
    await parts.call()
    assert parts.observer.calls == ["rate_limited", "busy", "ok"]


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (ModelFailed("503", retry_after=3600.0), 60.0),
        (ModelRateLimited("429", retry_after=1e9), 3600.0),
    ],
)
async def test_a_pause_that_is_asked_for_has_a_bound(
    parts: Parts, error: Exception, seconds: float
) -> None:
    await parts.call(error)
    parts.clock.advance(seconds - 0.1)
    assert not parts.dependency.available
    parts.clock.advance(0.2)
    assert parts.dependency.available


async def test_a_shorter_pause_does_not_end_a_longer_one(parts: Parts) -> None:
    deadline = parts.clock.monotonic() + 60
    first = parts.dependency.attempt(deadline=deadline)
    second = parts.dependency.attempt(deadline=deadline)
    await first.__aenter__()
    await second.__aenter__()
    for attempt, seconds in ((first, 20.0), (second, 1.0)):
        error = ModelRateLimited("429", retry_after=seconds)
        await attempt.__aexit__(type(error), error, None)
    parts.clock.advance(10)
    with pytest.raises(DependencyBusy):
        parts.dependency.check()


async def test_processes_that_share_a_board_share_a_pause(
    clock: VirtualClock, tmp_path: Path
) -> None:
    Board.create(tmp_path / "board", processes=2)
    boards = [Board(tmp_path / "board", row=row, clock=clock) for row in range(2)]
    here, there = (Dependency("model", clock=clock, pause=board.pause(0)) for board in boards)
    other = Dependency("model_2", clock=clock, pause=boards[1].pause(1))
    with pytest.raises(ModelRateLimited):
        async with here.attempt(deadline=1e9):
            raise ModelRateLimited("429", retry_after=20.0)
    assert other.available
    clock.advance(19.9)
    assert not there.available
    with pytest.raises(DependencyBusy):
        there.check()
    clock.advance(0.2)
    assert here.available
    assert there.available
    for board in boards:
        board.close()


async def test_a_pause_asked_for_during_the_wait_for_a_permit_is_kept(parts: Parts) -> None:
    parts.gate.turn.clear()
    entering = asyncio.ensure_future(parts.dependency.attempt(deadline=1e9).__aenter__())
    await asyncio.sleep(0)
    parts.pause.extend(parts.clock.monotonic() + 20.0)
    parts.gate.turn.set()
    with pytest.raises(DependencyBusy):
        await entering
    assert parts.gate.in_use == 0


async def test_a_breaker_that_opened_during_the_wait_refuses(clock: VirtualClock) -> None:
    parts = Parts(clock, calls=1)
    parts.gate.turn.clear()
    entering = asyncio.ensure_future(parts.dependency.attempt(deadline=1e9).__aenter__())
    await asyncio.sleep(0)
    parts.breaker.failed(parts.breaker.begin())
    parts.gate.turn.set()
    with pytest.raises(CircuitOpen):
        await entering
    assert parts.gate.in_use == 0


@pytest.mark.parametrize(
    "error",
    [ModelQuotaExhausted("x"), ModelAuthentication("x"), ModelNotFound("x")],
    ids=lambda error: error.code,
)
async def test_what_somebody_has_to_mend_sets_the_endpoint_aside(
    parts: Parts, error: Exception
) -> None:
    await parts.call(error, seconds=0.1)
    parts.clock.advance(SET_ASIDE_SECONDS - 0.1)
    with pytest.raises(CircuitOpen):
        parts.dependency.check()
    parts.clock.advance(SET_ASIDE_SECONDS)
    await parts.call(error, seconds=0.1)
    with pytest.raises(CircuitOpen):
        parts.dependency.check()
    assert parts.observer.calls == ["set_aside", "set_aside"]


@pytest.mark.parametrize("error", [ModelRejectedRequest("x"), InvalidFilter("x")])
async def test_a_refused_request_shows_that_the_endpoint_works(
    parts: Parts, error: Exception
) -> None:
    for _ in range(9):
        await parts.call(ModelUnreachable("x"), seconds=0.01)
    for _ in range(20):
        await parts.call(error, seconds=0.01)
    await parts.call(ModelUnreachable("x"), seconds=0.01)
    assert parts.dependency.breaker_state == "closed"
    assert parts.limiter.samples == []


async def test_an_endpoint_that_refuses_most_is_sent_fewer(parts: Parts) -> None:
    sent = 0
    for _ in range(100):
        try:
            async with parts.dependency.attempt(deadline=float("inf")):
                sent += 1
                raise ModelRateLimited("429 without a time")
        except (ModelRateLimited, DependencyBusy):
            pass
    assert 10 <= sent <= 40
    assert parts.observer.calls.count("busy") == 100 - sent


async def test_a_breaker_that_closes_forgets_the_refusals_of_before(clock: VirtualClock) -> None:
    parts = Parts(clock, calls=3)
    for _ in range(3):
        parts.throttle.reset()
        await parts.call(ModelFailed("x"), seconds=0.01)
    clock.advance(7)
    for _ in range(10):
        parts.throttle.refused()
    parts.throttle._random.seed(1)
    closed = 0
    while parts.dependency.breaker_state != "closed":
        try:
            async with parts.dependency.attempt(deadline=float("inf")):
                closed += 1
        except DependencyBusy:
            clock.advance(0.1)
    assert closed == 2
    assert parts.throttle._window.total == 0


@pytest.mark.parametrize("refusal", [Overloaded("x", retry_after=2.0), TooManyRequests("x")])
async def test_a_full_gate_is_a_busy_dependency(parts: Parts, refusal: Exception) -> None:
    parts.gate.refusal = refusal
    with pytest.raises(DependencyBusy) as refused:
        async with parts.dependency.attempt(deadline=float("inf")):
            pytest.fail("it began")
    assert refused.value.retry_after == refusal.retry_after  # type: ignore[attr-defined]
    assert parts.observer.calls == ["busy"]


async def test_shutting_down_is_told_as_it_is(parts: Parts) -> None:
    parts.gate.refusal = ShuttingDown("x")
    with pytest.raises(ShuttingDown):
        async with parts.dependency.attempt(deadline=float("inf")):
            pytest.fail("it began")


async def test_cancelled_while_waiting_for_a_permit_it_leaves_nothing(parts: Parts) -> None:
    parts.gate.turn.clear()
    entering = asyncio.ensure_future(parts.dependency.attempt(deadline=1e9).__aenter__())
    await asyncio.sleep(0)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert parts.dependency.in_flight == 0
    assert parts.observer.calls == ["cancelled"]


@pytest.mark.parametrize(
    "error",
    [asyncio.CancelledError(), DeadlineExceeded("too short"), ModelRateLimited("429")],
    ids=lambda error: type(error).__name__,
)
async def test_a_probe_that_says_nothing_gives_its_place_back(
    clock: VirtualClock, error: BaseException
) -> None:
    parts = Parts(clock, calls=1)
    await parts.call(ModelUnreachable("x"))
    clock.advance(7)
    for _ in range(5):
        await parts.call(error, seconds=0.0)
    assert parts.dependency.breaker_state == "half_open"
    assert parts.dependency.available


async def test_with_no_parts_it_only_keeps_the_deadline(clock: VirtualClock) -> None:
    dependency = Dependency("index", clock=clock)
    with pytest.raises(DeadlineExceeded):
        async with dependency.attempt(deadline=clock.monotonic()):
            pytest.fail("it began")
    async with dependency.attempt(deadline=clock.monotonic() + 1) as attempt:
        attempt.first_result()
        assert dependency.in_flight == 1
    assert dependency.in_flight == 0
    assert dependency.available
