"""The end of the path: what the stages made becomes the answer that is told."""

from typing import Final

import msgspec

from ragstone.domain.answer import (
    Answer,
    AnswerEvent,
    CacheTier,
    CitationsChecked,
    Delta,
    Done,
    Notice,
    PassagesFound,
    Telling,
)
from ragstone.domain.errors import RagstoneError
from ragstone.domain.kept import KeptAnswer
from ragstone.domain.passage import Passage
from ragstone.observe.trace import Trace
from ragstone.pipeline.asked import Asked
from ragstone.pipeline.events import Written
from ragstone.pipeline.recall import told
from ragstone.pipeline.settle import Bill
from ragstone.resilience.ladder import costs_quality

_ENCODER: Final = msgspec.json.Encoder()
_PIECE_CHARS: Final = 80
"""Of a kept answer that is told as a stream: a line of text at a time."""


def outcome_of(degraded: list[str], *, not_found: bool) -> str:
    """The `outcome` label of an answer that was given."""
    if any(map(costs_quality, degraded)):
        return "degraded"
    return "abstained" if not_found else "ok"


def replay(
    kept: KeptAnswer,
    asked: Asked,
    bill: Bill,
    *,
    tier: CacheTier,
    now: float,
    passages: list[Passage] | None = None,
) -> Answer:
    """A kept answer as if it were new: this request's trace, and no usage. `passages`: this
    request's, where it has looked for them itself."""
    content, telling = told(kept), _telling(kept, asked, bill, tier, now)
    citations = content.citations
    if passages is not None:
        citations = [
            msgspec.structs.replace(citation, score=passages[citation.number - 1].scores.fused)
            for citation in citations
        ]
    return Answer(
        answer=content.answer,
        answer_kind=content.answer_kind,
        citations=citations,
        passages=content.passages if passages is None else passages,
        usage=telling.usage,
        timings_ms=telling.timings_ms,
        degraded=telling.degraded,
        notices=telling.notices,
        cache=telling.cache,
        cache_tier=telling.cache_tier,
        cache_age_seconds=telling.cache_age_seconds,
        receipt=telling.receipt,
        collection=content.collection,
        model=content.model,
        trace_id=telling.trace_id,
    )


def replay_json(kept: KeptAnswer, asked: Asked, bill: Bill, *, now: float) -> bytes:
    """What `replay` gives for the same question, as JSON: the kept bytes with this request's
    fields behind them, which are all that is encoded."""
    return joined(kept, _telling(kept, asked, bill, "question", now))


def joined(kept: KeptAnswer, telling: Telling) -> bytes:
    """The answer as JSON."""
    return b"%b,%b" % (kept.told[:-1], _ENCODER.encode(telling)[1:])


def age_of(kept: KeptAnswer, now: float) -> float:
    """Seconds since it was made; `now` in Unix seconds."""
    return round(max(0.0, now - kept.made_at), 3)


def _telling(kept: KeptAnswer, asked: Asked, bill: Bill, tier: CacheTier, now: float) -> Telling:
    trace = asked.trace
    bill.cached, bill.model = True, kept.model
    bill.saved("answer_cache", kept.nanodollars)
    return Telling(
        usage=bill.usage,
        timings_ms=_timings(trace),
        degraded=trace.degraded,
        notices=_notices(trace, asked),
        cache_tier=tier,
        cache_age_seconds=age_of(kept, now),
        receipt=bill.receipt(),
        trace_id=trace.id,
    )


def as_events(answer: Answer, *, streamed: bool) -> list[AnswerEvent]:
    """A whole answer as a stream in pieces; of one that is not `streamed`, the end alone."""
    if not streamed:
        return [Done(answer)]
    return [
        PassagesFound(answer.passages, answer.trace_id, answer.degraded),
        *map(Delta, _pieces(answer.answer)),
        CitationsChecked(answer.citations),
        Done(answer),
    ]


def retell(event: AnswerEvent, asked: Asked, leader: Asked, bill: Bill) -> AnswerEvent:
    """An event of another's generation, as this request tells it."""
    if isinstance(event, PassagesFound):
        return PassagesFound(event.passages, asked.trace.id, event.degraded)
    if not isinstance(event, Done):
        return event
    made = event.answer
    asked.trace.followed = leader.trace.id
    joined = made.cache != "hit"
    bill.cached, bill.model = True, made.model
    if joined:
        bill.saved("shared", made.receipt.nanodollars)
    else:
        bill.saved("answer_cache", made.receipt.saved_nanodollars.get("answer_cache", 0))
    saved = bill.receipt().saved_nanodollars
    return Done(
        msgspec.structs.replace(
            made,
            timings_ms=_timings(asked.trace),
            notices=_notices(leader.trace, asked),
            cache="joined" if joined else "hit",
            receipt=msgspec.structs.replace(made.receipt, saved_nanodollars=saved),
            trace_id=asked.trace.id,
        )
    )


def compose(
    asked: Asked, passages: list[Passage], written: Written, bill: Bill, *, cached: bool
) -> Answer:
    """The answer as it was just made. `cached`: whether a cache was asked before."""
    bill.answered(written.model)
    trace = asked.trace
    given = Answer(
        answer=written.text,
        answer_kind=written.kind,
        citations=written.citations,
        passages=passages,
        usage=written.usage,
        timings_ms=_timings(trace),
        degraded=list(trace.degraded),
        notices=_notices(trace, asked),
        cache="miss" if cached else "off",
        receipt=bill.receipt(),
        collection=asked.question.collection,
        model=written.model,
        trace_id=trace.id,
    )
    return given


def _pieces(text: str) -> list[str]:
    """Of about `_PIECE_CHARS`, cut behind white space where there is some."""
    pieces: list[str] = []
    start = 0
    while len(text) - start > _PIECE_CHARS:
        space = max(text.rfind(sign, start, start + _PIECE_CHARS) for sign in " \n")
        end = space + 1 if space > start else start + _PIECE_CHARS
        pieces.append(text[start:end])
        start = end
    return [*pieces, text[start:]]


def _timings(trace: Trace) -> dict[str, float]:
    return {**trace.timings_ms, "total": round(trace.elapsed() * 1000, 3)}


def _notices(trace: Trace, asked: Asked) -> list[Notice]:
    """Why things were left out, in the words that this principal may read."""
    may_read = "admin" in asked.principal.scopes
    return [
        Notice(
            code=error.code if isinstance(error, RagstoneError) else "timeout",
            message=str(error) if may_read else "",
        )
        for error in trace.notices
    ]
