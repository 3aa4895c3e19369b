import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.resilience.hedge import FEWEST_SAMPLES, Hedge
from tests.virtual_loop import run, running_clock


class Replica:
    """Answers its name after a time drawn anew for each call, and counts calls."""

    def __init__(self, name: str, seconds: Callable[[], float]) -> None:
        self.name = name
        self.seconds = seconds
        self.calls = self.running = self.cancelled = 0

    async def __call__(self) -> str:
        self.calls += 1
        self.running += 1
        try:
            await asyncio.sleep(self.seconds())
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        return self.name


def _constant(seconds: float) -> Callable[[], float]:
    return lambda: seconds


class Failing(Replica):
    async def __call__(self) -> str:
        await super().__call__()
        raise ConnectionError(self.name)


async def _learned(
    share: float = 1.0, is_loaded: Callable[[], bool] = lambda: False
) -> tuple[Hedge, list[str]]:
    """A hedge that has seen answers of 10 ms and has saved all the second calls it may."""
    outcomes: list[str] = []
    clock = running_clock()
    hedge = Hedge(share=share, clock=clock, is_loaded=is_loaded, hedged=outcomes.append)
    quick = Replica("quick", _constant(0.01))
    for _ in range(FEWEST_SAMPLES * 5):
        await hedge.read(quick, None)
    return hedge, outcomes


def _tasks() -> int:
    return len(asyncio.all_tasks())


def test_a_second_call_begins_after_the_percentile_and_the_first_success_wins() -> None:
    async def scenario() -> None:
        hedge, outcomes = await _learned()
        slow, quick = Replica("slow", _constant(5)), Replica("quick", _constant(0.01))
        began = running_clock().monotonic()
        assert await hedge.read(slow, quick) == "quick"
        assert running_clock().monotonic() - began == pytest.approx(0.02)
        assert (slow.cancelled, slow.running, _tasks()) == (1, 0, 1)
        assert outcomes == ["won"]

    run(scenario())


def test_the_first_call_may_still_win() -> None:
    async def scenario() -> None:
        hedge, outcomes = await _learned()
        late, stuck = Replica("late", _constant(0.02)), Replica("stuck", _constant(5))
        assert await hedge.read(late, stuck) == "late"
        assert (stuck.calls, stuck.cancelled, _tasks()) == (1, 1, 1)
        assert outcomes == ["lost"]

    run(scenario())


def test_no_second_call_before_the_percentile_is_known() -> None:
    async def scenario() -> None:
        hedge = Hedge(share=1, clock=running_clock())
        second = Replica("second", _constant(0))
        for _ in range(FEWEST_SAMPLES):
            assert await hedge.read(Replica("first", _constant(1)), second) == "first"
        assert second.calls == 0

    run(scenario())


def test_a_first_call_that_fails_early_is_not_hedged() -> None:
    async def scenario() -> None:
        hedge, outcomes = await _learned()
        second = Replica("second", _constant(0))
        with pytest.raises(ConnectionError, match="first"):
            await hedge.read(Failing("first", _constant(0.001)), second)
        assert second.calls == 0
        assert outcomes == []

    run(scenario())


@pytest.mark.parametrize(("first", "second"), [(0.02, 0.05), (0.05, 0.02)])
def test_the_first_error_is_raised_when_both_fail(first: float, second: float) -> None:
    async def scenario() -> None:
        hedge, outcomes = await _learned()
        calls = Failing("first", _constant(first)), Failing("second", _constant(second))
        with pytest.raises(ConnectionError, match="first"):
            await hedge.read(*calls)
        assert outcomes == ["failed"]
        assert _tasks() == 1

    run(scenario())


def test_an_error_waits_for_the_other_call() -> None:
    async def scenario() -> None:
        hedge, outcomes = await _learned()
        failing, slower = Failing("failing", _constant(0.03)), Replica("slower", _constant(0.05))
        assert await hedge.read(failing, slower) == "slower"
        assert await hedge.read(slower, Failing("failing", _constant(0.001))) == "slower"
        assert outcomes == ["won", "lost"]

    run(scenario())


