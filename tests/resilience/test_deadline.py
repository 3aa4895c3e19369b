"""One absolute deadline: no work begins after it, and what runs is ended by it."""

import asyncio

import pytest

from ragstone.domain.clock import SystemClock
from ragstone.domain.errors import DeadlineExceeded
from ragstone.resilience.deadline import Deadline
from tests.clock import VirtualClock


def test_nothing_begins_after_the_deadline(clock: VirtualClock) -> None:
    deadline = Deadline(clock, 2.0)
    deadline.check("embed")
    clock.advance(2.0)
    with pytest.raises(DeadlineExceeded, match="embed"):
        deadline.check("embed")


async def test_work_in_progress_is_ended_when_it_passes() -> None:
    deadline = Deadline(SystemClock(), 0.001)
    with pytest.raises(DeadlineExceeded, match="retrieve"):
        async with deadline.limit("retrieve"):
            await asyncio.Event().wait()


async def test_a_shorter_timeout_inside_is_not_taken_for_the_deadline() -> None:
    deadline = Deadline(SystemClock(), 60.0)
    with pytest.raises(TimeoutError):
        async with deadline.limit("rerank"):
            raise TimeoutError
