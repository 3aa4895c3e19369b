"""Virtual time behaves as real time does, only that nobody waits."""

import asyncio

import pytest

from tests.clock import VirtualClock
from tests.virtual_loop import Deadlock, run, running_clock


def test_an_hour_passes_at_once() -> None:
    async def scenario() -> float:
        before = running_clock().monotonic()
        await asyncio.sleep(3600)
        return running_clock().monotonic() - before

    assert run(scenario()) == pytest.approx(3600)


def test_timers_fire_in_their_order() -> None:
    async def scenario() -> list[str]:
        order: list[str] = []

        async def note(after: float, name: str) -> None:
            await asyncio.sleep(after)
            order.append(name)

        await asyncio.gather(note(3, "third"), note(1, "first"), note(2, "second"))
        return order

    assert run(scenario()) == ["first", "second", "third"]


def test_a_timeout_cancels_what_takes_longer() -> None:
    async def scenario() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await asyncio.sleep(5)
        return running_clock().monotonic()

    assert run(scenario(), clock=VirtualClock(monotonic=10.0)) == pytest.approx(12.0)


def test_a_deadlock_is_told_instead_of_hanging() -> None:
    async def scenario() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock):
        run(scenario())
