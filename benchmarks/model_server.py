"""A language model that answers at once: OpenAI's chat completions, always the same text.

HTTP by hand, so that it is never what is measured. A request whose body asks for a stream
gets `--deltas` chunks, all in one write, or at `--rate` chunks a second, each in a write of
its own; any other gets the whole answer. Prints its port as the first line.

    python benchmarks/model_server.py [--deltas 16] [--rate 0] [--port 0]
"""

import argparse
import asyncio
import json
from typing import Any, Final, cast

import uvloop

_WORDS: Final = "The documents say so and here is what they say in a few plain words".split()


def answer_words(deltas: int) -> list[str]:
    """The answer in `deltas` pieces; it ends with a citation."""
    words = [f" {_WORDS[number % len(_WORDS)]}" for number in range(max(1, deltas - 1))]
    return [*words, " [1]."][-deltas:]


def chunk_bytes(text: str) -> bytes:
    """An event with everything around the text that OpenAI's servers send."""
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
    return _event({**_ENVELOPE, "choices": [choice], "usage": None})


_ENVELOPE: Final = {
    "id": "chatcmpl-AbCdEfGhIjKlMnOpQrStUvWxYz012",
    "object": "chat.completion.chunk",
    "created": 1767225600,
    "model": "some-model-2026-01-01",
    "service_tier": "default",
    "system_fingerprint": "fp_0123456789",
}
_USAGE: Final = {"prompt_tokens": 900, "completion_tokens": 16, "total_tokens": 916}


def _event(payload: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


def _end() -> bytes:
    stop = {**_ENVELOPE, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    usage = {**_ENVELOPE, "choices": [], "usage": _USAGE}
    return _event(stop) + _event(usage) + b"data: [DONE]\n\n"


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_STREAM_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)


def _whole(words: list[str]) -> bytes:
    message = {"role": "assistant", "content": "".join(words)}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    body = json.dumps({**_ENVELOPE, "choices": choices, "usage": _USAGE}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


class ModelProtocol(asyncio.Protocol):
    """One connection; requests come one after another."""

    def __init__(self, words: list[str], rate: float) -> None:
        self._chunks = [_framed(chunk_bytes(word)) for word in words]
        self._end = _framed(_end()) + b"0\r\n\r\n"
        self._at_once = _STREAM_HEAD + b"".join(self._chunks) + self._end
        self._whole = _whole(words)
        self._rate = rate
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, rest = self._received.partition(b"\r\n\r\n")
        if not blank:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
        if len(rest) < length:
            return
        body, self._received = rest[:length], rest[length:]
        if b'"stream":true' not in body.replace(b" ", b""):
            self._transport.write(self._whole)
        elif not self._rate:
            self._transport.write(self._at_once)
        else:
            self._transport.write(_STREAM_HEAD)
            self._send_from(0, asyncio.get_running_loop().time())

    def _send_from(self, number: int, due: float) -> None:
        if self._transport.is_closing():
            return
        if number == len(self._chunks):
            self._transport.write(self._end)
            return
        self._transport.write(self._chunks[number])
        due += 1 / self._rate
        asyncio.get_running_loop().call_at(due, self._send_from, number + 1, due)


async def serve(words: list[str], rate: float, port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: ModelProtocol(words, rate), "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description="A language model that answers at once")
    parser.add_argument("--deltas", type=int, default=16)
    parser.add_argument("--rate", type=float, default=0.0, help="chunks a second; 0: all at once")
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    uvloop.run(serve(answer_words(arguments.deltas), arguments.rate, arguments.port))


if __name__ == "__main__":
    main()