def test_none_under_load_without_a_replica_or_with_a_share_of_nothing() -> None:
    async def scenario() -> None:
        slow, second = Replica("slow", _constant(1)), Replica("second", _constant(0))
        loaded, _ = await _learned(is_loaded=lambda: True)
        assert await loaded.read(slow, second) == "slow"
        off, _ = await _learned(share=0)
        assert await off.read(slow, second) == "slow"
        alone, _ = await _learned()
        assert await alone.read(slow, None) == "slow"
        assert second.calls == 0

    run(scenario())


def test_one_slow_replica_of_three_is_hidden_for_a_twentieth_more_calls() -> None:
    """FAULTS 9. Each read goes to one of three replicas; a tenth of the slow one's calls hang."""

    async def scenario() -> None:
        chance = random.Random(9)
        clock = running_clock()
        outcomes: list[str] = []
        hedge = Hedge(share=0.05, clock=clock, hedged=outcomes.append)
        healthy = Replica("healthy", lambda: chance.lognormvariate(-4.6, 0.3))
        ill = Replica("ill", lambda: 2.0 if chance.random() < 0.1 else 0.01)
        reads, slow = 3_000, 0
        for number in range(reads):
            began = clock.monotonic()
            await hedge.read(ill if number % 3 == 0 else healthy, healthy)
            slow += clock.monotonic() - began > 0.1
        assert healthy.calls + ill.calls <= 1.05 * reads
        assert slow / reads < 0.01  # 0.033 without
        assert outcomes.count("won") > 0.6 * len(outcomes)

    run(scenario())


def test_hedging_switches_itself_off_when_all_replicas_are_slow_and_on_again() -> None:
    """FAULTS 10."""

    async def scenario() -> None:
        chance = random.Random(10)
        hedge, outcomes = await _learned(share=0.05)
        slow = Replica("slow", lambda: chance.lognormvariate(0, 0.3))
        for _ in range(2_000):
            await hedge.read(slow, slow)
        outcomes.clear()
        for _ in range(2_000):
            await hedge.read(slow, slow)
        assert len(outcomes) < 0.01 * 2_000  # 0.05 are allowed

        outcomes.clear()
        ill = Replica("ill", lambda: 100 if chance.random() < 0.03 else slow.seconds())
        for _ in range(4_000):
            await hedge.read(ill, slow)
        assert outcomes.count("won") > 0.01 * 4_000

    run(scenario())


@given(
    first=st.floats(0, 0.1),
    second=st.floats(0, 0.1),
    fails=st.tuples(st.booleans(), st.booleans()),
    stops=st.lists(st.floats(0, 0.15), min_size=1, max_size=3),
    stubborn=st.floats(0, 0.05),
)
def test_cancelled_at_any_moment_it_leaves_no_task(
    first: float, second: float, fails: tuple[bool, bool], stops: list[float], stubborn: float
) -> None:
    async def scenario() -> None:
        hedge, _ = await _learned()
        running = 0

        def call(seconds: float, fail: bool) -> Callable[[], Awaitable[str]]:
            async def answer() -> str:
                nonlocal running
                running += 1
                try:
                    await asyncio.sleep(seconds)
                    if fail:
                        raise ConnectionError
                    return "answer"
                finally:
                    try:
                        await asyncio.sleep(stubborn)  # closing takes a while
                    finally:
                        running -= 1

            return answer

        reader = asyncio.ensure_future(hedge.read(call(first, fails[0]), call(second, fails[1])))
        for stop in stops:
            asyncio.get_running_loop().call_later(stop, reader.cancel)
        await asyncio.wait([reader])
        if not reader.cancelled():
            reader.exception()
        assert (running, _tasks()) == (0, 1)

    run(scenario())


def test_a_share_beyond_one_is_refused() -> None:
    async def scenario() -> None:
        with pytest.raises(ValueError, match=r"1\.5"):
            Hedge(share=1.5, clock=running_clock())

    run(scenario())
