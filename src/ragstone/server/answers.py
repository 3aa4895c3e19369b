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
from ragstone.pipeline.answer import Begun, answer, begin, kept_json
from ragstone.pipeline.asked import Asked, CacheUse
from ragstone.pipeline.tell import outcome_of
from ragstone.server.call import Call, unexpected
from ragstone.server.errors import ErrorBody, ErrorResponse, error_body, stopping
from ragstone.server.event_stream import EventStream
from ragstone.server.repeats import AGAIN

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
    asked = asked_of(call, question, ASSISTANT, streamed=request.stream, cache=request.cache)
    if request.stream:
        return await stream_response(call, asked, _encode_event, _encode_error)
    named = bool(request.collection)
    named |= question.collection == call.system.settings.retrieval.default_collection
    return call.said(await _whole_json(call, asked, again=named))


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


def asked_of(
    call: Call, question: Question, application: Application, *, streamed: bool, cache: CacheUse
) -> Asked:
    """The question as the pipeline takes it."""
    call.app = application.name
    return Asked(
        question=question, principal=call.principal, application=application,
        deadline=call.deadline, trace=call.trace, weight=call.weight,
        streamed=streamed, cache=cache,
    )  # fmt: skip


class _Told:
    """What the metrics and the log line of one call say of the events that it is told."""

    __slots__ = ("_call", "_gaps", "_last")

    def __init__(self, call: Call) -> None:
        system = call.system
        self._call = call
        self._gaps = system.metrics.inter_token.labels(system.model_name)
        self._last = 0.0

    def note(self, event: AnswerEvent) -> None:
        """First-token and gap times are measured here."""
        call = self._call
        if isinstance(event, Delta):
            now = call.trace.elapsed()
            if self._last:
                self._gaps.observe(now - self._last)
            else:
                first = call.system.metrics.first_token
                first.labels(call.app, call.system.model_name).observe(now)
            self._last = now
        elif isinstance(event, Done):
            _note(call, event.answer)


def _note(call: Call, made: Answer) -> None:
    """What the call's log line and metrics say of the answer."""
    call.outcome = outcome_of(made.degraded, not_found=made.answer_kind == "not_found")
    call.cache = made.cache
    if made.cache == "joined":  # it is on the bill of whoever asked first
        call.trace.nanodollars = made.receipt.nanodollars // made.receipt.shared_by


async def whole_answer(call: Call, asked: Asked) -> Answer:
    """The answer, unless the client leaves before it is there."""
    async with call.client.listening():
        return await _last(call, asked, await begin(asked, call.system.services))


async def _whole_json(call: Call, asked: Asked, *, again: bool) -> bytes:
    """The same as JSON. A kept answer is told as its bytes, without being decoded for that, and
    `again`, if the same is asked, without any of this: see `repeats`."""
    async with call.client.listening():
        begun = await begin(asked, call.system.services)
        if (kept := begun.found.kept) is None:
            return _ENCODER.encode(await _last(call, asked, begun))
    call.outcome = outcome_of(call.trace.degraded, not_found=kept.not_found)
    call.cache = "hit"
    told = await kept_json(asked, kept, begun, call.system.services)
    if again and AGAIN in (extensions := call.request.scope.get("extensions", {})):
        extensions[AGAIN]["call"](call, asked, begun.found)
    return told


async def _last(call: Call, asked: Asked, begun: Begun) -> Answer:
    told = _Told(call)
    async with aclosing(answer(asked, begun, call.system.services)) as events:
        async for event in events:
            told.note(event)
            if isinstance(event, Done):
                return event.answer
    raise unexpected(call.trace.id)


async def stream_response(
    call: Call,
    asked: Asked,
    encode: Callable[[AnswerEvent], bytes],
    encode_error: Callable[[ErrorBody], bytes],
) -> Response:
    """An event stream that begins when there is a first event.

    A failure before it (unknown collection, overload) is an ordinary error response with its
    status; one after it is a single terminal event, and so is the server's stop.
    """
    services = call.system.services
    async with call.client.listening():
        events = answer(asked, await begin(asked, services), services)
        first = await anext(events)  # where it raises, the events have ended
    call.finishes_later = True
    call.headers = {}  # not to be kept for as long as the stream lasts
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
    told, complete = _Told(call), False
    try:
        async with aclosing(events):
            told.note(first)
            yield encode(first)
            async for event in events:
                told.note(event)
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
