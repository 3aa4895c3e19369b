"""OpenAI's chat completions over our pipeline; citations come in the field `ragstone`.

A model's name is `APPLICATION`, `APPLICATION/COLLECTION` or `COLLECTION`.
"""

from typing import Annotated, Any, Literal

import msgspec
from starlette.responses import Response

from ragstone.apps import APPLICATIONS, ASSISTANT
from ragstone.domain.answer import (
    Answer,
    AnswerEvent,
    AnswerKind,
    CacheOutcome,
    CacheTier,
    Citation,
    CitationsChecked,
    Delta,
    Done,
    Notice,
)
from ragstone.domain.application import Application
from ragstone.domain.errors import InvalidRequest, UnknownModel, did_you_mean
from ragstone.domain.query import Question, Turn
from ragstone.domain.usage import Receipt, Usage
from ragstone.pipeline.asked import CacheUse
from ragstone.server.answers import (
    asked_of,
    checked_question,
    stream_response,
    whole_answer,
)
from ragstone.server.call import Call
from ragstone.server.errors import ErrorBody, ErrorResponse

_Positive = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]

FinishReason = Literal["stop", "length", "content_filter"]


class ChatMessage(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None


class StreamOptions(msgspec.Struct):
    include_usage: bool = False


class ChatRequest(msgspec.Struct):
    """OpenAI's request; fields that do not apply here (such as `seed`) are accepted and unused."""

    model: str
    messages: Annotated[list[ChatMessage], msgspec.Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    """Checked and unused: answers are as exact as the model can be."""
    max_tokens: _Positive | None = None
    """Checked and unused: the length of answers is the server's setting."""
    max_completion_tokens: _Positive | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None


class PromptTokensDetails(msgspec.Struct):
    cached_tokens: int


class ChatUsage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class ChatChoiceMessage(msgspec.Struct):
    content: str
    role: Literal["assistant"] = "assistant"
    refusal: None = None


class ChatChoice(msgspec.Struct):
    message: ChatChoiceMessage
    index: int = 0
    finish_reason: FinishReason = "stop"
    logprobs: None = None


class Extension(msgspec.Struct):
    """What OpenAI's format has no place for."""

    citations: list[Citation]
    answer_kind: AnswerKind
    degraded: list[str]
    notices: list[Notice]
    cache: CacheOutcome
    cache_tier: CacheTier | None
    cache_age_seconds: float | None
    receipt: Receipt
    timings_ms: dict[str, float]
    collection: str
    trace_id: str


class ChatCompletion(msgspec.Struct, kw_only=True):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: ChatUsage
    system_fingerprint: None = None
    ragstone: Extension


class ChunkDelta(msgspec.Struct, omit_defaults=True):
    content: str | None = None
    role: str | None = None


class ChunkChoice(msgspec.Struct):
    delta: ChunkDelta
    index: int = 0
    finish_reason: FinishReason | None = None
    logprobs: None = None


class ChatChunk(msgspec.Struct, kw_only=True):
    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: ChatUsage | msgspec.UnsetType | None = msgspec.UNSET
    """Null until the last chunk, and there at all only when the client asked for usage."""
    ragstone: Extension | msgspec.UnsetType = msgspec.UNSET


class ModelCard(msgspec.Struct, kw_only=True):
    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "ragstone"


class ModelList(msgspec.Struct):
    data: list[ModelCard]
    object: Literal["list"] = "list"


_REQUEST = msgspec.json.Decoder(ChatRequest)
_ENCODER = msgspec.json.Encoder()


async def get_models(call: Call) -> Response:
    """The names that `model` may take: applications, alone and with each collection."""
    return call.json(ModelList(await _models(call)))


async def get_model(call: Call) -> Response:
    """One model by its name."""
    name = call.request.path_params["model"]
    for card in await _models(call):
        if card.id == name:
            return call.json(card)
    await _resolve(call, name)  # a collection's name alone is a model too
    return call.json(ModelCard(id=name))


async def _models(call: Call) -> list[ModelCard]:
    collections = await call.system.services.records.collections(call.principal.tenant)
    cards = [ModelCard(id=name) for name in APPLICATIONS]
    for collection in collections:
        created = int(collection.created_at)
        cards += [
            ModelCard(id=f"{name}/{collection.name}", created=created) for name in APPLICATIONS
        ]
    return cards


async def _unknown_model(call: Call, name: str) -> UnknownModel:
    known = [card.id for card in await _models(call)]
    return UnknownModel(
        f"There is no model {name[:80]!r}.",
        remedy=did_you_mean(name[:80], known, what="models"),
        field="model",
    )


async def post_chat_completion(call: Call) -> Response:
    """OpenAI-compatible: answer the last message from the documents."""
    request = await call.body(_REQUEST)
    _check_supported(request)
    application, collection = await _resolve(call, request.model)
    question = _question(call, request, application, collection)
    asked = asked_of(
        call, question, application, streamed=bool(request.stream), cache=_cache_use(call)
    )
    if not request.stream:
        return call.json(_completion(call, request.model, await whole_answer(call, asked)))
    include_usage = request.stream_options is not None and request.stream_options.include_usage
    writer = _ChunkWriter(call, request.model, include_usage=include_usage)
    return await stream_response(call, asked, writer.encode, _encode_error)


def _cache_use(call: Call) -> CacheUse:
    """What the header `Cache-Control` asks for (RFC 9111, section 5.2.1): `no-store` wants no
    cache at all, `no-cache` an answer made anew."""
    asked = call.request.headers.get("cache-control", "").lower()
    directives = {directive.strip() for directive in asked.split(",")}
    if "no-store" in directives:
        return "off"
    return "refresh" if "no-cache" in directives else "use"


def _check_supported(request: ChatRequest) -> None:
    """Refuses what would change the answer and cannot be done. Raises `InvalidRequest`."""
    if request.n not in (None, 1):
        raise InvalidRequest("Only one choice can be made.", remedy="Set `n` to 1.", field="n")
    if request.stream_options is not None and not request.stream:
        raise InvalidRequest(
            "`stream_options` are for streams only.",
            remedy="Set `stream` to true, or leave them out.",
            field="stream_options",
        )
    if request.tool_choice not in (None, "none", "auto"):
        raise InvalidRequest(
            "No tools are called here.",
            remedy="Leave `tool_choice` out, or set it to `none`.",
            field="tool_choice",
        )
    if request.response_format is not None and request.response_format.get("type") != "text":
        raise InvalidRequest(
            "Answers are text with citations, in no other format.",
            remedy="Leave `response_format` out.",
            field="response_format",
        )


async def _resolve(call: Call, model: str) -> tuple[Application, str]:
    """The application and collection that a model's name stands for."""
    name, _, collection = model.partition("/")
    application = APPLICATIONS.get(name)
    if application is not None and not collection:
        return application, await call.system.collection_or_default(call.principal, None)
    wanted = collection if application is not None else model
    if await call.system.services.records.collection(call.principal.tenant, wanted) is None:
        raise await _unknown_model(call, model)
    return application or ASSISTANT, wanted


def _question(
    call: Call, request: ChatRequest, application: Application, collection: str
) -> Question:
    *earlier, last = request.messages
    if last.role != "user":
        raise InvalidRequest(
            f"The last message has the role {last.role!r}.",
            remedy="End `messages` with the user's question.",
            field="messages",
        )
    turns = [
        Turn(message.role, _text(message))
        for message in earlier
        if message.role == "user" or message.role == "assistant"
    ]
    return Question(
        text=checked_question(_text(last), application),
        collection=collection,
        conversation=tuple(turns),
        top_k=call.system.settings.retrieval.top_k,
    )


def _text(message: ChatMessage) -> str:
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    texts: list[str] = []
    for part in message.content:
        if part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise InvalidRequest(
                f"A message has a part of type {str(part.get('type'))[:40]!r}.",
                remedy="Only text can be asked.",
                field="messages",
            )
        texts.append(part["text"])
    return "\n".join(texts)


def _completion(call: Call, model: str, answer: Answer) -> ChatCompletion:
    return ChatCompletion(
        id=_completion_id(call),
        created=int(call.system.clock.time()),
        model=model,
        choices=[
            ChatChoice(ChatChoiceMessage(answer.answer), finish_reason=_finish_reason(answer))
        ],
        usage=_usage(answer.usage),
        ragstone=_extension(answer),
    )


class _ChunkWriter:
    """Our events as OpenAI's chunks; `[DONE]` ends the stream."""

    def __init__(self, call: Call, model: str, *, include_usage: bool) -> None:
        self._id = _completion_id(call)
        self._created = int(call.system.clock.time())
        self._model = model
        self._include_usage = include_usage

    def encode(self, event: AnswerEvent) -> bytes:
        if isinstance(event, Delta):
            return self._chunk([ChunkChoice(ChunkDelta(content=event.text))])
        if isinstance(event, CitationsChecked):
            return b""  # they come with the last chunk
        if isinstance(event, Done):
            return self._end(event.answer)
        return self._chunk([ChunkChoice(ChunkDelta(content="", role="assistant"))])

    def _end(self, answer: Answer) -> bytes:
        choice = ChunkChoice(ChunkDelta(), finish_reason=_finish_reason(answer))
        end = self._chunk([choice], ragstone=_extension(answer))
        if self._include_usage:
            end += self._chunk([], usage=_usage(answer.usage))
        return end + b"data: [DONE]\n\n"

    def _chunk(
        self,
        choices: list[ChunkChoice],
        *,
        usage: ChatUsage | None = None,
        ragstone: Extension | msgspec.UnsetType = msgspec.UNSET,
    ) -> bytes:
        chunk = ChatChunk(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=choices,
            usage=usage if self._include_usage else msgspec.UNSET,
            ragstone=ragstone,
        )
        return b"data: %b\n\n" % _ENCODER.encode(chunk)


def _finish_reason(answer: Answer) -> FinishReason:
    if "answer_cut_by_length" in answer.degraded:
        return "length"
    return "content_filter" if "answer_cut_by_filtered" in answer.degraded else "stop"


def _encode_error(error: ErrorBody) -> bytes:
    return b"data: %b\n\n" % _ENCODER.encode(ErrorResponse(error))


def _completion_id(call: Call) -> str:
    return f"chatcmpl-{call.trace.id}"


def _usage(usage: Usage) -> ChatUsage:
    total = usage.input_tokens + usage.output_tokens
    cached = PromptTokensDetails(usage.cached_input_tokens)
    return ChatUsage(usage.input_tokens, usage.output_tokens, total, cached)


def _extension(answer: Answer) -> Extension:
    return Extension(
        citations=answer.citations,
        answer_kind=answer.answer_kind,
        degraded=answer.degraded,
        notices=answer.notices,
        cache=answer.cache,
        cache_tier=answer.cache_tier,
        cache_age_seconds=answer.cache_age_seconds,
        receipt=answer.receipt,
        timings_ms=answer.timings_ms,
        collection=answer.collection,
        trace_id=answer.trace_id,
    )
