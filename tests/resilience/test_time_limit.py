"""A bound that sets its timer only when something is waited for."""

import asyncio

import pytest

from ragstone.resilience.time_limit import TimeLimit
from tests.virtual_loop import run


class Late(Exception):
    pass


def test_what_takes_longer_is_ended_in_time() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(Late):
            async with TimeLimit(2, Late):
                await asyncio.sleep(5)
        await asyncio.sleep(0)  # the task itself was not cancelled
        return loop.time() - began

    assert run(main()) == pytest.approx(2)


def test_what_waits_for_nothing_sets_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "call_at", None)
        async with TimeLimit(0, Late):
            pass
        await asyncio.sleep(0)

    run(main())


@pytest.mark.parametrize("waits_before", [True, False])
def test_a_limit_that_is_postponed_ends_later(waits_before: bool) -> None:
    async def bounded(until: float) -> None:
        async with TimeLimit(2, Late) as limit:
            if waits_before:
                await asyncio.sleep(1)
            limit.postpone(until)
            await asyncio.sleep(5)

    async def main() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(Late):
            await bounded(began + 3)
        return loop.time() - began

    assert run(main()) == pytest.approx(3)


def test_a_cancellation_from_elsewhere_remains_one() -> None:
    async def bounded() -> None:
        async with TimeLimit(1, Late):
            await asyncio.sleep(5)

    async def main() -> None:
        for moment in (0.5, 1.0):  # before the limit, and in the same turn of the loop
            task = asyncio.create_task(bounded())
            asyncio.get_running_loop().call_later(moment, task.cancel)
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main())


def test_the_inner_of_two_limits_is_told_from_the_outer() -> None:
    async def main() -> None:
        async with TimeLimit(3, AssertionError):
            with pytest.raises(Late):
                async with TimeLimit(1, Late):
                    await asyncio.sleep(5)

    run(main())
