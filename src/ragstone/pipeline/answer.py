"""One question, top to bottom: every stage, in order.

`begin` looks whether an answer is kept. `answer` is what one client goes through then: it is told
that, or let in, and told one that is being made for somebody else, or its own. `afresh` makes one.
Stages know nothing of one another. Each is timed, and none begins after the deadline. What was
left out on the way is on the trace, and so in the response.
"""

from array import array
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from functools import partial
from typing import Final

from ragstone.domain.answer import AnswerEvent, CitationsChecked, Delta, Done, PassagesFound
from ragstone.domain.errors import InternalError
from ragstone.domain.kept import KeptAnswer
from ragstone.observe.trace import Trace, new_trace_id
from ragstone.pipeline.admit import admit
from ragstone.pipeline.asked import Asked
from ragstone.pipeline.billed import billed_embedder, billed_reranker
from ragstone.pipeline.events import Written
from ragstone.pipeline.find import find
from ragstone.pipeline.flight import GoAlone, StartOver
from ragstone.pipeline.generate import generate
from ragstone.pipeline.lean import lean_prompt
from ragstone.pipeline.lookup import LookedUp, look_up, look_up_prompt, remember, remember_again
from ragstone.pipeline.material import Material
from ragstone.pipeline.pack import pack_for, with_spares
from ragstone.pipeline.recall import told
from ragstone.pipeline.rerank import rerank, unless_overloaded
from ragstone.pipeline.semantic import recall_similar, remember_similar
from ragstone.pipeline.services import Services
from ragstone.pipeline.settle import Bill, settled
from ragstone.pipeline.stage import Stage
from ragstone.pipeline.tell import as_events, compose, replay, replay_json, retell
from ragstone.pipeline.understand import understand
from ragstone.ports import Permit
from ragstone.resilience.deadline import Deadline
from ragstone.resilience.held import Held

_MOST_FLIGHTS: Final = 3
"""That a question joins one after another; then it goes alone."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A question that was let in and looked up: what is kept for it, and who pays for the rest.

    `answer` or `kept_json` must follow at once: they end what is held here."""

    found: LookedUp
    permit: Permit
    place: AbstractAsyncContextManager[Permit]
    """Among those in flight."""
    bill: Bill


async def begin(asked: Asked, s: Services) -> Begun:
    """Stages 1 to 3, which most questions of a busy day end with: an ordinary call, in which
    nothing is set up that a kept answer does not need.

    Raises `Overloaded`, `BudgetExhausted` at a hard limit, `RecordsUnavailable`,
    `DeadlineExceeded`, `UnknownCollection`, `EmbedderMismatch`.
    """
    place = _admission(asked, s)
    permit = await place.__aenter__()
    try:
        bill = _bill(asked, s)
        await bill.open()
        found = await _looked_up(asked, bill, s)
    except BaseException as error:
        await place.__aexit__(type(error), error, error.__traceback__)
        raise
    if found.kept is not None and found.is_due:
        s.refreshes.begin(found.key, partial(refresh, asked, s), made_at=found.kept.made_at)
    return Begun(found, permit, place, bill)


async def _looked_up(asked: Asked, bill: Bill, s: Services) -> LookedUp:
    try:
        async with Stage("recall", asked.deadline, asked.trace):
            return await look_up(asked, bill.standing, s)
    except BaseException:
        bill.close()
        raise


async def kept_json(asked: Asked, kept: KeptAnswer, begun: Begun, s: Services) -> bytes:
    """The kept answer, whole, as JSON: for clients that get no stream."""
    try:
        return replay_json(kept, asked, begun.bill, now=s.clock.time())
    finally:
        begun.bill.close()
        await begun.place.__aexit__(None, None, None)


