"""A similar question gets an earlier answer over the same evidence, and no other."""

import asyncio
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.domain.answer import Answer
from ragstone.domain.kept import Told
from ragstone.domain.principal import Principal
from ragstone.domain.query import Turn
from ragstone.domain.usage import Usage
from ragstone.models.embedders.fake import HashingEmbedder
from ragstone.models.llms.fake import ScriptedModel
from ragstone.observe.metrics import Metrics
from ragstone.pipeline.shadow import SemanticTier, is_false, wilson_lower
from tests.pipeline.world import TEXT, World
from tests.virtual_loop import run, running_clock

ONE = "Within how many days can items be returned?"
ALIKE = "Please tell me: within how many days can an item be returned?"
UNLIKE = "Within how many days can items not be returned?"


def _tier(metrics: Metrics, **more: Any) -> SemanticTier:
    chosen = {"similarity": 0.5, "shadow_share": 0.0, "most_false": 0.02, **more}
    return SemanticTier(**chosen, metrics=metrics, random=Random(1))


async def _world(*answers: str, **tier: Any) -> World:
    clock = running_clock()
    model = ScriptedModel(answers or ("Forty-five days", " [1]."), clock=clock)
    world = World(model, clock=clock)
    world.semantic = _tier(world.metrics, **tier)
    await world.put("help")
    return world


async def _tier_of(world: World, text: str, **more: Any) -> str | None:
    _, done = await world.ask(text, **more)
    return done.cache_tier


def test_a_similar_question_is_answered_from_the_cache() -> None:
    async def scenario() -> None:
        world = await _world()
        _, first = await world.ask(ONE)
        _, second = await world.ask(ALIKE)
        assert (second.cache, second.cache_tier) == ("hit", "semantic")
        assert second.answer == first.answer
        assert [p.chunk_id for p in second.passages] == [p.chunk_id for p in first.passages]
        assert len(world.model.prompts) == 1
        assert await _tier_of(world, ALIKE) == "semantic"  # not kept as an answer to these words

    run(scenario())


@pytest.mark.parametrize(
    "more",
    [
        {"text": UNLIKE},
        {"conversation": (Turn("user", "Hello"), Turn("assistant", "Hello!"))},
        {"principal": Principal(tenant="acme", groups=("staff",))},
        {"top_k": 2},
        {"mode": "lexical"},
        {"cache": "off"},
    ],
)
def test_what_differs_is_answered_afresh(more: dict[str, Any]) -> None:
    async def scenario() -> None:
        world = await _world()
        await world.ask(ONE)
        assert await _tier_of(world, **{"text": ALIKE, **more}) is None
        assert len(world.model.prompts) == 2

    run(scenario())


def test_a_changed_document_is_other_evidence() -> None:
    async def scenario() -> None:
        world = await _world()
        await world.ask(ONE)
        await world.put("help", TEXT.replace("45", "30"))
        assert await _tier_of(world, ALIKE) is None

    run(scenario())


def test_a_damaged_or_lost_entry_is_a_miss() -> None:
    async def scenario() -> None:
        world = await _world()
        await world.ask(ONE)
        for group in await world.cache.groups():
            for key in await world.cache.members(group):
                await world.cache.put(key, b"?", ttl=10, group=group)
        assert await _tier_of(world, ALIKE) is None
        assert await _tier_of(world, ALIKE) == "question"

    run(scenario())


def test_off_by_default_and_without_a_cache() -> None:
    async def scenario() -> None:
        world = await _world()
        world.semantic = None
        await world.ask(ONE)
        assert await _tier_of(world, ALIKE) is None
        bare = await _world()
        bare.cache = None  # type: ignore[assignment]
        await bare.ask(ONE)
        assert await _tier_of(bare, ALIKE) is None

    run(scenario())


def test_no_more_questions_are_kept_than_the_latest() -> None:
    async def scenario() -> None:
        world = await _world()
        for n in range(40):
            await world.ask(f"Within how many days can item {n} be returned?")
        assert await _tier_of(world, "Please: within how many days can item 39 be returned?")
        first = await _tier_of(world, "Please: within how many days can item 1 be returned?")
        assert first is None

    run(scenario())


def test_a_false_hit_found_by_its_shadow_switches_the_tier_off() -> None:
    async def scenario() -> None:
        world = await _world(shadow_share=1.0)
        await world.ask(ONE)
        world.model = ScriptedModel(("There are no returns in winter", " [1]."), clock=world.clock)
        assert await _tier_of(world, ALIKE) == "semantic"
        while len(world.refreshes):
            await asyncio.sleep(0.01)
        assert world.semantic is not None
        assert not world.semantic.is_on
        value = world.metrics.registry.get_sample_value
        assert value("rag_cache_false_hits_total", {"cache": "semantic"}) == 1
        again = "Kindly tell: within how many days can item be returned?"
        assert await _tier_of(world, again) is None

    run(scenario())


def test_a_shadow_that_agrees_leaves_it_on() -> None:
    async def scenario() -> None:
        world = await _world(shadow_share=1.0)
        await world.ask(ONE)
        assert await _tier_of(world, ALIKE) == "semantic"
        while len(world.refreshes):
            await asyncio.sleep(0.01)
        assert len(world.model.prompts) == 2
        assert world.semantic is not None
        assert world.semantic.is_on
        world.assert_nothing_is_held()

    run(scenario())


@given(st.lists(st.booleans(), max_size=400))
def test_once_off_it_stays_off_and_none_false_leaves_it_on(outcomes: list[bool]) -> None:
    tier = _tier(Metrics())
    for number, false in enumerate(outcomes):
        was_on = tier.is_on
        tier.judged(false=false)
        assert was_on or not tier.is_on
        assert tier.is_on or any(outcomes[: number + 1])


def test_the_lower_end_of_the_interval() -> None:
    assert wilson_lower(0, 0) == 0.0
    assert wilson_lower(0, 50) == 0.0
    assert wilson_lower(1, 9) == pytest.approx(0.02, abs=0.001)
    assert wilson_lower(5, 100) == pytest.approx(0.0215, abs=0.0005)  # Wilson 1927, 95 %


def _told(answer: str, kind: Any = "generated") -> Told:
    return Told(
        answer=answer, answer_kind=kind, citations=[], passages=[], collection="help", model="m"
    )


def _fresh(answer: str) -> Answer:
    return Answer(
        answer=answer, answer_kind="generated", citations=[], passages=[], usage=Usage(),
        timings_ms={}, degraded=[], collection="help", model="m", trace_id="0",
    )  # fmt: skip


async def test_false_is_another_figure_another_kind_or_another_text() -> None:
    embedder = HashingEmbedder()
    fresh = _fresh("It takes 45 days [2].")
    assert not await is_false(_told("It takes 45 days [1]."), fresh, embedder)
    assert await is_false(_told("It takes 30 days [1]."), fresh, embedder)
    assert await is_false(_told("It takes 45 days [1].", "not_found"), fresh, embedder)
    assert await is_false(_told("Parcels of 45 kinds leave Venlo."), fresh, embedder)
