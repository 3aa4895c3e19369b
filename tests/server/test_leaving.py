"""Clients that leave, or stop reading, free what they hold; it is settled once."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from math import inf
from pathlib import Path
from typing import Any

import psutil
import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ragstone.assembly import open_system
from ragstone.domain.clock import SystemClock
from ragstone.models.llms.fake import ScriptedModel
from ragstone.server.auth import LOCAL_OPERATOR
from ragstone.server.event_stream import ABORT, EventStream
from ragstone.server.run import serve
from ragstone.settings import Settings
from tests.server.conftest import POLICY, Running, Start

QUESTION = {"question": "Within how many days may full-price items be returned?"}


def _stuck(running: Running) -> ScriptedModel:
    """A model that never says its first word."""
    never = asyncio.Event()
    model = ScriptedModel(
        ["Never."], clock=SystemClock(), first_delay=1.0, sleep=lambda _: _wait(never)
    )
    running.system.use_model(model)
    return model


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


async def _until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.005)


async def _outcome(running: Running, route: str) -> str:
    """How the only request to the route ended, once it has."""
    while True:
        async with running.http.get("/metrics") as response:
            lines = (await response.text()).splitlines()
        for line in lines:
            if line.startswith("rag_requests_total{") and f'route="{route}"' in line:
                return line.partition('outcome="')[2].partition('"')[0]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/answers", QUESTION),
        (
            "/v1/chat/completions",
            {"model": "help", "messages": [{"role": "user", "content": QUESTION["question"]}]},
        ),
    ],
)
async def test_leaving_a_whole_answer_ends_the_work_and_settles_it(
    server: Running, path: str, body: dict[str, Any]
) -> None:
    model = _stuck(server)
    asking = asyncio.create_task(server.json("POST", path, body))
    await _until(lambda: model.open_streams)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await _until(lambda: not model.open_streams)
    assert await _outcome(server, path) == "cancelled"
    assert server.system.services.admission.in_flight == 0
    assert server.system.services.ledger.open_reservations == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("stream", [True, False])
async def test_leaving_the_queue_frees_the_place_in_it(start: Start, stream: bool) -> None:
    running = await start(admission={"concurrency": 1})
    await running.ingest({"returns": POLICY})
    model = _stuck(running)
    admission = running.system.services.admission
    async with admission.admit(LOCAL_OPERATOR, priority="standard", weight=1, deadline=inf):
        asking = asyncio.create_task(
            running.json("POST", "/v1/answers", {**QUESTION, "stream": stream})
        )
        await _until(lambda: admission.waiting)
        asking.cancel()
        await _until(lambda: not admission.waiting)
    await asyncio.gather(asking, return_exceptions=True)
    assert await _outcome(running, "/v1/answers") == "cancelled"
    assert not model.prompts


class _Events:
    """Endless events, and whether they were closed."""

    def __init__(self) -> None:
        self.closed = False

    async def tell(self) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"data: x\n\n"
                await asyncio.sleep(0)
        finally:
            self.closed = True


@pytest.mark.parametrize("blocked_from", [1, 2, 3])
async def test_a_client_that_does_not_read_is_dropped(blocked_from: int) -> None:
    events = _Events()
    told = events.tell()
    opening = await anext(told)
    aborted: list[bool] = []
    sent = 0

    async def send(message: Any) -> None:
        nonlocal sent
        sent += 1
        if sent >= blocked_from:
            await asyncio.Event().wait()

    async def receive() -> Any:
        while not aborted:
            await asyncio.sleep(0.005)
        return {"type": "http.disconnect"}

    stream = EventStream(told, opening=opening, heartbeat_seconds=9.0, send_seconds=0.01)
    scope = {"extensions": {ABORT: {"call": lambda: aborted.append(True)}}}
    await stream(scope, receive, send)
    assert events.closed
    assert aborted == [True]


async def test_a_blocked_heartbeat_drops_the_client_too() -> None:
    closed = False

    async def silent() -> AsyncGenerator[bytes, None]:
        nonlocal closed
        try:
            yield b""
            await asyncio.Event().wait()
        finally:
            closed = True

    async def send(message: Any) -> None:
        if b": keep" in message.get("body", b""):
            await asyncio.Event().wait()

    async def receive() -> Any:
        await asyncio.Event().wait()

    told = silent()
    opening = await anext(told)
    stream = EventStream(told, opening=opening, heartbeat_seconds=0.01, send_seconds=0.01)
    await stream({}, receive, send)
    assert closed


async def test_a_connection_that_is_not_read_is_cut_and_its_permit_freed(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As much as fills a connection's buffers no model may write.
    monkeypatch.setattr("ragstone.pipeline.write.is_overlong", lambda size, max_tokens: False)
    running = await start(server={"send_seconds": 0.05})
    await running.ingest({"returns": POLICY})
    endless = ScriptedModel(["x" * 100_000] * 2_000, clock=SystemClock(), delay=0.002)
    running.system.use_model(endless)
    host, _, port = running.url.removeprefix("http://").partition(":")
    body = json.dumps({**QUESTION, "stream": True}).encode()
    head = f"POST /v1/answers HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(body)}"
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setblocking(False)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        await loop.sock_connect(client, (host, int(port)))
        await loop.sock_sendall(client, head.encode() + b"\r\n\r\n" + body)
        await _until(lambda: endless.prompts)
        await _until(lambda: not running.system.services.admission.in_flight)
        assert (endless.open_streams, endless.closed_early) == (0, 1)
        received = bytearray()
        while part := await loop.sock_recv(client, 1_000_000):
            received += part
    assert b"event: done" not in received


class _Whole:
    """An application with one whole answer of 20 MB, larger than any socket's buffers."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await Response(b"x" * 20_000_000)(scope, receive, send)
        self.ended.set()


