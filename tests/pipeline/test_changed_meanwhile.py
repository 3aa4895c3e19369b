"""What happens to documents and caches while an answer is being written decides what is kept."""

import asyncio
from typing import Any

from ragstone.domain.errors import RecordsUnavailable
from ragstone.models.llms.fake import ScriptedModel
from ragstone.records.cached_reader import CachedReader
from tests.pipeline.world import World
from tests.virtual_loop import run, running_clock


async def _world(**options: Any) -> World:
    clock = running_clock()
    world = World(ScriptedModel(["Forty-five", " [1]."], clock=clock, **options), clock=clock)
    await world.put("help")
    return world


async def _erase(world: World, document: str) -> None:
    await world.records.delete_document("acme", document)
    await world.index.delete("acme", "help", [document])
    await world.records.raise_generation("acme", "help")


def test_an_answer_over_what_was_erased_meanwhile_is_told_but_not_kept() -> None:
    async def scenario() -> None:
        world = await _world(first_delay=200.0)
        asking = asyncio.create_task(world.ask(seconds=400.0))
        await asyncio.sleep(1.0)
        await _erase(world, "doc_help_returns")
        await asking
        assert len(world.cache) == 0

    run(scenario())


def test_a_change_of_another_document_leaves_the_key_by_prompt_alone() -> None:
    async def scenario() -> None:
        world = await _world(first_delay=1.0)
        asking = asyncio.create_task(world.ask(top_k=1))
        await asyncio.sleep(0.5)
        await world.put("help", "Sofas are green and soft.", name="sofas")
        await asking
        assert len(world.cache) == 1
        assert (await world.ask(top_k=1))[1].cache_tier == "prompt"
        assert (await world.ask(top_k=1))[1].cache_tier == "question"

    run(scenario())


def test_a_gateway_that_has_not_heard_of_a_clearing_gives_nothing_from_before_it() -> None:
    async def scenario() -> None:
        world = await _world()
        engine: Any = world.records
        world.records = CachedReader(engine, world.clock)  # type: ignore[assignment]
        await world.ask(top_k=1)
        await asyncio.sleep(2.0)
        world.records = CachedReader(engine, world.clock)  # type: ignore[assignment]
        await world.records.collection("acme", "help")
        await engine.raise_cache_epoch("acme", None)
        # Another question key, so that only the one by prompt is found.
        _, done = await world.ask(top_k=2)
        assert done.cache == "miss"
        await asyncio.sleep(2.0)
        assert (await world.ask(top_k=2))[1].cache == "miss"
        assert (await world.ask(top_k=2))[1].cache == "hit"

    run(scenario())


def test_records_that_fail_or_hang_cost_the_entry_and_not_the_answer() -> None:
    async def scenario() -> None:
        world = await _world(first_delay=1.0)
        original = world.records.generation

        async def failing(tenant: str, name: str) -> int | None:
            raise RecordsUnavailable("The engine is away.")

        async def hanging(tenant: str, name: str) -> int | None:
            await asyncio.sleep(20.0)
            return None

        for broken in (failing, hanging):
            world.records.generation = broken  # type: ignore[method-assign]
            _, done = await world.ask()
            assert (done.cache, done.degraded) == ("miss", [])
            assert len(world.cache) == 0
        world.records.generation = original  # type: ignore[method-assign]
        await world.ask()
        assert len(world.cache) == 2

    run(scenario())


def test_a_question_that_wants_no_cache_is_told_that_none_was_asked() -> None:
    async def scenario() -> None:
        world = await _world()
        assert (await world.ask(cache="off"))[1].cache == "off"
        assert (await world.ask(cache="refresh"))[1].cache == "miss"

    run(scenario())
