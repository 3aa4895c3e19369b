"""The bytes of both chat formats: what OpenAI's and Anthropic's servers send."""

from typing import Any, Final, Protocol

import msgspec

from ragstone.lab.simulate.behaviour import Fault

_encode = msgspec.json.encode

FAILURE_MESSAGE: Final = "The simulated server had an error while processing your request."
_QUOTA_MESSAGE: Final = (
    "You exceeded your current quota, please check your plan and billing details."
)


class Wire(Protocol):
    """One answer in one format. Events are whole, without the HTTP framing."""

    def opening(self) -> bytes: ...

    def thought(self, text: str) -> bytes: ...

    def delta(self, text: str) -> bytes: ...

    def ping(self) -> bytes: ...

    def failure(self) -> bytes: ...

    def ending(self, reason: str, tokens: int) -> bytes: ...

    def whole(self, text: str, reason: str, tokens: int) -> bytes: ...

    def refusal(self, fault: Fault) -> tuple[int, bytes]:
        """Status and body."""
        ...


class OpenAIWire:
    """Implements `Wire` as `/v1/chat/completions` answers."""

    def __init__(self, *, model: str, prompt_tokens: int, wants_usage: bool) -> None:
        self._envelope = {
            "id": "chatcmpl-simulated",
            "object": "chat.completion.chunk",
            "created": 1767225600,
            "model": model,
            "system_fingerprint": "fp_simulated",
        }
        self._prompt_tokens = prompt_tokens
        self._wants_usage = wants_usage
        start, _, end = self._chunk({"content": "@"}).rpartition(b'"@"')
        self._around = (start, end)

    def opening(self) -> bytes:
        return self._chunk({"role": "assistant", "content": ""})

    def thought(self, text: str) -> bytes:
        return self._chunk({"reasoning_content": text})

    def delta(self, text: str) -> bytes:
        start, end = self._around
        return b"%b%b%b" % (start, _encode(text), end)

    def ping(self) -> bytes:
        """A delta without content: bytes, and even an event, that carry nothing."""
        return self._chunk({})

    def failure(self) -> bytes:
        error = {"message": FAILURE_MESSAGE, "type": "server_error", "code": None, "param": None}
        return _data({"error": error})

    def ending(self, reason: str, tokens: int) -> bytes:
        events = self._chunk({}, finish_reason=reason)
        if self._wants_usage:
            events += _data({**self._envelope, "choices": [], "usage": self._usage(tokens)})
        return events + b"data: [DONE]\n\n"

    def whole(self, text: str, reason: str, tokens: int) -> bytes:
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        usage = self._usage(tokens)
        named = {**self._envelope, "object": "chat.completion"}
        return _encode({**named, "choices": [choice], "usage": usage})

    def refusal(self, fault: Fault) -> tuple[int, bytes]:
        return openai_refusal(fault)

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return _data({**self._envelope, "choices": [choice], "usage": None})

    def _usage(self, tokens: int) -> dict[str, int]:
        sent = self._prompt_tokens
        return {"prompt_tokens": sent, "completion_tokens": tokens, "total_tokens": sent + tokens}


class AnthropicWire:
    """Implements `Wire` as `/v1/messages` answers."""

    def __init__(self, *, model: str, prompt_tokens: int) -> None:
        self._model = model
        self._prompt_tokens = prompt_tokens
        self._block: str | None = None
        self._index = -1

    def opening(self) -> bytes:
        return _named("message_start", {"message": self._message([], None, 1)}) + self.ping()

    def thought(self, text: str) -> bytes:
        opened = self._in_block("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        return opened + self._delta({"type": "thinking_delta", "thinking": text})

    def delta(self, text: str) -> bytes:
        opened = self._in_block("text", {"type": "text", "text": ""})
        return opened + self._delta({"type": "text_delta", "text": text})

    def ping(self) -> bytes:
        return _named("ping", {})

    def failure(self) -> bytes:
        return _named("error", {"error": {"type": "api_error", "message": FAILURE_MESSAGE}})

    def ending(self, reason: str, tokens: int) -> bytes:
        delta = {"stop_reason": self._reason(reason), "stop_sequence": None}
        ended = _named("message_delta", {"delta": delta, "usage": {"output_tokens": tokens}})
        return self._close_block() + ended + _named("message_stop", {})

    def whole(self, text: str, reason: str, tokens: int) -> bytes:
        content = [{"type": "text", "text": text}]
        return _encode(self._message(content, self._reason(reason), tokens))

    def refusal(self, fault: Fault) -> tuple[int, bytes]:
        if fault.kind == "rate_limit":
            return 429, _anthropic_error("rate_limit_error", "This request would exceed the limit.")
        if fault.kind == "quota":
            message = "Your credit balance is too low to access the API."
            return 400, _anthropic_error("billing_error", message)
        kind = "overloaded_error" if fault.status == 529 else "api_error"
        return fault.status, _anthropic_error(kind, FAILURE_MESSAGE)

    def _message(
        self, content: list[dict[str, str]], reason: str | None, tokens: int
    ) -> dict[str, Any]:
        return {
            "id": "msg_simulated",
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": None,
            "usage": {"input_tokens": self._prompt_tokens, "output_tokens": tokens},
        }

    def _reason(self, reason: str) -> str:
        return "max_tokens" if reason == "length" else "end_turn"

    def _in_block(self, kind: str, empty: dict[str, str]) -> bytes:
        """The events that open this block, none where it is open."""
        if self._block == kind:
            return b""
        closed = self._close_block()
        self._block = kind
        self._index += 1
        fields = {"index": self._index, "content_block": empty}
        return closed + _named("content_block_start", fields)

    def _close_block(self) -> bytes:
        if self._block is None:
            return b""
        self._block = None
        return _named("content_block_stop", {"index": self._index})

    def _delta(self, delta: dict[str, str]) -> bytes:
        return _named("content_block_delta", {"index": self._index, "delta": delta})


def openai_refusal(fault: Fault) -> tuple[int, bytes]:
    """Status and body; other servers than chat write errors in this form too."""
    if fault.kind == "rate_limit":
        error = {"message": "Rate limit reached.", "type": "requests"}
        return 429, _encode({"error": {**error, "param": None, "code": "rate_limit_exceeded"}})
    if fault.kind == "quota":
        error = {"message": _QUOTA_MESSAGE, "type": "insufficient_quota"}
        return 429, _encode({"error": {**error, "param": None, "code": "insufficient_quota"}})
    error = {"message": FAILURE_MESSAGE, "type": "server_error"}
    return fault.status, _encode({"error": {**error, "param": None, "code": None}})


def _anthropic_error(kind: str, message: str) -> bytes:
    return _encode({"type": "error", "error": {"type": kind, "message": message}})


def _data(payload: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % _encode(payload)


def _named(name: str, fields: dict[str, Any]) -> bytes:
    return b"event: %b\n%b" % (name.encode(), _data({"type": name, **fields}))