@asynccontextmanager
async def _unread(
    home: Path, application: _Whole, *, send_seconds: float
) -> AsyncIterator[socket.socket]:
    """A connection to `application` whose answer nobody has read any of yet."""
    server = {"send_seconds": send_seconds}
    settings = Settings.model_validate(
        {"home": home, "embedder": {"provider": "fake"}, "server": server}
    )
    loop = asyncio.get_running_loop()
    async with open_system(settings) as system:
        started: asyncio.Future[str] = loop.create_future()
        serving = asyncio.create_task(
            serve(system, application, "127.0.0.1", 0, started.set_result)
        )
        host, _, port = (await started).removeprefix("http://").partition(":")
        with socket.socket() as client:
            client.setblocking(False)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            await loop.sock_connect(client, (host, int(port)))
            await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
            await application.ended.wait()
            yield client
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def test_a_whole_answer_that_nobody_reads_is_dropped(tmp_path: Path) -> None:
    async with _unread(tmp_path, _Whole(), send_seconds=0.5) as client:
        while _server_has(client):
            await asyncio.sleep(0.05)
        assert await _received(client) < 20_000_000


def _server_has(client: socket.socket) -> bool:
    """Whether this process, in which the server runs, still has the other end open."""
    port = client.getsockname()[1]
    connections = psutil.Process().net_connections("tcp")
    return any(end.raddr and end.raddr.port == port for end in connections)


async def test_a_whole_answer_that_is_read_comes_whole(tmp_path: Path) -> None:
    async with _unread(tmp_path, _Whole(), send_seconds=300) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)
        assert await _received(client, until=20_000_000) > 20_000_000


async def _received(client: socket.socket, until: float = inf) -> int:
    """How many bytes came before the connection ended, or until they are more than `until`."""
    count = 0
    with suppress(ConnectionError):
        while count <= until and (
            part := await asyncio.get_running_loop().sock_recv(client, 1_000_000)
        ):
            count += len(part)
    return count
