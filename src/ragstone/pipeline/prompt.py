"""The packed passages and the question as a prompt; golden files in the tests hold its form."""

import re
from collections.abc import Sequence
from typing import Final

from ragstone.domain.application import Application
from ragstone.domain.passage import Passage
from ragstone.domain.query import Question
from ragstone.pipeline.conversation import condensed
from ragstone.pipeline.services import Recipe
from ragstone.ports import Prompt, PromptMessage

_CLOSING_TAG: Final = re.compile(r"</\s*(passages?|question)\b", re.IGNORECASE)


def build_prompt(
    application: Application,
    question: Question,
    passages: Sequence[Passage],
    recipe: Recipe,
    excerpts: Sequence[str] | None = None,
) -> Prompt:
    """System prompt, the turns before, then passages and question as data.

    In the order of how long each stays the same, so that providers' prompt caches hit: the system
    prompt for all questions, the turns within one conversation. `excerpts`: what is to be seen
    of each passage; the number of one of which nothing is left does not occur.
    """
    texts = [passage.text for passage in passages] if excerpts is None else excerpts
    numbered = enumerate(zip(passages, texts, strict=True), start=1)
    evidence = "\n\n".join(_block(n, passage, text) for n, (passage, text) in numbered if text)
    asked = _as_data(question.text)
    ask = f"<passages>\n{evidence}\n</passages>\n\n<question>\n{asked}\n</question>"
    before = condensed(
        question.conversation,
        max_turns=application.max_turns,
        budget_tokens=recipe.conversation_tokens,
    )
    return Prompt(
        system=application.system_prompt,
        messages=[*before, PromptMessage("user", ask)],
        max_tokens=recipe.max_tokens,
        temperature=recipe.temperature,
    )


def _block(number: int, passage: Passage, text: str) -> str:
    where = " > ".join((passage.title, *passage.heading_path))
    page = f", page {passage.page}" if passage.page is not None else ""
    return f"[{number}] {_as_data(' '.join(where.split()))}{page}\n{_as_data(text)}"


def _as_data(text: str) -> str:
    """A text that cannot close its own frame and speak as the user."""
    return _CLOSING_TAG.sub(r"< /\1", text) if "</" in text else text
