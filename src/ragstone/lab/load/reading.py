"""What a response says, read as it comes: contents, terminal events, usage, rungs.

The readers count what a checker must know (two terminal events, content after the end, data that
is not the format) instead of failing on it.
"""

from typing import Final, Protocol

import msgspec


class _Usage(msgspec.Struct, frozen=True):
    input_tokens: int = 0
    output_tokens: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Receipt(msgspec.Struct, frozen=True):
    nanodollars: int = 0
    shared_by: int = 1


class _Answer(msgspec.Struct, frozen=True):
    """Our answer, our search result, and what an OpenAI response has of ours in `ragstone`."""

    answer: str = ""
    answer_kind: str = ""
    degraded: list[str] = []
    cache: str = "off"
    receipt: _Receipt = _Receipt()
    usage: _Usage = _Usage()
    passages: list[msgspec.Raw] | None = None


class _Error(msgspec.Struct, frozen=True):
    code: str | None = None
    type: str | None = None


class _Event(msgspec.Struct, frozen=True):
    text: str = ""
    answer: _Answer | None = None
    error: _Error | None = None


class _Words(msgspec.Struct, frozen=True):
    content: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    delta: _Words = _Words()
    message: _Words = _Words()


class _Chunk(msgspec.Struct, frozen=True):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    ragstone: _Answer | None = None
    error: _Error | None = None


_EVENT: Final = msgspec.json.Decoder(_Event)
_ANSWER: Final = msgspec.json.Decoder(_Answer)
_CHUNK: Final = msgspec.json.Decoder(_Chunk)


class Heard:
    """What one response has said so far."""

    __slots__ = (
        "after_end",
        "answer_kind",
        "cached",
        "code",
        "contents",
        "degraded",
        "ends",
        "errors",
        "input_tokens",
        "malformed",
        "nanodollars",
        "output_tokens",
        "text",
    )

    def __init__(self, *, keep_text: bool = False) -> None:
        self.contents = 0
        """Pieces of answer text."""
        self.ends = 0
        """Terminal events that end an answer well; a whole body is one."""
        self.errors = 0
        """Terminal events that are an error."""
        self.after_end = False
        """Something came after a terminal event."""
        self.malformed = False
        """Something was not the wire format."""
        self.code: str | None = None
        """Of the error, where there is one."""
        self.answer_kind = ""
        self.degraded: list[str] = []
        self.cached = False
        self.input_tokens = 0
        self.output_tokens = 0
        self.nanodollars = 0
        """By its receipt, its part where several share the cost."""
        self.text: list[str] | None = [] if keep_text else None

    def content(self, text: str) -> None:
        if text:
            self.after_end |= self.ends + self.errors > 0
            self.contents += 1
            if self.text is not None:
                self.text.append(text)

    def failed(self, error: _Error) -> None:
        self.errors += 1
        self.code = error.code or error.type or "unnamed_error"

    def consumed(self, usage: _Usage) -> None:
        self.input_tokens = usage.input_tokens or usage.prompt_tokens
        self.output_tokens = usage.output_tokens or usage.completion_tokens

    def answered(self, answer: _Answer) -> None:
        self.answer_kind, self.degraded = answer.answer_kind, answer.degraded
        self.cached = answer.cache == "hit"
        self.nanodollars = answer.receipt.nanodollars // max(1, answer.receipt.shared_by)


class Reader(Protocol):
    """Takes a response's body in any pieces."""

    def feed(self, data: bytes) -> None: ...

    def close(self) -> None:
        """The body has ended."""
        ...


class EventReader:
    """Server-sent events (WHATWG HTML, section 9.2), as far as language models use them."""

    __slots__ = ("_heard", "_rest")

    def __init__(self, heard: Heard) -> None:
        self._heard = heard
        self._rest = b""

    def feed(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n")
        *events, self._rest = data.split(b"\n\n")
        for event in events:
            self._read(event)

    def close(self) -> None:
        if self._rest.strip() and not self._rest.startswith(b":"):
            self._heard.malformed = True  # an event that was cut off

    def _read(self, event: bytes) -> None:
        name, data = b"", b""
        for line in event.split(b"\n"):
            if line.startswith(b"data:"):
                data += line[5:].lstrip()
            elif line.startswith(b"event:"):
                name = line[6:].strip()
        if not data:
            return
        try:
            self._event(name, data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._heard.malformed = True

    def _event(self, name: bytes, data: bytes) -> None:
        raise NotImplementedError


class AnswerEvents(EventReader):
    """Events of `/v1/answers`."""

    __slots__ = ()

    def _event(self, name: bytes, data: bytes) -> None:
        heard = self._heard
        if name == b"delta":
            heard.content(_EVENT.decode(data).text)
        elif name == b"done":
            heard.ends += 1
            answer = _EVENT.decode(data).answer
            if answer is None:
                heard.malformed = True
            else:
                heard.answered(answer)
                heard.consumed(answer.usage)
        elif name == b"error":
            heard.failed(_EVENT.decode(data).error or _Error())


class ChatEvents(EventReader):
    """Chunks of `/v1/chat/completions`; `[DONE]` is the terminal event."""

    __slots__ = ()

    def _event(self, name: bytes, data: bytes) -> None:
        heard = self._heard
        if data == b"[DONE]":
            heard.ends += 1
            return
        chunk = _CHUNK.decode(data)
        if chunk.error is not None:
            heard.failed(chunk.error)
            return
        for choice in chunk.choices:
            heard.content(choice.delta.content or "")
        if chunk.usage is not None:
            heard.consumed(chunk.usage)
        if chunk.ragstone is not None:
            heard.answered(chunk.ragstone)


class WholeBody:
    """A JSON body: an answer, a completion, a search result, or an error."""

    __slots__ = ("_chat", "_heard", "_parts", "_status")

    def __init__(self, heard: Heard, status: int, *, chat: bool) -> None:
        self._heard, self._status, self._chat = heard, status, chat
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> None:
        self._parts.append(data)

    def close(self) -> None:
        body = b"".join(self._parts)
        try:
            if self._status != 200:
                self._heard.failed(_CHUNK.decode(body).error or _Error())
            else:
                self._read(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._heard.malformed = True

    def _read(self, body: bytes) -> None:
        heard = self._heard
        if self._chat:
            chunk = _CHUNK.decode(body)
            text = chunk.choices[0].message.content if chunk.choices else None
            answer, usage, there = chunk.ragstone, chunk.usage, text is not None
        else:
            answer = _ANSWER.decode(body)
            text, usage = answer.answer, answer.usage
            there = bool(answer.answer_kind) or answer.passages is not None
        heard.malformed |= not there
        heard.content(text or "")
        heard.ends += 1
        if answer is not None:
            heard.answered(answer)
        if usage is not None:
            heard.consumed(usage)


def reader_for(heard: Heard, status: int, *, chat: bool, streamed: bool) -> Reader:
    """The reader of a response; errors are whole bodies also where a stream was asked for."""
    if status != 200 or not streamed:
        return WholeBody(heard, status, chat=chat)
    return ChatEvents(heard) if chat else AnswerEvents(heard)
