"""Stage 8: choose passages for a token budget, without saying anything twice."""

from collections.abc import Callable
from typing import Final

import msgspec

from ragstone.domain.passage import Passage
from ragstone.domain.principal import Priority
from ragstone.domain.query import Question
from ragstone.observe.trace import Trace
from ragstone.resilience.ladder import LoadLadder

_BYTES_PER_TOKEN: Final = 4
"""Of UTF-8 in the vocabularies of language models: 4 to 5 in English, 3 to 4 in other
languages of Europe and in Chinese and Japanese."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """The passages an answer may rest on; passage `n` of the prompt is `passages[n - 1]`."""

    passages: list[Passage]
    tokens: int
    """Size of their texts in tokens, as counted for the budget."""


def pack(
    passages: list[Passage],
    *,
    top_k: int,
    budget_tokens: int,
    count_tokens: Callable[[str], int],
) -> Evidence:
    """At most `top_k` distinct passages, best first, within `budget_tokens` in all.

    A passage that does not fit is left out whole, never cut, and a smaller one after it may
    still fit; the first is kept whatever its size, since an answer needs some evidence. One
    that says nothing new is left out: all of its sentences stand in those before it, word for
    word. A sentence that differs in as much as a figure is new.
    """
    chosen: list[Passage] = []
    said: set[str] = set()
    tokens = 0
    for passage in passages:
        if len(chosen) == top_k:
            break
        says = _sentences(passage.text)
        if (chosen and says <= said) or any(_covers(other, passage) for other in chosen):
            continue
        size = count_tokens(passage.text)
        if chosen and tokens + size > budget_tokens:
            continue
        chosen.append(passage)
        said |= says
        tokens += size
    return Evidence(passages=chosen, tokens=tokens)


def pack_for(
    question: Question,
    passages: list[Passage],
    budget_tokens: int,
    ladder: LoadLadder,
    priority: Priority,
    trace: Trace,
) -> list[Passage]:
    """The passages for an answer; of half the budget when load has taken that rung.

    Labelled only where it makes a difference.
    """
    whole = pack(
        passages,
        top_k=question.top_k, budget_tokens=budget_tokens, count_tokens=estimated_tokens,
    ).passages  # fmt: skip
    if not ladder.takes("fewer_passages", priority):
        return whole
    fewer = pack(
        passages,
        top_k=question.top_k, budget_tokens=budget_tokens // 2, count_tokens=estimated_tokens,
    ).passages  # fmt: skip
    if fewer != whole:
        trace.degrade("fewer_passages")
    return fewer


def estimated_tokens(text: str) -> int:
    """Tokens of `text` for whichever language model will read it.

    The embedder's tokenizer is no closer to the model's, and costs 0.1 ms a passage.
    """
    return -(-len(text.encode(errors="replace")) // _BYTES_PER_TOKEN)


def with_spares(top_k: int) -> int:
    """A few more than asked for, since `pack` drops what repeats."""
    return top_k + max(2, top_k // 2)


def _sentences(text: str) -> set[str]:
    """In a normal form; coarse, since cutting too much or too little only finds fewer repeats."""
    plain = text.casefold().replace("\n", ". ")
    if "  " in plain:
        plain = " ".join(plain.split())
    return {piece.rstrip(".") for piece in plain.split(". ")}


def _covers(other: Passage, passage: Passage) -> bool:
    """True when `other` holds the whole of `passage`'s stretch of the same document."""
    return (
        other.document_id == passage.document_id
        and other.version == passage.version
        and other.start <= passage.start
        and passage.end <= other.end
    )
