"""One question, top to bottom: every stage, in order.

Stages know nothing of one another. Each is timed, and none begins after the deadline. What
was left out on the way is on the trace, and so in the response.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from ragstone.domain.answer import AnswerEvent, CitationsChecked, Delta, Done, PassagesFound
from ragstone.domain.application import Application
from ragstone.domain.budget import Spender
from ragstone.domain.errors import InternalError
from ragstone.domain.principal import Principal, Priority
from ragstone.domain.query import Question
from ragstone.observe.trace import Trace
from ragstone.pipeline.admit import admit
from ragstone.pipeline.billed import billed_embedder, billed_reranker
from ragstone.pipeline.collection import is_current, open_collection
from ragstone.pipeline.embed import embed
from ragstone.pipeline.events import Written
from ragstone.pipeline.generate import EXTRACTIVE, generate
from ragstone.pipeline.material import Material
from ragstone.pipeline.pack import pack_for, with_spares
from ragstone.pipeline.prompt import build_prompt
from ragstone.pipeline.recall import prompt_key, question_key, recall, remember
from ragstone.pipeline.rerank import rerank, unless_overloaded
from ragstone.pipeline.retrieve import retrieve
from ragstone.pipeline.services import Services
from ragstone.pipeline.settle import Bill, reserve_and_settle
from ragstone.pipeline.stage import Stage
from ragstone.pipeline.tell import compose, outcome_of, replay
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
    weight: int = 1,
    streamed: bool = True,
) -> AsyncGenerator[AnswerEvent, None]:
    """Tells the answer as it comes: passages, deltas, citations, done.

    `weight` is in slots of admission. Not `streamed` says that nobody sees the deltas, so that
    a model which breaks off can still be replaced. Raises `RagstoneError`s; closing the
    iterator ends all work and settles what was used.
    """
    s, recipe = services, services.recipe
    model_name = s.model.name if s.model else EXTRACTIVE
    priority = principal.priority or application.priority
    spender = Spender(
        tenant=principal.tenant,
        key_id=principal.key_id,
        user=principal.user,
        application=application.name,
    )
    async with (
        admit(
            principal, priority, weight, s.admission, s.ladder, deadline, trace, s.metrics
        ) as permit,
        reserve_and_settle(
            principal, spender,
            ledger=s.ledger, prices=s.prices, quotas=s.quotas, metrics=s.metrics,
        ) as bill,
    ):  # fmt: skip
        async with Stage("recall", deadline, trace):
            collection = await open_collection(
                question.collection, principal, s.records, s.embedder.identity
            )
            keys = [question_key(question, principal, collection, application, model_name, recipe)]
            kept = await recall(
                "question", keys[0], s.cache, s.metrics, partial(is_current, collection, s.records)
            )
        if kept is not None:
            permit.free_slot()
            for event in replay(kept, question, principal, kept.passages, trace, bill):
                yield event
            return

        material = await gather(
            question, principal, priority, application, deadline, trace, bill, s
        )
        passages = material.passages
        if s.model is not None and passages:  # only what a model wrote is worth a second look
            keys.append(prompt_key(material.prompt, passages, principal, application, model_name))
            async with Stage("recall", deadline, trace):
                kept = await recall("prompt", keys[1], s.cache, s.metrics)
            if kept is not None:
                permit.free_slot()
                for event in replay(kept, question, principal, passages, trace, bill):
                    yield event
                return

        yield PassagesFound(passages, trace.id, list(trace.degraded))

        written: Written | None = None
        with trace.stage("generate"):
            writing = generate(
                material,
                tenant=principal.tenant, priority=priority,
                route=s.model, escalation=recipe.escalation,
                model_seconds=recipe.model_seconds,
                embedder=billed_embedder(s.embedder, bill),
                ladder=s.ladder, permit=permit, streamed=streamed,
                deadline=deadline, trace=trace, bill=bill,
            )  # fmt: skip
            async with aclosing(writing) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Written):
                        written = piece
                    else:
                        yield Delta(piece)
        if written is None:
            raise InternalError("The answer ended without an end.")

        yield CitationsChecked(written.citations)
        done = compose(
            question, principal, passages, written, trace, bill, cached=s.cache is not None
        )
        group = f"{principal.tenant}/{question.collection}"
        await remember(keys, done, s.cache, recipe.cache_ttl_seconds, group)
        bill.outcome = outcome_of(done)
        yield Done(done)


async def gather(
    question: Question,
    principal: Principal,
    priority: Priority,
    application: Application,
    deadline: Deadline,
    trace: Trace,
    bill: Bill,
    s: Services,
) -> Material:
    """From the question to the evidence and the prompt: the stages that are our own work."""
    recipe, ladder = s.recipe, s.ladder
    with trace.stage("understand"):
        query = understand(question)

    async with Stage("embed", deadline, trace):
        vector = await embed(
            query, question.mode, billed_embedder(s.embedder, bill), deadline, trace
        )

    reranker = unless_overloaded(billed_reranker(s.reranker, bill), ladder, priority, trace)
    async with Stage("retrieve", deadline, trace):
        found = await retrieve(
            query, vector, question, principal,
            limit=recipe.candidates if reranker else with_spares(question.top_k),
            recipe=recipe, index=s.index, embedder=s.embedder.identity.name,
            trace=trace, metrics=s.metrics,
        )  # fmt: skip

    async with Stage("rerank", deadline, trace):
        ranked = await rerank(query, found, reranker, recipe, deadline, trace)

    with trace.stage("pack"):
        passages = pack_for(question, ranked, recipe.context_tokens, ladder, priority, trace)
        prompt = build_prompt(application, question, passages, recipe)
    return Material(
        query=query, vector=vector, passages=passages, prompt=prompt, application=application
    )