def answer(asked: Asked, begun: Begun, s: Services) -> AsyncGenerator[AnswerEvent, None]:
    """Tells the answer as it comes: passages, deltas, citations, done.

    Raises `RagstoneError`s; closing the iterator ends all work that nobody else waits for, and
    settles what was used.
    """
    if (kept := begun.found.kept) is not None:
        return _kept(asked, kept, begun, s)
    if s.flights is None or asked.cache == "off":
        return _alone(asked, begun, s)
    return _together(asked, begun, s)


async def _kept(
    asked: Asked, kept: KeptAnswer, begun: Begun, s: Services
) -> AsyncGenerator[AnswerEvent, None]:
    async with Held(begun.place), Held(settled(begun.bill)):
        given = replay(kept, asked, begun.bill, tier="question", now=s.clock.time())
        for event in as_events(given, streamed=asked.streamed):
            yield event


async def _alone(asked: Asked, begun: Begun, s: Services) -> AsyncGenerator[AnswerEvent, None]:
    events = afresh(asked, begun.found, begun.permit, begun.bill, s)
    async with Held(begun.place), Held(settled(begun.bill)), aclosing(events):
        async for event in events:
            yield event


async def _together(asked: Asked, begun: Begun, s: Services) -> AsyncGenerator[AnswerEvent, None]:
    """With those who ask the same at this moment: one generation for all of them.

    Who is first begins it, in a task of its own, which takes over the bill; the place is held by
    both. Who comes later reads along, and needs no slot for that.
    """
    assert s.flights is not None
    found, permit, bill = begun.found, begun.permit, begun.bill
    async with Held(begun.place) as place, Held(settled(bill)) as billed:
        for _ in range(_MOST_FLIGHTS):
            flight = None
            if asked.cache == "use":
                flight = s.flights.find(found.key, asked, bill.standing)
            if flight is None:
                permit.check_slot()  # to be refused in a flight of one's own costs twice as much
                events = afresh(asked, found, permit, bill, s)
                flight = s.flights.begin(
                    found.key, asked, bill, events, place.shared(), billed.handed_over()
                )
                async with aclosing(flight.lead()) as own:
                    async for event in own:
                        yield event
                return
            found.count("joined", asked, s)
            try:
                async with aclosing(flight.follow(asked, s.recipe.model_seconds)) as shared:
                    async for event in shared:
                        yield retell(event, asked, flight.asked, bill)
                return
            except StartOver:
                continue
            except GoAlone:
                break
        async with aclosing(afresh(asked, found, permit, bill, s)) as events:
            async for event in events:
                yield event


async def afresh(
    asked: Asked, found: LookedUp, permit: Permit, bill: Bill, s: Services
) -> AsyncGenerator[AnswerEvent, None]:
    """From the evidence to the answer, which is kept where it may be.

    A slot is waited for here: what was told before needed none.
    """
    found.count("miss", asked, s)
    deadline, trace = asked.deadline, asked.trace
    await permit.take_slot()
    material = await gather(asked, bill, s)
    passages = material.passages
    async with Stage("recall", deadline, trace):
        earlier = await look_up_prompt(material, asked, found, s)
        similar = None
        if earlier.kept is None:
            similar = await recall_similar(material, asked, found, s)
    if earlier.kept is not None:
        permit.free_slot()
        given = replay(
            earlier.kept, asked, bill, tier="prompt", now=s.clock.time(), passages=passages
        )
        await remember_again(earlier.kept, given, asked, found, s)
        for event in as_events(given, streamed=asked.streamed):
            yield event
        return

    if similar is not None:
        permit.free_slot()
        given = replay(
            similar.kept, asked, bill,
            tier="semantic", now=s.clock.time(), passages=similar.passages,
        )  # fmt: skip
        if s.semantic is not None and bill.standing == "normal" and s.semantic.samples():
            s.refreshes.begin(found.key, partial(refresh, asked, s, similar.kept))
        for event in as_events(given, streamed=asked.streamed):
            yield event
        return

    yield PassagesFound(passages, trace.id, list(trace.degraded))

    written: Written | None = None
    with trace.stage("generate"):
        async with aclosing(write(material, asked, permit, bill, s)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Written):
                    written = piece
                else:
                    yield Delta(piece)
    if written is None:
        raise InternalError("The answer ended without an end.")

    yield CitationsChecked(written.citations)
    cached = s.cache is not None and asked.cache != "off"
    done = compose(asked, passages, written, bill, cached=cached)
    by_prompt = await remember(done, asked, found, earlier, s)
    await remember_similar(done, material, asked, found, by_prompt, s)
    yield Done(done)


