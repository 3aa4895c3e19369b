"""OpenAI's chat completions: OpenAI, vLLM, Ollama, llama.cpp, and most other servers.

Differences met in the wild and accepted: events with no choices, a role but no text, `null`
for absent things, text as a list of typed parts, usage in every event or in none, `[DONE]`
missing after a finish reason, and a server that ignores `stream` and answers in one piece.
"""

import re
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import aiohttp
import msgspec

from ragstone.domain.usage import MOST_TOKENS, Usage
from ragstone.models.llms.exchange import StreamedModel, StreamLimits
from ragstone.models.llms.pacing import Pace, unpaced
from ragstone.models.llms.sse import ServerSentEvent
from ragstone.models.llms.upstream_errors import ProviderProblem, UpstreamErrors
from ragstone.ports import Clock, Finished, Prompt

DEFAULT_BASE_URL: Final = "https://api.openai.com/v1"

MaxTokensField = Literal["max_tokens", "max_completion_tokens"]

_REASONS: Final[dict[str, Literal["stop", "length", "filtered", "other"]]] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "filtered",
}

_OPENAI_HOSTS: Final = ("api.openai.com", ".openai.azure.com")
_REASONING_MODEL: Final = re.compile(r"(?:o\d|gpt-5)(?:[-.]|$)")


class _PromptTokensDetails(msgspec.Struct, frozen=True):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _PromptTokensDetails | None = None


class _Part(msgspec.Struct, frozen=True):
    type: str = ""
    text: str = ""


class _Message(msgspec.Struct, frozen=True):
    """A delta, or a whole message: text alike. Reasoning comes in other fields, not read."""

    content: str | list[_Part] | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    index: int = 0
    delta: _Message | None = None
    message: _Message | None = None
    finish_reason: str | None = None


class _Completion(msgspec.Struct, frozen=True):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: ProviderProblem | str | None = None


_completion = msgspec.json.Decoder(_Completion)


def max_tokens_field(base_url: str) -> MaxTokensField:
    """The name under which this server takes the limit on the answer's length.

    OpenAI deprecated `max_tokens`, and its reasoning models refuse it; the servers that
    follow its format know `max_tokens`, and not all of them the newer name.
    """
    return "max_completion_tokens" if _is_openai(base_url) else "max_tokens"


def takes_temperature(base_url: str, model: str) -> bool:
    """Whether a temperature may be sent: OpenAI's reasoning models refuse any but their own."""
    return not (_is_openai(base_url) and _REASONING_MODEL.match(model))


def _is_openai(base_url: str) -> bool:
    host = urlsplit(base_url).hostname or ""
    return host == _OPENAI_HOSTS[0] or host.endswith(_OPENAI_HOSTS[1])


class OpenAIChat(StreamedModel):
    """Implements `ports.LanguageModel` over `POST {base_url}/chat/completions`.

    Errors: see `upstream_errors`. The session is shared and stays open at `close`.
    """

    path = "chat/completions"

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
        max_tokens_name: MaxTokensField | None = None,
        send_temperature: bool | None = None,
    ) -> None:
        """`max_tokens_name`, `send_temperature`: None decides by server and model."""
        base_url = base_url or DEFAULT_BASE_URL
        super().__init__(
            session,
            model=model,
            clock=clock,
            base_url=base_url,
            api_key=api_key,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            limits=StreamLimits(connect_seconds, first_token_seconds, gap_seconds),
            pace=pace,
        )
        self._max_tokens_name = max_tokens_name or max_tokens_field(base_url)
        self._send_temperature = (
            takes_temperature(base_url, model) if send_temperature is None else send_temperature
        )

    def _body(self, prompt: Prompt) -> bytes:
        messages = [{"role": turn.role, "content": turn.content} for turn in prompt.messages]
        if prompt.system:
            messages.insert(0, {"role": "system", "content": prompt.system})
        body: dict[str, Any] = {
            "model": self._model,
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
            self._max_tokens_name: prompt.max_tokens,
        }
        if self._send_temperature:
            body["temperature"] = prompt.temperature
        return msgspec.json.encode(body)

    def _reading(self) -> "_ChatReading":
        return _ChatReading(self._errors)


class _ChatReading:
    """Implements `exchange.Reading`."""

    def __init__(self, errors: UpstreamErrors) -> None:
        self._errors = errors
        self._reason: str | None = None
        self._refused = False
        self._has_choices = False
        self._usage: Usage | None = None
        self._ended = False

    def has_ended(self) -> bool:
        return self._ended

    def is_complete(self) -> bool:
        return self._ended or self._reason is not None

    def event(self, event: ServerSentEvent) -> str:
        if event.data == b"[DONE]":
            self._ended = True
            return ""
        return self._text(event.data, "sent an event that is not a chat completion chunk")

    def whole(self, body: bytes) -> str:
        otherwise = "answered with JSON that is not a chat completion"
        text = self._text(body, otherwise)
        if not self._has_choices:
            raise self._errors.protocol(otherwise)
        self._ended = True
        return text

    def finished(self) -> Finished:
        if self._refused:
            return Finished(usage=self._usage, reason="filtered")
        return Finished(usage=self._usage, reason=_REASONS.get(self._reason or "", "other"))

    def _text(self, data: bytes, otherwise: str) -> str:
        try:
            completion = _completion.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._errors.protocol(otherwise) from error
        if completion.error is not None:
            raise self._errors.from_stream(completion.error)
        if completion.usage is not None:
            self._usage = _counted(completion.usage) or self._usage
        text = ""
        for choice in completion.choices or ():
            self._has_choices = True
            if choice.index == 0:
                text += self._choice_text(choice)
        return text

    def _choice_text(self, choice: _Choice) -> str:
        if choice.finish_reason is not None:
            self._reason = choice.finish_reason
        message = choice.delta or choice.message
        if message is None:
            return ""
        if message.refusal:
            self._refused = True
        if isinstance(message.content, list):
            return "".join(part.text for part in message.content if part.type == "text")
        return message.content or ""


def _counted(usage: _Usage) -> Usage | None:
    """None where it is no count: every prompt has tokens, and nobody gives some back."""
    details = usage.prompt_tokens_details
    read, written = usage.prompt_tokens or 0, usage.completion_tokens or 0
    # Some (xAI, Gemini) count reasoning, which is paid as output, in the total alone.
    written = max(written, (usage.total_tokens or 0) - read)
    if not 0 < read <= MOST_TOKENS or not 0 <= written <= MOST_TOKENS:
        return None
    cached = (details.cached_tokens or 0) if details else 0
    return Usage(
        input_tokens=read, output_tokens=written, cached_input_tokens=min(max(0, cached), read)
    )
