"""Stage 10: the answer is written by the model, or taken from the passages."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from ragstone.domain.answer import Span
from ragstone.domain.application import Application
from ragstone.domain.errors import DeadlineExceeded, ModelError, ModelProtocolError
from ragstone.domain.passage import Passage
from ragstone.domain.usage import Usage
from ragstone.observe.metrics import Metrics
from ragstone.observe.trace import Trace
from ragstone.pipeline.citations import CitationFilter
from ragstone.pipeline.events import Written
from ragstone.pipeline.extract import extract
from ragstone.pipeline.settle import Bill
from ragstone.pipeline.verify import cite, verify
from ragstone.ports import Embedder, Finished, LanguageModel, Prompt, TextDelta
from ragstone.resilience.deadline import Deadline

EXTRACTIVE: Final = "extractive"
"""The model name of answers that no model wrote."""

_FALLBACK_SHARE: Final = 0.1
_FALLBACK_SECONDS: Final = 1.0
"""The model's time ends this much before the deadline, so that an extract can still be made."""
_WORDS_ALONE_SECONDS: Final = 0.05
"""What an extract without embeddings takes."""


async def generate(
    prompt: Prompt,
    query: str,
    vector: list[float] | None,
    passages: list[Passage],
    *,
    application: Application,
    model: LanguageModel | None,
    model_seconds: float,
    embedder: Embedder,
    streamed: bool,
    deadline: Deadline,
    trace: Trace,
    bill: Bill,
    metrics: Metrics,
) -> AsyncGenerator[str | Written, None]:
    """Pieces of the answer's text, then exactly one `Written`.

    A model that fails before its first word is replaced by an extract, labelled
    `extractive_answer`; one that fails later raises, since text that was seen cannot be taken
    back. Where the answer is not `streamed` nothing was seen, and the pieces are void.
    """
    if not passages:
        yield application.not_found
        yield _not_found(application, EXTRACTIVE, bill)
        return
    if model is not None:
        begun = False
        until = _model_deadline(deadline, model_seconds)
        try:
            writing = _write(prompt, passages, application, model, until, trace, bill)
            async with aclosing(writing) as pieces:
                async for piece in pieces:
                    begun = True
                    yield piece
            metrics.dependency_requests.labels("model", "ok").inc()
            return
        except (ModelError, DeadlineExceeded) as error:
            metrics.dependency_requests.labels("model", "error").inc()
            if begun and streamed:
                raise
            trace.degrade("extractive_answer", error)
    written = await _extract(query, vector, passages, application, embedder, deadline, trace, bill)
    yield written.text
    yield written


def _model_deadline(deadline: Deadline, model_seconds: float) -> float:
    """Early enough that an extract can still be made within the request's deadline."""
    reserve = min(_FALLBACK_SECONDS, _FALLBACK_SHARE * deadline.seconds)
    return deadline.at - max(reserve, deadline.remaining() - model_seconds)


async def _write(
    prompt: Prompt,
    passages: list[Passage],
    application: Application,
    model: LanguageModel,
    until: float,
    trace: Trace,
    bill: Bill,
) -> AsyncGenerator[str | Written, None]:
    filtered = CitationFilter(len(passages))
    written: list[str] = []
    finished: Finished | None = None
    async with aclosing(_billed(model, prompt, until, bill)) as events:
        async for event in events:
            if isinstance(event, Finished):
                finished = event
                break
            shown = filtered.feed(event.text)
            if not written:
                shown = shown.lstrip()  # white space is not yet an answer
            if shown:
                written.append(shown)
                yield shown
    if rest := filtered.flush():
        written.append(rest)
        yield rest
    text = "".join(written)
    if finished is None or not text.strip():
        raise ModelProtocolError(
            f"The model {model.name} ended without an answer.", remedy="Try again."
        )
    if finished.reason in ("length", "filtered"):
        trace.degrade(f"answer_cut_by_{finished.reason}")
    if _says_not_found(text, application):
        yield _not_found(application, model.name, bill, text)
        return
    citations = verify(text, filtered, passages, trace)
    yield Written(
        text=text, kind="generated", citations=citations, usage=bill.usage, model=model.name
    )


async def _billed(
    model: LanguageModel, prompt: Prompt, until: float, bill: Bill
) -> AsyncGenerator[TextDelta | Finished, None]:
    """The model's events; what they cost is on the bill however they end."""
    bill.model = model.name
    received = 0
    try:
        async with aclosing(model.stream(prompt, deadline=until)) as stream:
            async for event in stream:
                if isinstance(event, Finished):
                    bill.usage += event.usage or _estimate(prompt, received)
                    received = -1
                else:
                    received += len(event.text)
                yield event
    except ModelError:
        if not received:
            received = -1  # a call that never answered consumed nothing that we know of
        raise
    finally:
        if received >= 0:
            bill.usage += _estimate(prompt, received)


async def _extract(
    query: str,
    vector: list[float] | None,
    passages: list[Passage],
    application: Application,
    embedder: Embedder,
    deadline: Deadline,
    trace: Trace,
    bill: Bill,
) -> Written:
    try:
        async with asyncio.timeout(deadline.remaining() - _WORDS_ALONE_SECONDS):
            found = await extract(query, passages, embedder, vector=vector)
    except TimeoutError:  # the embedder hangs: what the words say is still in time
        found = await extract(query, passages, None)
    for rung in found.degraded:
        trace.degrade(rung)
    if not found.found:
        return _not_found(application, EXTRACTIVE, bill)
    citations = [
        cite(part.number, passages[part.number - 1], Span(part.start, part.end))
        for part in found.citations
    ]
    return Written(
        text=found.text,
        kind="extractive",
        citations=citations,
        usage=bill.usage,
        model=EXTRACTIVE,
    )


def _not_found(
    application: Application, model: str, bill: Bill, text: str | None = None
) -> Written:
    return Written(
        text=text or application.not_found,
        kind="not_found",
        citations=[],
        usage=bill.usage,
        model=model,
    )


def _says_not_found(text: str, application: Application) -> bool:
    """The agreed sentence, give or take quotes and closing punctuation."""
    plain = text.strip().strip("\"'*").rstrip(".").casefold()
    return plain == application.not_found.rstrip(".").casefold()


def _estimate(prompt: Prompt, output_chars: int) -> Usage:
    """About four characters a token in English; used until the provider counts."""
    sent = len(prompt.system) + sum(len(message.content) for message in prompt.messages)
    return Usage(input_tokens=sent // 4, output_tokens=(output_chars + 3) // 4, estimated=True)
