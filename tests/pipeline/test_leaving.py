"""Whoever leaves, and whenever: upstream closed, permits and reservation back, settled once."""

import asyncio
from contextlib import aclosing, suppress

import pytest

from ragstone.models.llms.fake import ScriptedModel
from tests.pipeline.world import World
from tests.virtual_loop import run, running_clock


class Pausing:
    """Waits before and after each of the inner object's coroutine methods, as a network would."""

    def __init__(self, inner: object, *, after: bool = True) -> None:
        self._inner = inner
        self._after = after

    def __getattr__(self, name: str):
        value = getattr(self._inner, name)
        if not asyncio.iscoroutinefunction(value):
            return value

        async def call(*args, **kwargs):
            await asyncio.sleep(0)
            result = await value(*args, **kwargs)
            if self._after:
                await asyncio.sleep(0)
            return result

        return call


class CountingLedger:
    def __init__(self, inner) -> None:
        self._inner = inner
        self.settled = 0
        self.reserved = 0

    async def standing(self, spender):
        return await self._inner.standing(spender)

    def record(self, rows) -> None:
        self._inner.record(rows)

    async def reserve(self, spender, upper, *, model=True):
        self.reserved += 1
        return await self._inner.reserve(spender, upper, model=model)

    def settle(self, reservation, spent, rows):
        self.settled += 1
        self._inner.settle(reservation, spent, rows)

    @property
    def open_reservations(self) -> int:
        return self._inner.open_reservations


async def _world(*, with_model: bool = True) -> World:
    model = None
    clock = running_clock()
    if with_model:
        model = ScriptedModel(
            ["Forty", "-five", " [1]."], clock=clock, first_delay=0.1, delay=0.1,
            sleep=lambda _: asyncio.sleep(0),
        )  # fmt: skip
    world = World(model, clock=clock)
    await world.put("help")
    world.ledger = CountingLedger(world.ledger)
    for name in ("embedder", "index", "records", "cache"):
        setattr(world, name, Pausing(getattr(world, name)))
    return world


async def _at_rest(world: World) -> None:
    for _ in range(5):
        await asyncio.sleep(0)
    world.assert_nothing_is_held()
    assert world.ledger.settled == world.ledger.reserved
    assert world.metrics.open_reservations.value == 0
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("with_model", [True, False])
def test_closing_after_any_event_leaves_nothing(with_model: bool) -> None:
    async def scenario() -> None:
        for taken in range(20):
            world = await _world(with_model=with_model)
            events = world.events()
            with suppress(StopAsyncIteration):
                for _ in range(taken):
                    await anext(events)
            await events.aclose()
            await _at_rest(world)

    run(scenario())


@pytest.mark.parametrize("with_model", [True, False])
@pytest.mark.parametrize("again", [False, True])
def test_cancelling_at_any_await_leaves_nothing(with_model: bool, again: bool) -> None:
    async def read(world: World) -> None:
        async with aclosing(world.events()) as events:
            async for _ in events:
                await asyncio.sleep(0)

    async def scenario() -> int:
        for steps in range(500):
            world = await _world(with_model=with_model)
            task = asyncio.create_task(read(world))
            for _ in range(steps):
                await asyncio.sleep(0)
            if task.done():
                await _at_rest(world)
                return steps
            task.cancel()
            if again:
                await asyncio.sleep(0)
                task.cancel()
            await asyncio.wait([task])
            await _at_rest(world)
        raise AssertionError("the question never ended")

    assert run(scenario()) > 12
