"""Bodies that are being read take a bounded share of memory, and keep nobody out afterwards."""

import asyncio
import json

import pytest

from ragstone.domain.errors import Overloaded
from ragstone.server.bodies import BodyRoom
from tests.server.conftest import Running, Start


def test_room_is_bounded_and_given_back() -> None:
    room = BodyRoom(100)
    with room.holding(60):
        with room.holding(40):
            assert room.held == 100
        with pytest.raises(Overloaded) as refusal, room.holding(41):
            pass
        assert refusal.value.retry_after
        assert room.held == 60
    assert room.held == 0


def test_a_body_that_is_alone_has_room() -> None:
    room = BodyRoom(100)
    with room.holding(1000), pytest.raises(Overloaded), room.holding(1):
        pass
    assert room.held == 0


UPLOAD = "multipart/form-data; boundary=x"


async def _held(running: Running, path: str, kind: str, size: int) -> asyncio.StreamWriter:
    """A connection that has sent the head of a request, and whose body is waited for."""
    host, _, port = running.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {size}\r\nExpect: 100-continue\r\n\r\n".encode()
    )
    await reader.readuntil(b"100 Continue\r\n\r\n")  # said when the handler reads
    return writer


@pytest.mark.parametrize(
    ("path", "kind", "other"),
    [
        ("/v1/answers", "application/json", "/v1/documents"),
        ("/v1/documents", "application/json", "/v1/answers"),
        ("/v1/documents", UPLOAD, "/v1/answers"),
    ],
)
async def test_no_more_bodies_are_read_than_there_is_room_for(
    start: Start, path: str, kind: str, other: str
) -> None:
    running = await start(server={"max_bodies_bytes": 1_000_000})
    writer = await _held(running, path, kind, 999_990)
    body = json.dumps({"question": "Why?", "documents": [{"id": "a", "text": "b"}]}).encode()
    sent = {"data": body, "headers": {"Content-Type": kind}}
    async with running.http.post(path, **sent) as refused:
        assert refused.status == 503
        assert refused.headers["Retry-After"] == "1"
        assert (await refused.json())["error"]["code"] == "overloaded"
    kept = {"data": body, "headers": {"Content-Type": "application/json"}}
    async with running.http.post(other, **kept) as apart:
        assert apart.status == 400  # read: it has fields that are not known there
    writer.close()
    await writer.wait_closed()
    while True:
        async with running.http.post(path, **sent) as read:
            if read.status == 400:
                return
        await asyncio.sleep(0.01)
