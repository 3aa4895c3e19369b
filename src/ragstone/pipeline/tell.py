"""The end of the path: what the stages made becomes the answer that is told."""

import msgspec

from ragstone.domain.answer import (
    Answer,
    AnswerEvent,
    CitationsChecked,
    Delta,
    Done,
    Notice,
    PassagesFound,
)
from ragstone.domain.errors import RagstoneError
from ragstone.domain.passage import Passage
from ragstone.domain.principal import Principal
from ragstone.domain.query import Question
from ragstone.domain.usage import Usage
from ragstone.observe.trace import Trace
from ragstone.pipeline.events import Written
from ragstone.pipeline.settle import Bill
from ragstone.resilience.ladder import costs_quality


def outcome_of(answer: Answer) -> str:
    """The `outcome` label of an answer that was given."""
    if any(map(costs_quality, answer.degraded)):
        return "degraded"
    return "abstained" if answer.answer_kind == "not_found" else "ok"


def replay(
    kept: Answer,
    question: Question,
    principal: Principal,
    passages: list[Passage],
    trace: Trace,
    bill: Bill,
) -> list[AnswerEvent]:
    """A kept answer, told as if it were new: this request's passages and trace, no usage."""
    given = msgspec.structs.replace(
        kept,
        citations=[
            msgspec.structs.replace(citation, score=passages[citation.number - 1].scores.fused)
            for citation in kept.citations
        ],
        passages=passages,
        collection=question.collection,
        usage=Usage(),
        timings_ms=_timings(trace),
        degraded=list(trace.degraded),
        notices=[_notice(error, principal) for error in trace.notices],
        cache="hit",
        trace_id=trace.id,
    )
    bill.outcome = outcome_of(given)
    return [
        PassagesFound(given.passages, trace.id, given.degraded),
        Delta(given.answer),
        CitationsChecked(given.citations),
        Done(given),
    ]


def compose(
    question: Question,
    principal: Principal,
    passages: list[Passage],
    written: Written,
    trace: Trace,
    *,
    cached: bool,
) -> Answer:
    """The answer as it was just made. `cached`: whether a cache was asked before."""
    return Answer(
        answer=written.text,
        answer_kind=written.kind,
        citations=written.citations,
        passages=passages,
        usage=written.usage,
        timings_ms=_timings(trace),
        degraded=list(trace.degraded),
        notices=[_notice(error, principal) for error in trace.notices],
        cache="miss" if cached else "off",
        collection=question.collection,
        model=written.model,
        trace_id=trace.id,
    )


def _timings(trace: Trace) -> dict[str, float]:
    return {**trace.timings_ms, "total": round(trace.elapsed() * 1000, 3)}


def _notice(error: Exception, principal: Principal) -> Notice:
    code = error.code if isinstance(error, RagstoneError) else "timeout"
    return Notice(code=code, message=str(error) if "admin" in principal.scopes else "")