async def gather(asked: Asked, bill: Bill, s: Services) -> Material:
    """From the question to the evidence and the prompt: the stages that are our own work."""
    question, deadline, trace = asked.question, asked.deadline, asked.trace
    recipe, ladder, priority = s.recipe, s.ladder, asked.priority
    with trace.stage("understand"):
        query = understand(question)

    reranker = unless_overloaded(billed_reranker(s.reranker, bill), ladder, priority, trace)
    passages, vector = await find(
        query, question, asked.principal,
        limit=recipe.candidates if reranker else with_spares(question.top_k),
        recipe=recipe, index=s.index,
        embedder=billed_embedder(s.embedder, bill), is_free=bill.prices.embedder.free,
        deadline=deadline, trace=trace, metrics=s.metrics,
    )  # fmt: skip

    async with Stage("rerank", deadline, trace):
        ranked = await rerank(query, passages, reranker, recipe, deadline, trace)

    application = asked.application
    with trace.stage("pack"):
        passages = pack_for(question, ranked, recipe.context_tokens, ladder, priority, trace)
        lean = await lean_prompt(application, question, query, passages, recipe, s.metrics)
    return Material(
        query=query, vector=None if vector is None else array("f", vector), passages=passages,
        prompt=lean.prompt, saved_tokens=lean.saved_tokens, application=application,
    )  # fmt: skip


def write(
    material: Material, asked: Asked, permit: Permit, bill: Bill, s: Services
) -> AsyncGenerator[str | Written, None]:
    """The model's text, or what stands in for it."""
    return generate(
        material,
        tenant=asked.principal.tenant, priority=asked.priority,
        route=s.model, escalation=s.recipe.escalation, model_seconds=s.recipe.model_seconds,
        embedder=billed_embedder(s.embedder, bill), ladder=s.ladder, permit=permit,
        streamed=asked.streamed, deadline=asked.deadline, trace=asked.trace, bill=bill,
    )  # fmt: skip


async def refresh(asked: Asked, s: Services, given: KeptAnswer | None = None) -> None:
    """Makes a kept answer anew for those who will ask; the first of a process to go under load.

    `given`: what a similar question's answer was, which is compared.
    """
    trace = Trace(s.metrics, new_trace_id())
    own = asked.in_background(trace, Deadline(s.clock, asked.deadline.seconds))
    async with _admission(own, s) as permit, settled(_bill(own, s), questions=0) as bill:
        async with Stage("recall", own.deadline, trace):
            found = await look_up(own, bill.standing, s)
        async with aclosing(afresh(own, found, permit, bill, s)) as events:
            async for event in events:
                if isinstance(event, Done) and given is not None and s.semantic is not None:
                    embedder = billed_embedder(s.embedder, bill)
                    await s.semantic.compare(told(given), event.answer, embedder)


def _admission(asked: Asked, s: Services) -> AbstractAsyncContextManager[Permit]:
    return admit(
        asked.principal, asked.priority, asked.weight,
        s.admission, s.ladder, asked.deadline, asked.trace, s.metrics, slot=False,
    )  # fmt: skip


def _bill(asked: Asked, s: Services) -> Bill:
    return Bill(
        asked.principal, asked.spender,
        s.ledger, s.prices, s.quotas, s.metrics, asked.trace, s.estimates,
    )  # fmt: skip
