"""A response's head goes out with what follows it, and at once where nothing does."""

import asyncio
import gc
import weakref
from types import SimpleNamespace
from typing import Any, cast

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.server import ServerState

from ragstone.server.connection import Connection, HeldHead


class Transport:
    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def writelines(self, parts: tuple[bytes, ...]) -> None:
        self.written.append(b"".join(parts))

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str) -> None:
        """Nobody knows where it leads."""

    def abort(self) -> None:
        self.close()

    def close(self) -> None:
        self.closed = True


def begun() -> tuple[Transport, Any]:
    """A transport, and a response that writes through what stands in its place."""
    transport = Transport()
    cycle = cast(RequestResponseCycle, SimpleNamespace(transport=transport))
    held: Any = HeldHead(cycle, asyncio.get_running_loop())
    cycle.transport = held
    return transport, cycle


async def test_head_and_body_are_one_write() -> None:
    transport, response = begun()
    response.transport.write(b"head,")
    assert transport.written == []
    response.transport.write(b"body")
    response.transport.write(b"more")
    await asyncio.sleep(0)
    assert transport.written == [b"head,body", b"more"]


async def test_a_head_that_nothing_follows_goes_out_in_the_next_turn() -> None:
    transport, response = begun()
    response.transport.write(b"head")
    await asyncio.sleep(0)
    response.transport.write(b"later")
    assert transport.written == [b"head", b"later"]


async def test_a_response_without_a_body_is_sent_before_its_connection_closes() -> None:
    transport, response = begun()
    response.transport.write(b"head")
    response.transport.close()
    await asyncio.sleep(0)
    assert (transport.written, transport.closed) == ([b"head"], True)


async def test_nothing_is_written_to_a_client_that_has_gone() -> None:
    transport, response = begun()
    response.transport.write(b"head")
    transport.close()
    assert response.transport.is_closing()
    await asyncio.sleep(0)
    assert transport.written == []


async def test_a_client_that_leaves_before_a_response_leaves_no_garbage() -> None:
    async def until_left(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    config = uvicorn.Config(until_left, loop="none", lifespan="off", log_config=None)
    config.load()
    state = ServerState()
    connection = Connection(config=config, server_state=state, app_state={}, send_seconds=5.0)
    gc.disable()
    try:
        connection.connection_made(cast(asyncio.Transport, Transport()))
        connection.data_received(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        [task] = state.tasks
        await asyncio.sleep(0)
        response = weakref.ref(connection.cycle)
        connection.connection_lost(None)
        await task
        del connection, task
        assert response() is None
    finally:
        gc.enable()
