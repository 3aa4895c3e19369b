"""The path of a question as a whole, with fakes that fail, hang and repeat themselves."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from ragstone.domain.clock import SystemClock
from ragstone.domain.errors import ModelFailed, ModelUnreachable, RagstoneError
from ragstone.domain.usage import Usage
from ragstone.models.embedders.fake import HashingEmbedder
from ragstone.models.llms.fake import ScriptedModel
from ragstone.records.cached_reader import CachedReader
from tests.clock import VirtualClock
from tests.pipeline.world import ASKED, TEXT, World
from tests.virtual_loop import run, running_clock


class HangingEmbedder(HashingEmbedder):
    """Answers documents at once, and queries never."""

    hang_documents = False

    async def embed_query(self, text: str) -> list[float]:
        return await asyncio.Event().wait()  # type: ignore[return-value]

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        if self.hang_documents:
            await asyncio.Event().wait()
        return await super().embed_documents(texts)


def _model(*deltas: str, **options: Any) -> ScriptedModel:
    return ScriptedModel(deltas, clock=SystemClock(), **options)


def test_an_embedder_that_hangs_leaves_time_for_a_lexical_answer() -> None:
    async def scenario() -> None:
        world = World(clock=running_clock())
        await world.put("help")
        world.embedder = HangingEmbedder()
        _, done = await world.ask(seconds=1.0)
        assert "45 days" in done.answer
        assert "lexical_only" in done.degraded

    run(scenario())


def test_an_extract_is_made_of_words_alone_when_its_embeddings_hang() -> None:
    async def scenario() -> None:
        world = World(clock=running_clock())
        await world.put("help")
        world.embedder = HangingEmbedder()
        world.embedder.hang_documents = True
        _, done = await world.ask(seconds=0.5)
        assert "45 days" in done.answer
        assert "extract_lexical" in done.degraded

    run(scenario())


def test_a_model_slower_than_the_deadline_is_replaced_within_it() -> None:
    async def scenario() -> None:
        clock = running_clock()
        late = ScriptedModel(["late [1]."], clock=clock, first_delay=60.0)
        world = World(late, clock=clock)
        await world.put("help")
        _, done = await world.ask(seconds=0.5)
        assert done.answer_kind == "extractive"
        assert done.degraded == ["extractive_answer"]

    run(scenario())


async def test_a_model_that_breaks_off_is_replaced_where_nobody_saw_it_begin() -> None:
    world = World(_model("Forty", "-five", error=ModelFailed("Broke."), error_after=1))
    await world.put("help")
    _, done = await world.ask(streamed=False)
    assert done.answer_kind == "extractive"
    with pytest.raises(ModelFailed):
        await world.ask("And returns of full-price items, within how many days of delivery?")


@pytest.mark.parametrize("blanks", [(" ", "\n"), ()])
async def test_blanks_are_no_answer(blanks: tuple[str, ...]) -> None:
    world = World(_model(*blanks))
    await world.put("help")
    deltas, done = await world.ask()
    assert done.answer_kind == "extractive"
    assert deltas == [done.answer]


async def test_a_refused_connection_costs_nothing_and_a_used_model_is_billed() -> None:
    world = World(_model(error=ModelUnreachable("Refused.")))
    await world.put("help")
    _, done = await world.ask()
    assert done.usage == world.ledger.settled("acme") == Usage()
    world.model = _model("Forty-five [1].", usage=Usage(input_tokens=9, output_tokens=3))
    _, done = await world.ask()
    assert done.usage == world.ledger.settled("acme") == Usage(input_tokens=9, output_tokens=3)


async def test_the_cache_by_prompt_answers_in_the_name_of_this_request() -> None:
    world = World(_model("Forty-five [1]."))
    await world.put("help")
    _, hybrid = await world.ask(mode="hybrid")
    _, lexical = await world.ask(mode="lexical")
    assert (hybrid.cache, lexical.cache) == ("miss", "hit")
    assert lexical.passages[0].scores.dense is None
    assert hybrid.passages[0].scores.dense is not None
    assert lexical.citations[0].score == lexical.passages[0].scores.fused


async def test_collections_do_not_answer_for_one_another() -> None:
    world = World(_model("never"))
    for collection in ("help", "other"):
        await world.records.ensure_collection("acme", collection, world.embedder.identity)
    for collection in ("help", "other"):
        _, done = await world.ask(collection=collection)
        assert (done.collection, done.cache) == (collection, "miss")


async def test_a_kept_answer_is_not_served_after_its_document_changed() -> None:
    world = World(_model("Forty-five [1]."))
    await world.put("help")
    outcomes = [(await world.ask())[1].cache for _ in range(2)]
    await world.put("help", TEXT.replace("45", "60"))
    outcomes.append((await world.ask())[1].cache)
    assert outcomes == ["miss", "hit", "miss"]


async def test_white_space_in_a_question_makes_no_other_question() -> None:
    world = World(_model("Forty-five [1]."))
    await world.put("help")
    await world.ask()
    assert (await world.ask(f"  {ASKED.replace(' ', '  ')} "))[1].cache == "hit"


async def test_every_error_settles_and_frees_its_place() -> None:
    world = World()
    with pytest.raises(RagstoneError):
        await world.ask(collection="nothing")
    assert world.admission.in_flight == world.ledger.open_reservations == 0
    await world.put("help")
    world.index = msgspec.UNSET  # type: ignore[assignment]
    with pytest.raises(AttributeError):
        await world.ask()
    assert world.admission.in_flight == world.ledger.open_reservations == 0


async def test_a_kept_answer_is_not_given_after_a_change_through_another_process() -> None:
    world = World()
    await world.put("help")
    engine = world.records
    gateway = CachedReader(engine, VirtualClock())
    world.records = gateway  # type: ignore[assignment]
    assert (await world.ask())[1].cache == "miss"
    assert (await world.ask())[1].cache == "hit"
    world.records = engine
    await world.put("help", TEXT.replace("45", "30"))
    world.records = gateway  # type: ignore[assignment]
    _, done = await world.ask()
    assert (done.cache, "30 days" in done.answer) == ("miss", True)
