"""A prompt in fewer tokens says how many it saved."""

from dataclasses import replace

import pytest

from ragstone.apps import ASSISTANT
from ragstone.domain.clock import SystemClock
from ragstone.domain.query import Question
from ragstone.governance.prices import Price, PriceBook, Rate
from ragstone.models.llms.fake import ScriptedModel
from ragstone.observe.metrics import Metrics
from ragstone.pipeline.lean import lean_prompt
from tests.pipeline.passages import RECIPE, passage
from tests.pipeline.world import World

TEXT = (
    "Our shops are open from Monday to Saturday. Items can be returned within 45 days. "
    "We like dogs and every shop has water for them."
)


@pytest.mark.parametrize(("share", "saves"), [(1.0, False), (0.5, True)])
async def test_what_is_cut_is_counted(share: float, saves: bool) -> None:
    recipe = replace(RECIPE, compression=share)
    metrics = Metrics()
    asked = Question(text="Within how many days can items be returned?", collection="help")
    lean = await lean_prompt(ASSISTANT, asked, asked.text, [passage(TEXT)], recipe, metrics)
    assert "45 days" in lean.prompt.messages[-1].content
    assert ("dogs" not in lean.prompt.messages[-1].content) == saves
    assert (lean.saved_tokens > 10) == saves
    assert metrics.registry.get_sample_value("rag_prompt_tokens_count") == 1


async def test_what_cutting_saved_is_on_the_receipt_and_the_passages_stay_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tests.pipeline.world.RECIPE", replace(RECIPE, compression=0.5))
    world = World(ScriptedModel(("Within 45 days", " [1]."), clock=SystemClock()))
    rate = Rate(input=1_000_000_000, output=0)
    world.prices = PriceBook(models={"scripted": Price(source="configured", rates=(rate,))})
    await world.put("help", TEXT)
    _, done = await world.ask("Within how many days can items be returned?")
    assert "dogs" not in world.model.prompts[0].messages[-1].content
    assert done.passages[0].text == TEXT
    assert done.citations[0].text == "Items can be returned within 45 days."
    assert done.receipt.saved_nanodollars["compression"] > 10_000
