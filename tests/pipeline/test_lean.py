"""A prompt in fewer tokens says how many it saved."""

from dataclasses import replace

import pytest

from ragstone.apps import ASSISTANT
from ragstone.domain.query import Question
from ragstone.observe.metrics import Metrics
from ragstone.pipeline.lean import lean_prompt
from tests.pipeline.passages import RECIPE, passage

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
