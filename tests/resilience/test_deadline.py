"""No stage begins after the deadline, none outlives it, and each leaves time for the next."""

import asyncio

import pytest

from ragstone.domain.errors import DeadlineExceeded
from ragstone.observe.metrics import Metrics
from ragstone.observe.trace import Trace
from ragstone.pipeline.stage import Stage
from ragstone.resilience.deadline import Deadline
from tests.clock import VirtualClock
from tests.virtual_loop import run, running_clock


def _trace() -> Trace:
    return Trace(Metrics(), "0" * 32)


def test_it_is_checked_before_a_stage() -> None:
    clock = VirtualClock()
    deadline = Deadline(clock, 2.0)
    deadline.check("embed")
    clock.advance(2.0)
    assert deadline.remaining() == 0
    with pytest.raises(DeadlineExceeded, match="the stage embed"):
        deadline.check("embed")


def test_a_stage_is_ended_when_it_passes() -> None:
    async def scenario() -> float:
        clock = running_clock()
        deadline = Deadline(clock, 2.0)
        began = clock.monotonic()
        with pytest.raises(DeadlineExceeded, match="stage retrieve"):
            async with Stage("retrieve", deadline, _trace()):
                await asyncio.sleep(60)
        return clock.monotonic() - began

    assert run(scenario()) == pytest.approx(2.0)


def test_somebody_elses_shorter_timeout_is_theirs() -> None:
    async def scenario() -> None:
        async with Stage("embed", Deadline(running_clock(), 2.0), _trace()):
            async with asyncio.timeout(1.0):
                await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        run(scenario())


def test_each_stage_leaves_time_for_the_next() -> None:
    clock = VirtualClock()
    deadline = Deadline(clock, 8.0)
    assert deadline.embed_seconds() == 2.0
    assert deadline.within(0.5) == 0.5
    assert deadline.model_until(60.0) == pytest.approx(deadline.at - 0.8)
    assert deadline.model_until(3.0) == pytest.approx(clock.monotonic() + 3.0)
    clock.advance(7.75)
    assert deadline.embed_seconds() == deadline.within(0.5) == pytest.approx(0.25)
    assert Deadline(clock, 60.0).model_until(60.0) == pytest.approx(clock.monotonic() + 59.0)
