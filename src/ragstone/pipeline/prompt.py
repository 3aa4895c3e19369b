"""The packed passages and the question as a prompt; golden files in the tests hold its form."""

import re
from typing import Final

from ragstone.domain.application import Application
from ragstone.domain.passage import Passage
from ragstone.domain.query import Question
from ragstone.pipeline.services import Recipe
from ragstone.ports import Prompt, PromptMessage

_CLOSING_TAG: Final = re.compile(r"</\s*(passages?|question)\b", re.IGNORECASE)


def build_prompt(
    application: Application,
    question: Question,
    passages: list[Passage],
    recipe: Recipe,
) -> Prompt:
    """System prompt, the last turns of the conversation, then passages and question as data."""
    blocks = [_block(number, passage) for number, passage in enumerate(passages, start=1)]
    evidence = "\n\n".join(blocks)
    asked = _CLOSING_TAG.sub(r"< /\1", question.text)
    ask = f"<passages>\n{evidence}\n</passages>\n\n<question>\n{asked}\n</question>"
    return Prompt(
        system=application.system_prompt,
        messages=[*_history(question, application.max_turns), PromptMessage("user", ask)],
        max_tokens=recipe.max_tokens,
        temperature=recipe.temperature,
    )


def _block(number: int, passage: Passage) -> str:
    where = " > ".join((passage.title, *passage.heading_path))
    page = f", page {passage.page}" if passage.page is not None else ""
    # A passage must not be able to close its own frame and speak as the user.
    text = _CLOSING_TAG.sub(r"< /\1", passage.text)
    return f"[{number}] {_one_line(where)}{page}\n{text}"


def _one_line(text: str) -> str:
    return _CLOSING_TAG.sub(r"< /\1", " ".join(text.split()))


def _history(question: Question, max_turns: int) -> list[PromptMessage]:
    """The latest turns, beginning with a user's, roles alternating as providers demand."""
    messages: list[PromptMessage] = []
    for turn in question.conversation[-max_turns:]:
        if turn.role == "system" or not turn.content.strip():
            continue
        if messages and messages[-1].role == turn.role:
            joined = f"{messages[-1].content}\n\n{turn.content}"
            messages[-1] = PromptMessage(turn.role, joined)
        elif messages or turn.role == "user":
            messages.append(PromptMessage(turn.role, turn.content))
    if messages and messages[-1].role == "user":
        messages.append(PromptMessage("assistant", "(no answer was given)"))
    return messages
