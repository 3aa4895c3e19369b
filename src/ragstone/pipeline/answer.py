"""One question, top to bottom: every stage, in order.

Stages know nothing of one another. Each is timed, and none begins after the deadline. What
was left out on the way is on the trace, and so in the response.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from ragstone.domain.answer import (
    Answer,
    AnswerEvent,
    CacheOutcome,
    CitationsChecked,
    Delta,
    Done,
    Notice,
    PassagesFound,
)
from ragstone.domain.application import Application
from ragstone.domain.errors import InternalError, RagstoneError
from ragstone.domain.passage import Passage
from ragstone.domain.principal import Principal
from ragstone.domain.query import FusionSettings, Question
from ragstone.domain.usage import Usage
from ragstone.observe.trace import Trace
from ragstone.pipeline.admit import admit
from ragstone.pipeline.collection import open_collection
from ragstone.pipeline.embed import embed
from ragstone.pipeline.events import Written
from ragstone.pipeline.generate import EXTRACTIVE, generate
from ragstone.pipeline.pack import estimated_tokens, pack
from ragstone.pipeline.prompt import build_prompt
from ragstone.pipeline.recall import prompt_key, question_key, recall, remember
from ragstone.pipeline.rerank import rerank
from ragstone.pipeline.retrieve import retrieve
from ragstone.pipeline.services import Services
from ragstone.pipeline.settle import Bill, reserve_and_settle
from ragstone.pipeline.stage import Stage
from ragstone.pipeline.understand import understand
from ragstone.resilience.deadline import Deadline


async def answer(
    question: Question,
    principal: Principal,
    application: Application,
    *,
    deadline: Deadline,
    trace: Trace,
    services: Services,
) -> AsyncGenerator[AnswerEvent, None]:
    """Tells the answer as it comes: passages, deltas, citations, done.

    Raises `RagstoneError`s; closing the iterator ends all work and settles what was used.
    """
    s, recipe = services, services.recipe
    model_name = s.model.name if s.model else EXTRACTIVE
    collection = await open_collection(
        question.collection, principal, s.records, s.embedder.identity
    )
    upper_bound = Usage(input_tokens=2 * recipe.context_tokens, output_tokens=recipe.max_tokens)
    async with (
        admit(principal, s.admission, deadline, trace, s.metrics),
        reserve_and_settle(principal, upper_bound, s.ledger, s.metrics) as bill,
    ):
        key = question_key(question, principal, collection, application, model_name, recipe)
        async with Stage("recall", deadline, trace):
            kept = await recall("question", key, s.cache, s.metrics)
        if kept is not None:
            for event in _replay(kept, trace, bill):
                yield event
            return

        with trace.stage("understand"):
            query = understand(question)

        async with Stage("embed", deadline, trace):
            vector = await embed(query, question.mode, s.embedder, trace)

        async with Stage("retrieve", deadline, trace):
            found = await retrieve(
                query,
                vector,
                question,
                principal,
                limit=recipe.candidates if s.reranker else _with_spares(question.top_k),
                candidates=recipe.candidates,
                fusion=FusionSettings(
                    method=recipe.fusion_method, dense_weight=recipe.dense_weight
                ),
                index=s.index,
                trace=trace,
                metrics=s.metrics,
            )

        async with Stage("rerank", deadline, trace):
            ranked = await rerank(
                query,
                found,
                reranker=s.reranker,
                seconds=recipe.rerank_seconds,
                deadline=deadline,
                trace=trace,
            )

        with trace.stage("pack"):
            evidence = pack(
                ranked,
                top_k=question.top_k,
                budget_tokens=recipe.context_tokens,
                count_tokens=estimated_tokens,
            )
            prompt = build_prompt(
                application,
                question,
                evidence.passages,
                max_tokens=recipe.max_tokens,
                temperature=recipe.temperature,
            )

        by_prompt = prompt_key(prompt, evidence.passages, principal, application, model_name)
        async with Stage("recall", deadline, trace):
            kept = await recall("prompt", by_prompt, s.cache, s.metrics)
        if kept is not None:
            for event in _replay(kept, trace, bill):
                yield event
            return

        yield PassagesFound(evidence.passages, trace.id, list(trace.degraded))

        written: Written | None = None
        with trace.stage("generate"):
            writing = generate(
                prompt,
                query,
                evidence.passages,
                application=application,
                model=s.model,
                embedder=s.embedder,
                deadline=deadline,
                trace=trace,
                bill=bill,
            )
            async with aclosing(writing) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Written):
                        written = piece
                    else:
                        yield Delta(piece)
        if written is None:
            raise InternalError("The answer ended without an end.")

        yield CitationsChecked(written.citations)
        done = _compose(question, principal, evidence.passages, written, trace, s)
        await remember([key, by_prompt], done, s.cache, recipe.cache_ttl_seconds)
        bill.outcome = outcome_of(done)
        yield Done(done)


def outcome_of(answer: Answer) -> str:
    """The `outcome` label of an answer that was given."""
    if answer.degraded:
        return "degraded"
    return "abstained" if answer.answer_kind == "not_found" else "ok"


def _with_spares(top_k: int) -> int:
    """A few more than asked for, since `pack` drops what repeats."""
    return top_k + max(2, top_k // 2)


def _replay(kept: Answer, trace: Trace, bill: Bill) -> list[AnswerEvent]:
    """A kept answer, told as if it were new, with this request's own trace and no usage."""
    given = _retold(kept, trace, "hit")
    bill.outcome = outcome_of(given)
    return [
        PassagesFound(given.passages, trace.id, given.degraded),
        Delta(given.answer),
        CitationsChecked(given.citations),
        Done(given),
    ]


def _retold(kept: Answer, trace: Trace, cache: CacheOutcome) -> Answer:
    return Answer(
        answer=kept.answer,
        answer_kind=kept.answer_kind,
        citations=kept.citations,
        passages=kept.passages,
        usage=Usage(),
        timings_ms=_timings(trace),
        degraded=list(trace.degraded),
        cache=cache,
        collection=kept.collection,
        model=kept.model,
        trace_id=trace.id,
    )


def _compose(
    question: Question,
    principal: Principal,
    passages: list[Passage],
    written: Written,
    trace: Trace,
    services: Services,
) -> Answer:
    return Answer(
        answer=written.text,
        answer_kind=written.kind,
        citations=written.citations,
        passages=passages,
        usage=written.usage,
        timings_ms=_timings(trace),
        degraded=list(trace.degraded),
        notices=[_notice(error, principal) for error in trace.notices],
        cache="miss" if services.cache is not None else "off",
        collection=question.collection,
        model=written.model,
        trace_id=trace.id,
    )


def _timings(trace: Trace) -> dict[str, float]:
    return {**trace.timings_ms, "total": round(trace.elapsed() * 1000, 3)}


def _notice(error: Exception, principal: Principal) -> Notice:
    code = error.code if isinstance(error, RagstoneError) else "timeout"
    return Notice(code=code, message=str(error) if "admin" in principal.scopes else "")
