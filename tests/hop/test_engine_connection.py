"""What a gateway's connection answers by itself is the same as what the application answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
import pytest

from ragstone.domain.errors import NotFound
from ragstone.hop.messages import GENERATION, KEY, LOCAL_HOST, request_head
from tests.hop.engine import TOKEN, Door, served

LARGE = 20_000_000
"""Bytes: more than the buffers of a socket hold."""


class Records:
    """Generations by name, each known once it may be told."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.may_tell = asyncio.Event()
        self.may_tell.set()

    async def generation(self, tenant: str, name: str) -> int:
        self.begun.set()
        await self.may_tell.wait()
        if name == "broken":
            raise RuntimeError("a fault")
        if name == "absent":
            raise NotFound("There is none.")
        if name == "large":
            return cast(int, "x" * LARGE)
        return int(name)


class Peer:
    """Says bytes, and reads answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.say = writer.write
        self._reader = reader

    async def hear(self) -> tuple[int, Any]:
        """Status, and what the body says."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        body = await self._reader.readexactly(length)
        packed = "msgpack" in head
        return int(head.split(" ")[1]), (msgspec.msgpack if packed else msgspec.json).decode(body)

    async def has_ended(self) -> bool:
        return await self._reader.read() == b""


@asynccontextmanager
async def connected(door: Door) -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_unix_connection(door.path)
    try:
        yield Peer(reader, writer)
    finally:
        writer.close()


def asked(
    name: str, *, path: str = GENERATION, host: str = LOCAL_HOST, token: str = TOKEN
) -> bytes:
    body = msgspec.msgpack.encode({"tenant": "t", "name": name})
    return b"%b %d\r\n\r\n%b" % (request_head(path, host, token), len(body), body)


@pytest.mark.parametrize("host", [LOCAL_HOST, "another.example"])
async def test_both_ways_say_the_same(host: str) -> None:
    """The head of another host is not known, so its request takes the ordinary way."""
    async with served(records=Records()) as door, connected(door) as peer:
        for name, path, expected in (
            ("7", GENERATION, (200, 7)),
            ("absent", GENERATION, (404, "There is none.")),
            ("8", KEY, (400, None)),
            ("broken", GENERATION, (500, None)),
            ("9", GENERATION, (200, 9)),
        ):
            peer.say(asked(name, path=path, host=host))
            status, said = await peer.hear()
            assert status == expected[0]
            if expected[1] is not None:
                assert (said if status == 200 else said["error"]["message"]) == expected[1]


async def test_the_token_is_part_of_a_head_that_is_known() -> None:
    async with served(records=Records()) as door, connected(door) as peer:
        peer.say(asked("7", token="wrong"))
        assert (await peer.hear())[0] == 403


@pytest.mark.parametrize("size", [1, 40, 150, 10_000])
async def test_requests_in_any_pieces_are_answered_in_their_order(size: int) -> None:
    together = asked("1") + asked("2", host="another.example") + asked("3") + asked("absent")
    async with served(records=Records()) as door, connected(door) as peer:
        for start in range(0, len(together), size):
            peer.say(together[start : start + size])
            await asyncio.sleep(0)
        assert [await peer.hear() for _ in range(3)] == [(200, 1), (200, 2), (200, 3)]
        assert (await peer.hear())[0] == 404


async def test_what_comes_during_an_answer_waits_for_it() -> None:
    records = Records()
    records.may_tell.clear()
    async with served(records=records) as door, connected(door) as peer:
        peer.say(asked("1"))
        await records.begun.wait()
        peer.say(asked("2"))
        peer.say(asked("3", host="another.example"))
        await asyncio.sleep(0)
        records.may_tell.set()
        assert [await peer.hear() for _ in range(3)] == [(200, 1), (200, 2), (200, 3)]


async def test_a_stop_waits_for_an_answer_and_ends_the_connection() -> None:
    records = Records()
    records.may_tell.clear()
    serving = served(records=records, shutdown_seconds=30)
    door = await serving.__aenter__()
    async with connected(door) as peer:
        peer.say(asked("1"))
        await records.begun.wait()
        stopping = asyncio.create_task(serving.__aexit__(None, None, None))
        while await listens(door):
            await asyncio.sleep(0.01)
        records.may_tell.set()
        assert await peer.hear() == (200, 1)
        assert await peer.has_ended()
    await stopping


async def listens(door: Door) -> bool:
    try:
        async with connected(door):
            return True
    except OSError:
        return False


async def test_an_answer_larger_than_the_buffers_comes_whole() -> None:
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
    async with served(records=Records()) as door, connected(door) as peer:
        peer.say(asked("large"))
        status, text = await peer.hear()
        assert (status, len(text)) == (200, LARGE)
        peer.say(asked("7"))
        assert await peer.hear() == (200, 7)
    assert not faults
