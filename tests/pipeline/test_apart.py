"""Whose answer it is: what must not be taken from one cache, though nearly all is the same."""

import asyncio
from collections.abc import Sequence

import msgspec

from ragstone.domain.passage import Passage
from ragstone.models.llms.fake import ScriptedModel
from tests.pipeline.world import TEXT, World
from tests.virtual_loop import run, running_clock


async def _world(*deltas: str) -> World:
    clock = running_clock()
    world = World(ScriptedModel(deltas or ("Forty-five", " [1]."), clock=clock), clock=clock)
    await world.put("help")
    return world


class Untouched:
    """A reranker that leaves the order as it is."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def rerank(
        self, question: str, passages: Sequence[Passage], *, deadline: float
    ) -> list[Passage]:
        return list(passages)


def test_another_data_folder_with_equal_names_and_counters_does_not_share_answers() -> None:
    async def scenario() -> None:
        one = await _world()
        await one.ask()
        assert (await one.ask())[1].cache == "hit"
        await asyncio.sleep(1.0)
        other = await _world("Ninety", " [1].")
        other.cache = one.cache
        for count, text in enumerate([TEXT.replace("45", "90"), TEXT]):
            await other.put("help", text)
            await one.put("help")
            for world in (one, other):
                found = await world.records.collection("acme", "help")
                assert found is not None
                even = msgspec.structs.replace(found, generation=count)
                world.records._collections["acme", "help"] = even
            await one.ask()
            _, done = await other.ask()
            assert (done.cache, done.answer) == ("miss", "Ninety [1].")

    run(scenario())


def test_another_reranker_is_another_answer() -> None:
    async def scenario() -> None:
        world = await _world()
        await world.ask()
        for name in ("small", "large"):
            world.reranker = Untouched(name)
            _, done = await world.ask()
            assert done.cache_tier == "prompt"  # the same passages after all
            assert (await world.ask())[1].cache_tier == "question"

    run(scenario())
