"""A server on loopback that answers as scripted: raw bytes, in the pieces that a test wants."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

ANSWER = {
    "answer": "Yes [1].",
    "answer_kind": "generated",
    "degraded": [],
    "cache": "off",
    "usage": {"input_tokens": 900, "output_tokens": 12},
    "receipt": {"nanodollars": 900_000, "shared_by": 3},
}

Script = Callable[["Request"], Awaitable[None]]


@dataclass
class Request:
    """What came, and where the answer goes."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    writer: asyncio.StreamWriter
    number: int
    """How many requests came before."""

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    def json(self, status: int, body: object, *headers: str) -> None:
        data = json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status} Scripted", f"Content-Length: {len(data)}", *headers]
        self.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)

    def refuse(self, status: int, code: str) -> None:
        self.json(status, {"error": {"code": code}}, "Retry-After: 3")

    def begin_stream(self) -> None:
        self.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )

    def chunk(self, data: bytes) -> None:
        self.write(b"%x\r\n%b\r\n" % (len(data), data))

    def event(self, name: str, data: object) -> None:
        self.chunk(event_bytes(name, data))

    def end_stream(self) -> None:
        self.write(b"0\r\n\r\n")


def event_bytes(name: str, data: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


async def stream_well(request: Request, *, words: int = 3, **answer: object) -> None:
    """A good answer of `words` pieces."""
    request.begin_stream()
    request.event("passages", {"passages": [], "trace_id": "t"})
    for number in range(words):
        request.event("delta", {"text": f"word{number} "})
    request.event("done", {"answer": {**ANSWER, **answer}})
    request.end_stream()


@dataclass
class ScriptedServer:
    """What it has met; `url` is where it listens."""

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    closed_early: int = 0
    """Connections that the client closed while a script was at work."""


@asynccontextmanager
async def scripted_server(script: Script) -> AsyncGenerator[ScriptedServer, None]:
    """Runs `script` for each request; all that it started has ended afterwards."""
    state = ScriptedServer()
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        state.connections += 1
        try:
            while (request := await _read(reader, writer, len(state.requests))) is not None:
                state.requests.append(request)
                await script(request)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            state.closed_early += 1
        finally:
            running.discard(task)
            writer.close()
            with suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=2048)
    host, port = server.sockets[0].getsockname()[:2]
    state.url = f"http://{host}:{port}"
    try:
        yield state
    finally:
        server.close()
        tasks = list(running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


async def _read(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = await reader.readexactly(int(headers["content-length"]))
    return Request(first.split()[1], headers, json.loads(body), writer, number)
