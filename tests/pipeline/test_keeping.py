"""What is kept of an answer, what is not, for how long, and how it is told again."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from ragstone.apps import ASSISTANT
from ragstone.domain.answer import Delta, Done
from ragstone.domain.usage import Usage
from ragstone.models.llms.fake import ScriptedModel
from ragstone.pipeline.keeping import Keeping
from tests.pipeline.world import ASKED, TEXT, World, pressed_ladder
from tests.virtual_loop import run, running_clock

LONG = "Full-price items can be returned within forty-five days of delivery, " * 8 + "as said [1]."


async def _world(*deltas: str, **options: Any) -> World:
    clock = running_clock()
    model = ScriptedModel(deltas or ("Forty-five", " [1]."), clock=clock, **options)
    world = World(model, clock=clock)
    world.keeping = Keeping(ttl_seconds=100.0, not_found_seconds=10.0, refresh_share=0.2)
    await world.put("help")
    return world


async def _asked(world: World, text: str = ASKED, **more: Any) -> tuple[str, str | None]:
    _, done = await world.ask(text, **more)
    return done.cache, done.cache_tier


def test_a_hit_says_where_it_is_from_and_how_old_it_is() -> None:
    async def scenario() -> None:
        world = await _world(usage=Usage(input_tokens=9, output_tokens=3))
        await world.ask()
        await asyncio.sleep(7.0)
        deltas, done = await world.ask()
        assert (done.cache, done.cache_tier, done.cache_age_seconds) == ("hit", "question", 7.0)
        assert (done.usage, "".join(deltas)) == (Usage(), done.answer)
        [first, second] = world.ledger.rows[-2:]
        assert (first.cached, second.cached) == (0, 1) or world.ledger.rows[-1].cached == 1

    run(scenario())


def test_a_kept_stream_is_told_as_a_stream() -> None:
    async def scenario() -> None:
        world = await _world(LONG)
        first, _ = await world.ask()
        deltas, done = await world.ask()
        assert "".join(deltas) == "".join(first) == done.answer
        assert len(deltas) > 4
        async with aclosing(world.events(streamed=False)) as events:
            told = [event async for event in events]
        assert [type(event) for event in told] == [Done]
        assert not any(isinstance(event, Delta) for event in told)

    run(scenario())


@pytest.mark.parametrize(
    ("asked", "deltas"),
    [
        (f"{ASKED} I am ann@example.org.", ("Forty-five [1].",)),
        (f"{ASKED} My order is #48213.", ("Forty-five [1].",)),
        (ASKED, ("Call +44 20 7946 0958 [1].",)),
        (ASKED, ("Forty-five.",)),  # without a citation
        (ASKED, ("Forty-five [1] [7].",)),  # one citation was of nothing
    ],
)
def test_what_is_personal_or_uncited_is_not_kept(asked: str, deltas: tuple[str, ...]) -> None:
    async def scenario() -> None:
        world = await _world(*deltas)
        assert [await _asked(world, asked) for _ in range(2)] == [("miss", None)] * 2
        assert (await world.cache.stats()).entries == 0

    run(scenario())


def test_what_was_cut_or_degraded_is_not_kept() -> None:
    async def scenario() -> None:
        world = await _world(reason="length")
        assert [await _asked(world) for _ in range(2)] == [("miss", None)] * 2
        world = await _world()
        world.ladder = pressed_ladder(5)
        world.model = None
        assert [await _asked(world) for _ in range(2)] == [("miss", None)] * 2

    run(scenario())


def test_a_text_without_an_answer_is_kept_briefly_and_by_question_only() -> None:
    async def scenario() -> None:
        world = await _world(ASSISTANT.not_found)
        _, done = await world.ask()
        assert done.answer_kind == "not_found"
        assert (await world.cache.stats()).entries == 1
        assert await _asked(world) == ("hit", "question")
        await asyncio.sleep(11.0)
        assert await _asked(world) == ("miss", None)
        await world.put("help", "Sofas are green.", name="sofas")
        assert await _asked(world) == ("miss", None)

    run(scenario())


def test_a_change_elsewhere_leaves_the_answer_by_prompt() -> None:
    async def scenario() -> None:
        world = await _world()
        await world.ask(top_k=1)
        await world.put("help", "Sofas are green and soft.", name="sofas")
        assert await _asked(world, top_k=1) == ("hit", "prompt")
        assert await _asked(world, top_k=1) == ("hit", "question")
        await world.put("help", TEXT.replace("45", "60"))
        assert await _asked(world, top_k=1) == ("miss", None)

    run(scenario())


def test_letter_case_is_another_question_and_composition_is_not() -> None:
    async def scenario() -> None:
        world = await _world()
        await world.ask("Caf\u00e9 returns within how many days of delivery?")
        composed = await _asked(world, "Cafe\u0301 returns  within how many days of delivery?")
        assert composed == ("hit", "question")
        assert (await _asked(world, "CAF\u00c9 returns within how many days of delivery?"))[
            0
        ] == "miss"

    run(scenario())


def test_lives_differ_by_a_tenth() -> None:
    async def scenario() -> None:
        world = await _world()
        _, done = await world.ask()
        lives = [world.keeping.life(done) for _ in range(200)]
        assert 90.0 <= min(lives) < 92.0
        assert 108.0 < max(lives) <= 110.0

    run(scenario())


def test_an_entry_that_cannot_be_read_is_a_miss_and_is_removed() -> None:
    async def scenario() -> None:
        world = await _world()
        world.route = None
        await world.ask()
        for damage in (lambda raw: b"\xc1" + raw, lambda raw: raw.replace(b"Forty", b"Fifty", 1)):
            keys = await world.cache.members("acme/help")
            assert len(keys) == 2
            for key, raw in zip(keys, await world.cache.values("acme/help", keys), strict=True):
                assert raw is not None
                await world.cache.put(key, damage(raw), ttl=50.0, group="acme/help")
            _, done = await world.ask()
            assert (done.cache, done.answer) == ("miss", "Forty-five [1].")
            assert await _asked(world) == ("hit", "question")

    run(scenario())


def test_near_its_end_one_request_has_it_made_anew_in_the_background() -> None:
    async def scenario() -> None:
        world = await _world(first_delay=1.0)
        await world.ask()
        await asyncio.sleep(88.0)
        for _ in range(3):
            async with aclosing(world.events()) as events:
                told = [event async for event in events]
            assert told[-1].answer.cache == "hit"
        assert len(world.refreshes) == 1
        await asyncio.sleep(2.0)
        assert len(world.refreshes) == 0
        world.assert_nothing_is_held()
        assert world.model is not None
        assert len(world.model.prompts) == 2
        await asyncio.sleep(60.0)  # the first would have ended
        assert await _asked(world) == ("hit", "question")
        assert sum(row.questions for row in world.ledger.rows) == 5

    run(scenario())


def test_a_kept_answer_is_made_anew_once_even_if_what_comes_of_it_cannot_be_kept() -> None:
    async def scenario() -> None:
        world = await _world()
        await world.ask()
        kept, world.model = world.model, ScriptedModel(["Forty-five."], clock=world.clock)
        assert kept is not None
        await asyncio.sleep(88.0)
        for _ in range(5):
            assert (await _asked(world))[0] == "hit"
            await asyncio.sleep(0.1)
        assert len(world.model.prompts) == 1  # it cites nothing
        await asyncio.sleep(22.0)
        world.model = kept
        assert (await _asked(world))[0] == "miss"
        await asyncio.sleep(88.0)
        assert (await _asked(world))[0] == "hit"
        await asyncio.sleep(0.1)
        assert len(kept.prompts) == 3

    run(scenario())


def test_nothing_is_made_anew_under_load_and_closing_ends_what_is() -> None:
    async def scenario() -> None:
        world = await _world(first_delay=1.0)
        await world.ask()
        await asyncio.sleep(88.0)
        calm, world.ladder = world.ladder, pressed_ladder(1)
        async with aclosing(world.events()) as events:
            assert [event async for event in events][-1].answer.cache == "hit"
        assert len(world.refreshes) == 0
        world.ladder = calm
        async with aclosing(world.events()) as events:
            _ = [event async for event in events]
        assert len(world.refreshes) == 1
        await asyncio.sleep(0.1)
        await world.refreshes.close()
        world.assert_nothing_is_held()

    run(scenario())


def test_a_request_may_have_it_made_anew_or_want_no_cache() -> None:
    async def scenario() -> None:
        world = await _world()
        assert await _asked(world, cache="off") == ("off", None)
        assert (await world.cache.stats()).entries == 0
        await world.ask()
        assert await _asked(world, cache="refresh") == ("miss", None)
        assert await _asked(world, cache="off") == ("off", None)
        assert await _asked(world) == ("hit", "question")
        assert world.model is not None
        assert len(world.model.prompts) == 4

    run(scenario())
