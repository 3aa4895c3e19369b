"""What a gateway hands on ends with the one who asked for it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ragstone.hop.address import EngineAddress
from ragstone.observe.metrics import Metrics
from ragstone.server.event_stream import ABORT
from ragstone.server.forward import Forward


class Engine:
    """Takes one request, says `answer`, and then nothing until the connection is closed."""

    def __init__(self, answer: bytes = b"") -> None:
        self._answer = answer
        self.head = b""
        self.asked = asyncio.Event()
        self.left = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if b"chunked" in self.head:
            await reader.readuntil(b"0\r\n\r\n")
        writer.write(self._answer)
        self.asked.set()
        await reader.read()
        writer.close()
        await writer.wait_closed()
        self.left.set()


class Asker:
    """A client at the ASGI interface."""

    def __init__(self, body: bytes = b"", headers: list[tuple[bytes, bytes]] | None = None) -> None:
        self._requests: Iterator[Any] = iter(
            [{"type": "http.request", "body": body, "more_body": False}]
        )
        self.leaves = asyncio.Event()
        self.sent: list[Any] = []
        self.begun = asyncio.Event()
        head = [*(headers or []), *([(b"transfer-encoding", b"chunked")] if body else [])]
        self.scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/embeddings",
            "headers": head,
            "extensions": {ABORT: {"call": self.leaves.set}},
        }

    async def receive(self) -> Any:
        for request in self._requests:
            return request
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)
        self.begun.set()


@asynccontextmanager
async def _forward_to(engine: Engine) -> AsyncIterator[Forward]:
    serving = await asyncio.start_server(engine.serve, "127.0.0.1", 0)
    async with serving:
        address = EngineAddress(host="127.0.0.1", port=serving.sockets[0].getsockname()[1])
        forward = Forward(
            address, token="t", metrics=Metrics(), timeout_seconds=10, answer_seconds=10
        )
        try:
            yield forward
        finally:
            await forward.close()


@pytest.mark.parametrize("body", [b"", b"some text"])
async def test_a_client_that_leaves_ends_what_was_handed_on(body: bytes) -> None:
    engine, client = Engine(), Asker(body)
    async with _forward_to(engine) as forward:
        handing = asyncio.create_task(forward(client.scope, client.receive, client.send))
        await engine.asked.wait()
        client.leaves.set()
        await handing
        await engine.left.wait()
    assert client.sent == []


async def test_a_stop_is_said_where_no_answer_has_begun() -> None:
    engine, client = Engine(), Asker()
    async with _forward_to(engine) as forward:
        handing = asyncio.create_task(forward(client.scope, client.receive, client.send))
        await engine.asked.wait()
        handing.cancel()
        await handing
        await engine.left.wait()
    assert client.sent[0]["status"] == 503
    assert b"shutting_down" in client.sent[1]["body"]


async def test_a_stop_breaks_a_begun_answer_off_without_a_word() -> None:
    engine = Engine(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsome")
    client = Asker()
    async with _forward_to(engine) as forward:
        handing = asyncio.create_task(forward(client.scope, client.receive, client.send))
        await client.begun.wait()
        handing.cancel()
        await handing
        await engine.left.wait()
    assert client.leaves.is_set()  # the connection was aborted
    assert client.sent[0]["status"] == 200


async def test_what_is_of_one_connection_is_not_handed_on() -> None:
    answer = b"HTTP/1.1 200 OK\r\nConnection: close, X-Ours\r\nX-Ours: 1\r\nX-Kept: 2\r\n"
    engine = Engine(answer + b"Content-Length: 0\r\n\r\n")
    said = [
        (b"connection", b"X-Mine, Authorization"),
        (b"x-mine", b"1"),
        (b"authorization", b"Bearer k"),
        (b"x-other", b"2"),
    ]
    client = Asker(headers=said)
    async with _forward_to(engine) as forward:
        await forward(client.scope, client.receive, client.send)
        await engine.left.wait()
    assert b"x-mine" not in engine.head
    assert b"x-other: 2" in engine.head
    assert b"authorization: bearer k" in engine.head
    assert dict(client.sent[0]["headers"]) == {b"x-kept": b"2", b"content-length": b"0"}
