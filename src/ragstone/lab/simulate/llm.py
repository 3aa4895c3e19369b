"""A simulated language model: OpenAI's chat completions and Anthropic's messages."""

import random
from collections.abc import Iterator
from typing import Final

import msgspec

from ragstone.lab.simulate.behaviour import Behaviour, Fault, Lognormal, draw
from ragstone.lab.simulate.http import Request
from ragstone.lab.simulate.script import Pace, Step, in_one_piece, streamed
from ragstone.lab.simulate.stats import Tokens
from ragstone.lab.simulate.text import answer_words, question_hash
from ragstone.lab.simulate.wires import AnthropicWire, OpenAIWire, Wire

_CHARS_PER_TOKEN: Final = 4

_MODELS: Final = msgspec.json.encode(
    {
        "object": "list",
        "data": [{"id": "simulated", "object": "model", "created": 0, "owned_by": "ragstone"}],
    }
)


class _Part(msgspec.Struct):
    type: str = ""
    text: str = ""


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class _StreamOptions(msgspec.Struct):
    include_usage: bool = False


class _ChatRequest(msgspec.Struct):
    model: str
    messages: list[_Message]
    stream: bool = False
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None


class _MessagesRequest(msgspec.Struct):
    model: str
    messages: list[_Message]
    max_tokens: int
    stream: bool = False


_chat = msgspec.json.Decoder(_ChatRequest)
_messages = msgspec.json.Decoder(_MessagesRequest)


class ModelService:
    """Implements `simulator.Service`. Every model name is known here."""

    def fixed(self, request: Request) -> bytes | None:
        return _MODELS if request.path.endswith("/models") else None

    def read(self, request: Request) -> "_AskedModel | None":
        if request.method != "POST":
            return None
        if request.path.endswith("/chat/completions"):
            return _asked_openai(_chat.decode(request.body))
        if request.path.endswith("/messages"):
            return _asked_anthropic(_messages.decode(request.body))
        return None


class _AskedModel:
    """Implements `simulator.Asked`."""

    def __init__(
        self, prompt: str, wire: Wire, limit: int | None, stream: bool, prompt_tokens: int
    ) -> None:
        self.tokens = Tokens(prompt_tokens)
        self._prompt = prompt
        self._wire = wire
        self._limit = limit
        self._stream = stream

    @property
    def question(self) -> str:
        return question_hash(self._prompt)

    def refusal(self, fault: Fault) -> tuple[int, bytes]:
        return self._wire.refusal(fault)

    def script(
        self, behaviour: Behaviour, fault: Fault | None, chance: random.Random, pace: Pace
    ) -> Iterator[Step]:
        tokens = max(1, round(draw(behaviour.tokens, chance)))
        reason = "stop"
        if self._limit is not None and tokens > self._limit:
            tokens, reason = max(1, self._limit), "length"
        words = answer_words(self._prompt, tokens)
        if self._stream:
            return streamed(self._wire, words, reason, behaviour, fault, pace, self.tokens)
        waits: list[float | Lognormal] = [behaviour.first_token_seconds]
        waits += [behaviour.token_seconds] * (tokens - 1 + behaviour.thinking_tokens)
        self.tokens.output = tokens  # whether or not anybody waits for it
        body = self._wire.whole("".join(words), reason, tokens)
        return in_one_piece(body, waits, fault, pace)


def _asked_openai(request: _ChatRequest) -> _AskedModel:
    options = request.stream_options
    sent = _tokens(request.messages)
    wire = OpenAIWire(
        model=request.model,
        prompt_tokens=sent,
        wants_usage=options is not None and options.include_usage,
    )
    limit = request.max_completion_tokens or request.max_tokens
    return _AskedModel(_last(request.messages), wire, limit, request.stream, sent)


def _asked_anthropic(request: _MessagesRequest) -> _AskedModel:
    sent = _tokens(request.messages)
    wire = AnthropicWire(model=request.model, prompt_tokens=sent)
    return _AskedModel(_last(request.messages), wire, request.max_tokens, request.stream, sent)


def _last(messages: list[_Message]) -> str:
    return messages[-1].text if messages else ""


def _tokens(messages: list[_Message]) -> int:
    return sum(len(message.text) for message in messages) // _CHARS_PER_TOKEN
