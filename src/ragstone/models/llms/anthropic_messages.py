"""Anthropic's Messages API, streamed."""

from typing import Any, Final, Literal

import aiohttp
import msgspec

from ragstone.domain.usage import MOST_TOKENS, Usage
from ragstone.models.llms.exchange import StreamedModel, StreamLimits
from ragstone.models.llms.pacing import Pace, unpaced
from ragstone.models.llms.sse import ServerSentEvent
from ragstone.models.llms.upstream_errors import ProviderProblem, UpstreamErrors
from ragstone.ports import Clock, Finished, Prompt

DEFAULT_BASE_URL: Final = "https://api.anthropic.com/v1"

API_VERSION: Final = "2023-06-01"
"""Sent as `anthropic-version`: the wire format that this file reads."""

_LEAST_CACHED_CHARS: Final = 4_096
"""Of a prompt that the provider keeps: 1,024 tokens, for some models more. A mark on a shorter one
has no effect."""

_REASONS: Final[dict[str, Literal["stop", "length", "filtered", "other"]]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "filtered",
}


class _Usage(msgspec.Struct, frozen=True):
    """Counts so far; absent ones have been said before."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


class _Block(msgspec.Struct, frozen=True):
    type: str = ""
    text: str = ""


class _Delta(msgspec.Struct, frozen=True):
    type: str = ""
    text: str = ""
    stop_reason: str | None = None


class _Message(msgspec.Struct, frozen=True):
    """The message of `message_start`, or a whole one."""

    type: str = ""
    content: list[_Block] | None = None
    stop_reason: str | None = None
    usage: _Usage | None = None
    error: ProviderProblem | str | None = None


class _Event(msgspec.Struct, frozen=True):
    """All events in one: an unknown `type` is ignored, as the API's versioning asks."""

    type: str = ""
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: _Usage | None = None
    error: ProviderProblem | str | None = None


_event = msgspec.json.Decoder(_Event)
_message = msgspec.json.Decoder(_Message)


class AnthropicMessages(StreamedModel):
    """Implements `ports.LanguageModel` over `POST {base_url}/messages`.

    Errors: see `upstream_errors`. The session is shared and stays open at `close`.
    """

    path = "messages"

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        model: str,
        clock: Clock,
        base_url: str = DEFAULT_BASE_URL,
        api_key: str = "",
        connect_seconds: float = 3.0,
        first_token_seconds: float = 20.0,
        gap_seconds: float = 10.0,
        pace: Pace = unpaced,
        cache_system: bool | None = None,
    ) -> None:
        """`cache_system` marks the system prompt for the provider's prompt cache; None: where it is
        long enough to be kept. Writing to that cache costs a quarter more than plain input,
        reading from it a tenth: two questions in five minutes pay for it.
        """
        self._cache_system = cache_system
        headers = {"anthropic-version": API_VERSION}
        if api_key:
            headers["x-api-key"] = api_key
        super().__init__(
            session,
            model=model,
            clock=clock,
            base_url=base_url or DEFAULT_BASE_URL,
            api_key=api_key,
            headers=headers,
            limits=StreamLimits(connect_seconds, first_token_seconds, gap_seconds),
            pace=pace,
        )

    def _body(self, prompt: Prompt) -> bytes:
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": turn.role, "content": turn.content} for turn in prompt.messages],
            "max_tokens": prompt.max_tokens,
            # This API's scale ends at 1, OpenAI's at 2.
            "temperature": min(prompt.temperature, 1.0),
            "stream": True,
        }
        marked = self._cache_system
        if marked is None:
            marked = len(prompt.system) >= _LEAST_CACHED_CHARS
        if prompt.system and marked:
            body["system"] = [
                {"type": "text", "text": prompt.system, "cache_control": {"type": "ephemeral"}}
            ]
        elif prompt.system:
            body["system"] = prompt.system
        return msgspec.json.encode(body)

    def _reading(self) -> "_MessageReading":
        return _MessageReading(self._errors)


class _MessageReading:
    """Implements `exchange.Reading`."""

    def __init__(self, errors: UpstreamErrors) -> None:
        self._errors = errors
        self._reason: str | None = None
        self._usage: _Usage | None = None
        self._ended = False

    def has_ended(self) -> bool:
        return self._ended

    def is_complete(self) -> bool:
        return self._ended or self._reason is not None

    def event(self, event: ServerSentEvent) -> str:
        try:
            decoded = _event.decode(event.data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            what = "sent an event that is not one of the Messages API"
            raise self._errors.protocol(what) from error
        match decoded.type:
            case "content_block_delta":
                delta = decoded.delta
                return delta.text if delta is not None and delta.type == "text_delta" else ""
            case "content_block_start":
                block = decoded.content_block
                return block.text if block is not None and block.type == "text" else ""
            case "error":
                raise self._errors.from_stream(decoded.error or ProviderProblem())
            case "message_start" if decoded.message is not None:
                self._count(decoded.message.usage)
            case "message_delta":
                self._count(decoded.usage)
                self._stopped(decoded.delta.stop_reason if decoded.delta else None)
            case "message_stop":
                self._ended = True
            case _:
                pass
        return ""

    def whole(self, body: bytes) -> str:
        try:
            message = _message.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            what = "answered with JSON that is not a message"
            raise self._errors.protocol(what) from error
        if message.error is not None:
            raise self._errors.from_stream(message.error)
        self._count(message.usage)
        self._stopped(message.stop_reason)
        return "".join(block.text for block in message.content or () if block.type == "text")

    def finished(self) -> Finished:
        return Finished(
            usage=_counted(self._usage) if self._usage is not None else None,
            reason=_REASONS.get(self._reason or "", "other"),
        )

    def _stopped(self, reason: str | None) -> None:
        if reason is not None:
            self._reason = reason

    def _count(self, usage: _Usage | None) -> None:
        """Counts are cumulative: a later one replaces the one before."""
        if usage is None:
            return
        before = self._usage or _Usage()
        self._usage = _Usage(
            *(
                getattr(usage, field)
                if getattr(usage, field) is not None
                else getattr(before, field)
                for field in _Usage.__struct_fields__
            )
        )


def _counted(usage: _Usage) -> Usage | None:
    """Anthropic counts cached tokens beside the input tokens, we count them in. None where it is
    no count: every prompt has tokens, and nobody gives some back."""
    cached = usage.cache_read_input_tokens or 0
    written = usage.cache_creation_input_tokens or 0
    plain, output = usage.input_tokens or 0, usage.output_tokens or 0
    if not all(0 <= count <= MOST_TOKENS for count in (plain, cached, written, output)):
        return None
    if not plain + cached + written:
        return None
    return Usage(
        input_tokens=plain + cached + written,
        output_tokens=output,
        cached_input_tokens=cached,
        written_input_tokens=written,
    )
