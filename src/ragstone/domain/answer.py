"""What is answered: the text, its citations, and the events by which it is told."""

from typing import Literal

import msgspec

from ragstone.domain.passage import Passage
from ragstone.domain.usage import Receipt, Usage

AnswerKind = Literal["generated", "extractive", "passages", "not_found"]
"""`passages`: there was no room for an answer; a fixed sentence points to the passages."""
CacheOutcome = Literal["hit", "miss", "joined", "off"]
CacheTier = Literal["question", "prompt", "semantic"]


class Span(msgspec.Struct, frozen=True):
    """Half-open character offsets into the cited document's text."""

    start: int
    end: int


class Citation(msgspec.Struct, frozen=True, kw_only=True):
    """One numbered source of an answer: `[number]` in its text."""

    number: int
    document_id: str
    external_id: str
    chunk_id: str
    title: str
    page: int | None
    span: Span
    """The sentences that support it where known, else the whole chunk."""
    score: float
    text: str
    """`document.text[span.start:span.end]`"""


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """Why something was left out: the error behind a rung of the ladder."""

    code: str
    message: str
    """Empty unless the principal has the scope `admin`: it may name inner servers."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A finished answer with everything that was done, and not done, for it."""

    answer: str
    answer_kind: AnswerKind
    citations: list[Citation]
    passages: list[Passage]
    usage: Usage
    timings_ms: dict[str, float]
    """Milliseconds by stage, in the order in which they ran."""
    degraded: list[str]
    """Rungs of the ladder that were taken; empty when nothing was left out."""
    notices: list[Notice] = []
    cache: CacheOutcome = "off"
    """`hit`: made for an earlier, equal question and still true. `joined`: made for several that
    asked the same at the same time. `off`: no cache was asked."""
    cache_tier: CacheTier | None = None
    """Of a hit: what was equal."""
    cache_age_seconds: float | None = None
    """Of a hit: how long ago it was made."""
    receipt: Receipt = Receipt()
    collection: str
    model: str
    """The model that wrote it; `extractive` when none did."""
    trace_id: str


class Telling(msgspec.Struct, frozen=True, kw_only=True):
    """The part of an `Answer` that is of the request that it is told to; the rest is `kept.Told`.

    Of a kept answer: `usage` is what finding it took."""

    usage: Usage
    timings_ms: dict[str, float]
    degraded: list[str]
    notices: list[Notice]
    cache: CacheOutcome = "hit"
    cache_tier: CacheTier = "question"
    cache_age_seconds: float
    receipt: Receipt
    trace_id: str


class PassagesFound(msgspec.Struct, frozen=True, tag="passages", tag_field="type"):
    """The evidence, before the first word of the answer."""

    passages: list[Passage]
    trace_id: str
    degraded: list[str] = []


class Delta(msgspec.Struct, frozen=True, tag="delta", tag_field="type"):
    """The next piece of answer text."""

    text: str


class CitationsChecked(msgspec.Struct, frozen=True, tag="citations", tag_field="type"):
    """The citations that exist in the evidence, after the last delta."""

    citations: list[Citation]


class Done(msgspec.Struct, frozen=True, tag="done", tag_field="type"):
    """Terminal: the whole answer once more, so that a client may ignore what came before."""

    answer: Answer


AnswerEvent = PassagesFound | Delta | CitationsChecked | Done
"""In this order; a failure is raised as a `RagstoneError` and ends the stream instead of `Done`."""
