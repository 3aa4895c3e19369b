"""A fixed number at once, a bounded queue, and no permit lost to a cancellation."""

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragstone.domain.clock import SystemClock
from ragstone.domain.errors import DeadlineExceeded, Overloaded
from ragstone.domain.principal import Principal
from ragstone.resilience.admission import FixedAdmission

ALICE = Principal(tenant="acme")
FAR = float("1e12")


def _admission(concurrency: int, queue: int) -> FixedAdmission:
    return FixedAdmission(concurrency=concurrency, queue=queue, clock=SystemClock())


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_one_beyond_the_queue_is_refused_at_once_with_when_to_come_back() -> None:
    admission = _admission(concurrency=1, queue=1)
    async with admission.admit(ALICE, priority="standard", weight=1, deadline=FAR):
        waiting = asyncio.create_task(_pass_through(admission))
        await _settle()
        with pytest.raises(Overloaded) as refused:
            async with admission.admit(ALICE, priority="standard", weight=1, deadline=FAR):
                raise AssertionError
        assert refused.value.retry_after is not None
        assert refused.value.retry_after >= 1
    await waiting
    assert admission.in_flight == admission.queued == 0


async def test_waiting_ends_with_the_deadline() -> None:
    admission = _admission(concurrency=1, queue=1)
    async with admission.admit(ALICE, priority="standard", weight=1, deadline=FAR):
        with pytest.raises(DeadlineExceeded):
            async with admission.admit(ALICE, priority="standard", weight=1, deadline=0.0):
                raise AssertionError
    assert admission.in_flight == admission.queued == 0


async def test_the_longest_waiting_is_next() -> None:
    admission = _admission(concurrency=1, queue=3)
    order: list[int] = []

    async def enter(number: int) -> None:
        async with admission.admit(ALICE, priority="standard", weight=1, deadline=FAR):
            order.append(number)

    async with admission.admit(ALICE, priority="standard", weight=1, deadline=FAR):
        tasks = []
        for number in range(3):
            tasks.append(asyncio.create_task(enter(number)))
            await _settle()
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2]


@settings(max_examples=60, deadline=None)
@given(
    concurrency=st.integers(1, 3),
    queue=st.integers(0, 3),
    steps=st.lists(
        st.tuples(st.sampled_from(["arrive", "leave", "cancel", "turn"]), st.integers(0, 9)),
        max_size=40,
    ),
)
def test_cancellation_anywhere_leaves_no_permit_behind(
    concurrency: int, queue: int, steps: list[tuple[str, int]]
) -> None:
    asyncio.run(_drive(concurrency, queue, steps))


async def _drive(concurrency: int, queue: int, steps: list[tuple[str, int]]) -> None:
    admission = _admission(concurrency, queue)
    running: list[tuple[asyncio.Task[None], asyncio.Event]] = []
    inside = 0

    async def visit(leave: asyncio.Event) -> None:
        nonlocal inside
        async with admission.admit(ALICE, priority="standard", weight=1, deadline=FAR):
            inside += 1
            assert inside <= concurrency
            try:
                await leave.wait()
            finally:
                inside -= 1

    for step, pick in steps:
        if step == "arrive":
            leave = asyncio.Event()
            running.append((asyncio.create_task(visit(leave)), leave))
        elif step == "turn":
            await asyncio.sleep(0)
        elif running:
            task, leave = running[pick % len(running)]
            if step == "leave":
                leave.set()
            else:
                task.cancel()
    for _, leave in running:
        leave.set()
    for task, _ in running:
        with suppress(asyncio.CancelledError, Overloaded):
            await task
    assert admission.in_flight == admission.queued == 0


async def _pass_through(admission: FixedAdmission) -> None:
    async with admission.admit(ALICE, priority="standard", weight=1, deadline=FAR):
        pass
