"""Stage 10: who answers. The model; else an extract of the passages; else the passages."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from ragstone.domain.answer import AnswerKind, Citation, Span
from ragstone.domain.errors import DeadlineExceeded, DependencyError
from ragstone.domain.principal import Priority
from ragstone.observe.trace import Trace
from ragstone.pipeline.events import Written
from ragstone.pipeline.extract import Extract, extract
from ragstone.pipeline.material import Material
from ragstone.pipeline.settle import Bill
from ragstone.pipeline.verify import cite
from ragstone.pipeline.write import ModelWriter
from ragstone.ports import Embedder, ModelRoute, Permit
from ragstone.resilience.deadline import Deadline
from ragstone.resilience.ladder import LoadLadder

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
    is the model's work or the client's reading.

    A route that fails before its first word is replaced by an extract, labelled
    `extractive_answer`; one that fails later raises, since text that was seen cannot be taken
    back. Where the answer is not `streamed` nothing was seen, and the pieces are void.
    """
    if route is not None and material.passages:
        if not ladder.takes("extractive_answer", priority):
            permit.free_slot()
            writer = ModelWriter(
                route,
                tenant=tenant, priority=priority, model_seconds=model_seconds,
                ladder=ladder, deadline=deadline, trace=trace, bill=bill,
            )  # fmt: skip
            begun = False
            try:
                async with aclosing(writer.write(material)) as pieces:
                    async for piece in pieces:
                        begun = True
                        yield piece
                return
            except (DependencyError, DeadlineExceeded) as error:
                if begun and streamed:
                    raise
                trace.degrade("extractive_answer", error)
        elif not ladder.takes("passages_only", priority):
            trace.degrade("extractive_answer")
    written = await _without_model(material, embedder, ladder, priority, deadline, trace, bill)
    permit.free_slot()
    yield written.text
    yield written


async def _without_model(
    material: Material,
    embedder: Embedder,
    ladder: LoadLadder,
    priority: Priority,
    deadline: Deadline,
    trace: Trace,
    bill: Bill,
) -> Written:
    """The last rungs; under load the extract is made of words alone, a 30th of the work."""
    application, passages = material.application, material.passages
    if not passages:
        return _unwritten("not_found", application.not_found, bill)
    if ladder.takes("passages_only", priority):
        trace.degrade("passages_only")
        return _unwritten("passages", application.passages_only, bill)
    by_words = ladder.takes("extractive_answer", priority)
    try:
        found = await _extract(material, None if by_words else embedder, deadline)
    except DeadlineExceeded as error:
        trace.degrade("passages_only", error)
        return _unwritten("passages", application.passages_only, bill)
    for rung in found.degraded:
        trace.degrade(rung)
    if not found.found:
        return _unwritten("not_found", application.not_found, bill)
    citations = [
        cite(part.number, passages[part.number - 1], Span(part.start, part.end))
        for part in found.citations
    ]
    return _unwritten("extractive", found.text, bill, citations)


async def _extract(material: Material, embedder: Embedder | None, deadline: Deadline) -> Extract:
    """Raises `DeadlineExceeded` when there is no time even for one without embeddings."""
    query, passages = material.query, material.passages
    remaining = deadline.remaining()
    if remaining < _LEAST_SECONDS:
        raise deadline.exceeded("generate")
    try:
        async with asyncio.timeout(remaining - _WORDS_ALONE_SECONDS):
            return await extract(query, passages, embedder, vector=material.vector)
    except TimeoutError:  # the embedder hangs: what the words say is still in time
        return await extract(query, passages, None)


def _unwritten(
    kind: AnswerKind, text: str, bill: Bill, citations: list[Citation] | None = None
) -> Written:
    """An answer that no model wrote; what one cost that failed before is on the bill."""
    return Written(
        text=text, kind=kind, citations=citations or [], usage=bill.usage, model=EXTRACTIVE
    )
