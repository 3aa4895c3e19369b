"""A response's head goes out with what follows it, and at once where nothing does."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from ragstone.server.connection import HeldHead


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
