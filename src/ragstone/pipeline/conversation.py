"""The turns before a question as the model sees them, within a budget, without asking a model.

The latest stay whole; older ones shrink to the sentences that tell most, always in the same way
whatever is asked now, so that the beginning of a conversation's prompt stays the same from turn
to turn and providers' prompt caches hit.
"""

from collections.abc import Sequence
from typing import Final

from ragstone.domain.query import Turn
from ragstone.pipeline.pack import estimated_tokens
from ragstone.pipeline.units import split_units
from ragstone.ports import PromptMessage

CONDENSED_CHARS: Final = 160
"""Of an older turn: 40 tokens, a question or the first sentence of an answer."""

_NO_ANSWER: Final = "(no answer was given)"


def condensed(
    conversation: Sequence[Turn], *, max_turns: int, budget_tokens: int
) -> list[PromptMessage]:
    """At most `max_turns` messages within `budget_tokens`, roles alternating, a user's first.

    What is too much is left out from the oldest on, in blocks of half of `max_turns`.
    """
    messages = _alternating(conversation[_first(len(conversation), max_turns) :])
    gists = [gist(message) for message in messages]
    sizes = [estimated_tokens(text) for text in gists]
    texts: list[str] = []
    left, whole = budget_tokens, True
    for position in reversed(range(len(messages))):
        text, size = messages[position].content, estimated_tokens(messages[position].content)
        older = min(sum(sizes[:position]), budget_tokens // 2)  # kept back for those before
        whole = whole and size + older <= left
        if not whole:
            text, size = gists[position], sizes[position]
        if size > left:
            break
        left -= size
        texts.append(text)
    kept = messages[len(messages) - len(texts) :]
    told = [PromptMessage(m.role, t) for m, t in zip(kept, reversed(texts), strict=True)]
    return told[1:] if told and told[0].role == "assistant" else told


def gist(message: PromptMessage) -> str:
    """Its questions, if a user wrote it, then its first sentences, as they stand, in order."""
    text = message.content.strip()
    if len(text) <= CONDENSED_CHARS:
        return text
    sentences = [
        " ".join(text[unit.start : unit.end].split())
        for unit in split_units(text)
        if unit.kind != "heading"
    ]
    asks = [message.role == "user" and sentence.endswith("?") for sentence in sentences]
    kept: list[int] = []
    left = CONDENSED_CHARS
    for position in sorted(range(len(sentences)), key=lambda place: (not asks[place], place)):
        left -= len(sentences[position]) + 1
        if left < 0:
            break
        kept.append(position)
    if not kept:
        return text[:CONDENSED_CHARS].rsplit(maxsplit=1)[0] + " …"
    return " ".join(sentences[position] for position in sorted(kept)) + " …"


def _first(count: int, max_turns: int) -> int:
    """The first turn that is looked at; it moves by half of `max_turns` at a time."""
    step = max(1, max_turns // 2)
    return max(0, -(-(count - max_turns) // step)) * step


def _alternating(turns: Sequence[Turn]) -> list[PromptMessage]:
    """A user's message first, an assistant's last; neighbours of one role become one message."""
    messages: list[PromptMessage] = []
    for turn in turns:
        if turn.role == "system" or not turn.content.strip():
            continue
        if messages and messages[-1].role == turn.role:
            joined = f"{messages[-1].content}\n\n{turn.content}"
            messages[-1] = PromptMessage(turn.role, joined)
        elif messages or turn.role == "user":
            messages.append(PromptMessage(turn.role, turn.content))
    if messages and messages[-1].role == "user":
        messages.append(PromptMessage("assistant", _NO_ANSWER))
    return messages
