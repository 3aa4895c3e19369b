"""`POST /v1/answers`: a question in, an answer or a stream of events out."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Annotated, Final

import msgspec
import structlog
from starlette.responses import Response

from ragstone.apps import ASSISTANT
from ragstone.domain.answer import Answer, AnswerEvent, Delta, Done
from ragstone.domain.application import Application
from ragstone.domain.errors import InvalidFilter, InvalidRequest, PayloadTooLarge, RagstoneError
from ragstone.domain.query import Filter, Filters, Question, SearchMode, Turn
from ragstone.pipeline.answer import answer
from ragstone.pipeline.asked import CacheUse
from ragstone.pipeline.tell import outcome_of
from ragstone.server.call import Call, unexpected
from ragstone.server.errors import ErrorBody, ErrorResponse, error_body, stopping
from ragstone.server.event_stream import EventStream

MAX_TOP_K: Final = 100

TopK = Annotated[int, msgspec.Meta(ge=1, le=MAX_TOP_K)]


class AnswerRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A question, and how to look for its answer."""

    question: str
    collection: str | None = None
    """Default: the setting `retrieval.default_collection`, or the only collection there is."""
    conversation: list[Turn] = []
    """Earlier messages, oldest first."""
    top_k: TopK | None = None
    """Passages that the answer may rest on."""
    filters: Filters = []
    mode: SearchMode = "hybrid"
    stream: bool = False
    cache: CacheUse = "use"
    """`refresh`: made anew, and kept for the next. `off`: neither taken from a cache nor kept,
    nor shared with those who ask the same at this moment."""


_REQUEST = msgspec.json.Decoder(AnswerRequest)
_ENCODER = msgspec.json.Encoder()
_log = structlog.get_logger("ragstone.request")


async def post_answer(call: Call) -> Response:
    """Answer a question from the documents, with citations."""
    request = await call.body(_REQUEST)
    question = Question(
        text=checked_question(request.question, ASSISTANT),
        collection=await call.system.collection_or_default(call.principal, request.collection),
        conversation=tuple(request.conversation),
        filters=checked_filters(request.filters),
        top_k=request.top_k or call.system.settings.retrieval.top_k,
        mode=request.mode,
    )
    call.app = ASSISTANT.name
    if not request.stream:
        return call.json(await whole_answer(call, question, ASSISTANT, cache=request.cache))
    events = tell(call, question, ASSISTANT, cache=request.cache)
    return await stream_response(call, events, _encode_event, _encode_error)


def checked_question(text: str, application: Application) -> str:
    """Raises `InvalidRequest` for an empty question, `PayloadTooLarge` for an endless one."""
    if not text.strip():
        raise InvalidRequest(
            "The question is empty.", remedy="Send some words to look for.", field="question"
        )
    if len(text) > application.max_question_chars:
        raise PayloadTooLarge(
            f"The question has {len(text):,} characters; "
            f"{application.max_question_chars:,} are allowed.",
            remedy="Ask shorter, and ingest long texts as documents.",
            field="question",
        )
    return text


def checked_filters(filters: list[Filter]) -> tuple[Filter, ...]:
    """Raises `InvalidFilter` for one without a condition."""
    for condition in filters:
        if condition.is_empty:
            raise InvalidFilter(
                f"The filter on {condition.field[:80]!r} has no condition.",
                remedy="Give it `any_of`, `none_of`, `gte` or `lte`.",
                field=condition.field,
            )
    return tuple(filters)


async def tell(
    call: Call,
    question: Question,
    application: Application,
    *,
    streamed: bool = True,
    cache: CacheUse = "use",
) -> AsyncGenerator[AnswerEvent, None]:
    """The pipeline's events for this call; first-token and gap times are measured here."""
    system = call.system
    metrics, model = system.metrics, system.model_name
    gaps = metrics.inter_token.labels(model)
    last = 0.0
    events = answer(
        question,
        call.principal,
        application,
        deadline=call.deadline,
        trace=call.trace,
        services=system.services,
        weight=call.weight,
        streamed=streamed,
        cache=cache,
    )
    async with aclosing(events) as stream:
        async for event in stream:
            if isinstance(event, Delta):
                now = call.trace.elapsed()
                if last:
                    gaps.observe(now - last)
                else:
                    metrics.first_token.labels(application.name, model).observe(now)
                last = now
            elif isinstance(event, Done):
                call.outcome, call.cache = outcome_of(event.answer), event.answer.cache
                if event.answer.cache == "joined":  # it is on the bill of whoever asked first
                    receipt = event.answer.receipt
                    call.trace.nanodollars = receipt.nanodollars // receipt.shared_by
            yield event


async def whole_answer(
    call: Call, question: Question, application: Application, *, cache: CacheUse = "use"
) -> Answer:
    """The answer, unless the client leaves before it is there."""
    events = tell(call, question, application, streamed=False, cache=cache)
    async with call.client.listening():
        return await _last(call, events)


async def _last(call: Call, events: AsyncGenerator[AnswerEvent, None]) -> Answer:
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Done):
                return event.answer
    raise unexpected(call.trace.id)


async def stream_response(
    call: Call,
    events: AsyncGenerator[AnswerEvent, None],
    encode: Callable[[AnswerEvent], bytes],
    encode_error: Callable[[ErrorBody], bytes],
) -> Response:
    """An event stream that begins when there is a first event.

    A failure before it (unknown collection, overload) is an ordinary error response with its
    status; one after it is a single terminal event, and so is the server's stop.
    """
    try:
        async with call.client.listening():
            first = await anext(events)
    except BaseException:
        await events.aclose()
        raise
    call.finishes_later = True
    encoded = _encoded(call, first, events, encode, encode_error)
    return EventStream(
        encoded,
        client=call.client,
        opening=await anext(encoded),
        heartbeat_seconds=call.system.settings.server.heartbeat_seconds,
        send_seconds=call.system.settings.server.send_seconds,
        headers={"X-Trace-Id": call.trace.id},
    )


async def _encoded(
    call: Call,
    first: AnswerEvent,
    events: AsyncGenerator[AnswerEvent, None],
    encode: Callable[[AnswerEvent], bytes],
    encode_error: Callable[[ErrorBody], bytes],
) -> AsyncGenerator[bytes, None]:
    call.outcome = "cancelled"  # until the pipeline has said otherwise
    complete = False
    try:
        async with aclosing(events):
            yield encode(first)
            async for event in events:
                complete = isinstance(event, Done)
                yield encode(event)
    except asyncio.CancelledError:
        if complete or call.client.gone:
            raise
        yield encode_error(_broken_off(call, stopping()))
    except RagstoneError as error:
        yield encode_error(_broken_off(call, error))
    except Exception:
        _log.exception("unexpected", trace_id=call.trace.id, route=call.route)
        yield encode_error(_broken_off(call, unexpected(call.trace.id)))
    finally:
        call.finish(200)


def _broken_off(call: Call, error: RagstoneError) -> ErrorBody:
    call.fail(error)
    call.outcome = "error"  # also for what would have been a refusal before the first event
    return error_body(error, call.trace.id)


def _encode_event(event: AnswerEvent) -> bytes:
    name = event.__struct_config__.tag
    return b"event: %b\ndata: %b\n\n" % (str(name).encode(), _ENCODER.encode(event))


def _encode_error(error: ErrorBody) -> bytes:
    return b"event: error\ndata: %b\n\n" % _ENCODER.encode(ErrorResponse(error))
