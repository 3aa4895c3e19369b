"""Stage 10: who answers. The model; else an extract of the passages; else the passages."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Final

from ragstone.domain.answer import AnswerKind, Citation, Span
from ragstone.domain.application import Application
from ragstone.domain.errors import (
    BudgetExhausted,
    DeadlineExceeded,
    DependencyBusy,
    DependencyError,
    Overloaded,
    TooManyRequests,
)
from ragstone.domain.principal import Priority
from ragstone.governance.routing import better, order
from ragstone.observe.trace import Trace
from ragstone.pipeline.escalate import Escalation, Writer, Writing, write_escalating
from ragstone.pipeline.events import Written
from ragstone.pipeline.extract import Extract, extract
from ragstone.pipeline.material import Material
from ragstone.pipeline.settle import Bill
from ragstone.pipeline.verify import cite
from ragstone.pipeline.write import ModelWriter, may_abstain
from ragstone.ports import Embedder, ModelRoute, Permit
from ragstone.resilience.deadline import Deadline
from ragstone.resilience.ladder import LoadLadder
from ragstone.resilience.time_limit import TimeLimit

EXTRACTIVE: Final = "extractive"
"""The model name of answers that no model wrote."""

_WORDS_ALONE_SECONDS: Final = 0.05
"""Kept back for an extract without embeddings when those hang."""
_LEAST_SECONDS: Final = 0.005
"""With less left not even that is begun; it takes one or two milliseconds."""


async def generate(
    material: Material,
    *,
    tenant: str,
    priority: Priority,
    route: ModelRoute | None,
    escalation: Escalation,
    model_seconds: float,
    embedder: Embedder,
    ladder: LoadLadder,
    permit: Permit,
    streamed: bool,
    deadline: Deadline,
    trace: Trace,
    bill: Bill,
) -> AsyncGenerator[str | Written, None]:
    """Pieces of the answer's text, then exactly one `Written`.

    The slot is given back when the model is asked, or when the extract is made: what follows
    is the model's work or the client's reading. An extract after a model that was asked waits
    for a slot once more.

    A route that fails before its first word, or whose budget is spent, is replaced by an
    extract, labelled `extractive_answer`; one that fails later raises, since text that was seen
    cannot be taken back. Where the answer is not `streamed` nothing was seen, and the pieces
    are void.
    """
    cause: Exception | None = None
    if route is not None and material.passages:
        writer = ModelWriter(
            material, route,
            tenant=tenant, priority=priority, model_seconds=model_seconds,
            on_asked=permit.free_slot, ladder=ladder,
            deadline=deadline, trace=trace, bill=bill,
        )  # fmt: skip
        begun = False
        try:
            hurried = ladder.takes("shorter_answer", priority)
            writing = _by_models(
                writer.write, route, "off" if hurried else escalation, material.application, bill
            )
            async with aclosing(writing) as pieces:
                async for piece in pieces:
                    begun = True
                    for label in piece.labels if isinstance(piece, Written) else ():
                        trace.degrade(label)
                    yield piece
            return
        except (DependencyError, DeadlineExceeded, BudgetExhausted) as error:
            if begun and streamed:
                raise
            if isinstance(error, BudgetExhausted):
                bill.standing = "exhausted"
            cause = error
    without_model = _WithoutModel(material, embedder, ladder, priority, deadline, trace, bill)
    written = await without_model.write(permit, cause)
    del cause  # it knows this frame: together they would wait for a garbage collection
    permit.free_slot()
    yield written.text
    yield written


def _by_models(
    write: Writer,
    route: ModelRoute,
    escalation: Escalation,
    application: Application,
    bill: Bill,
) -> Writing:
    """Which models of the route write, and in which order: as the budgets stand.

    Raises `BudgetExhausted` where none may.
    """
    models = order(route.offers, bill.standing)
    if not models:
        raise BudgetExhausted(
            "Too little is left of a budget to ask a language model.",
            remedy="Raise it with `ragstone budgets set`, or wait for its next period.",
        )
    return write_escalating(
        write,
        models,
        partial(better, route.offers),
        when=escalation if bill.standing == "normal" else "off",
        may_abstain=partial(may_abstain, application=application),
        on_escalated=bill.escalated,
    )


@dataclass(frozen=True, slots=True)
class _WithoutModel:
    """The last rungs: an extract; under load one of words alone; then the passages as found."""

    material: Material
    embedder: Embedder
    ladder: LoadLadder
    priority: Priority
    deadline: Deadline
    trace: Trace
    bill: Bill

    async def write(self, permit: Permit, cause: Exception | None) -> Written:
        """`cause`: why no model writes, where there is one."""
        if not self.material.passages:
            return self._unwritten("not_found", self.material.application.not_found)
        if self.ladder.takes("passages_only", self.priority):
            return self._passages(cause)
        # A model that is full tells of load before the ladder does.
        hurried = isinstance(cause, DependencyBusy)
        by_words = hurried or self.ladder.takes("extract_lexical", self.priority)
        try:
            await permit.take_slot()
            found = await _extract(
                self.material, None if by_words else self.embedder, self.deadline
            )
        except (Overloaded, TooManyRequests, DeadlineExceeded) as error:
            return self._passages(cause or error)
        return self._quoted(found, cause)

    def _quoted(self, found: Extract, cause: Exception | None) -> Written:
        if cause is not None:
            self.trace.degrade("extractive_answer", cause)
        for rung in found.degraded:
            self.trace.degrade(rung)
        if not found.found:
            return self._unwritten("not_found", self.material.application.not_found)
        passages = self.material.passages
        citations = [
            cite(part.number, passages[part.number - 1], Span(part.start, part.end))
            for part in found.citations
        ]
        return self._unwritten("extractive", found.text, citations)

    def _passages(self, cause: Exception | None) -> Written:
        self.trace.degrade("passages_only", cause)
        return self._unwritten("passages", self.material.application.passages_only)

    def _unwritten(
        self, kind: AnswerKind, text: str, citations: list[Citation] | None = None
    ) -> Written:
        """What a model cost that failed before is on the bill."""
        return Written(
            text=text,
            kind=kind,
            citations=citations or [],
            usage=self.bill.usage,
            model=EXTRACTIVE,
        )


async def _extract(material: Material, embedder: Embedder | None, deadline: Deadline) -> Extract:
    """Raises `DeadlineExceeded` when there is no time even for one without embeddings."""
    query, passages = material.query, material.passages
    remaining = deadline.remaining()
    if remaining < _LEAST_SECONDS:
        raise deadline.exceeded("generate")
    try:
        async with TimeLimit(remaining - _WORDS_ALONE_SECONDS, TimeoutError):
            return await extract(query, passages, embedder, vector=material.vector)
    except TimeoutError:  # the embedder hangs: what the words say is still in time
        return await extract(query, passages, None)
