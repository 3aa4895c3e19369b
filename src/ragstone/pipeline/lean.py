"""The prompt in as few tokens as the settings allow, and how many that saves."""

from collections.abc import Sequence
from typing import NamedTuple

from ragstone.domain.application import Application
from ragstone.domain.passage import Passage
from ragstone.domain.query import Question
from ragstone.observe.metrics import Metrics
from ragstone.pipeline.compress import excerpts
from ragstone.pipeline.pack import estimated_tokens
from ragstone.pipeline.prompt import build_prompt
from ragstone.pipeline.services import Recipe
from ragstone.ports import Prompt


class LeanPrompt(NamedTuple):
    """What the model is asked."""

    prompt: Prompt
    saved_tokens: int
    """Estimated: of the passages' text that was cut."""


async def lean_prompt(
    application: Application,
    question: Question,
    query: str,
    passages: Sequence[Passage],
    recipe: Recipe,
    metrics: Metrics,
) -> LeanPrompt:
    """`query` is the question as it stands alone: what matters to it is kept."""
    seen = await excerpts(query, passages, recipe.compression)
    prompt = build_prompt(application, question, passages, recipe, seen)
    sent = len(prompt.system) + sum(len(message.content) for message in prompt.messages)
    metrics.prompt_tokens.observe(sent / 4)
    if recipe.compression >= 1:
        return LeanPrompt(prompt, 0)
    whole = sum(estimated_tokens(passage.text) for passage in passages)
    return LeanPrompt(prompt, max(0, whole - sum(map(estimated_tokens, seen))))
