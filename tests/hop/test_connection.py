"""A gateway's side of one connection: answers in any pieces, and limits without a timer each."""

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from ragstone.hop.connection import ConnectionBroken, EngineConnection
from ragstone.hop.messages import ANSWER_HEAD
from tests.virtual_loop import run

BODY = b"what was found\r\n\r\nand more"
KNOWN = b"%b%d\r\n\r\n%b" % (ANSWER_HEAD, len(BODY), BODY)
OTHER = b"HTTP/1.1 404 Not Found\r\nX-Trace-Id: 1\r\nContent-Length: %d\r\n\r\n%b" % (
    len(BODY),
    BODY,
)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (
    len(BODY),
    BODY,
)


class Wire:
    """In the place of a transport: what is written is answered by `say`."""

    def __init__(self, say: Callable[[], None] = lambda: None) -> None:
        self.lost: list[EngineConnection] = []
        self.connection = EngineConnection(self.lost.append)
        self.connection.connection_made(cast(asyncio.Transport, self))
        self.say = say
        self._closing = False

    def write(self, data: bytes) -> None:
        self.say()

    def is_closing(self) -> bool:
        return self._closing

    def abort(self) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self.connection.connection_lost, None)


def answers(*pieces: bytes) -> Wire:
    wire = Wire()

    def say() -> None:
        for piece in pieces:
            wire.connection.data_received(piece)

    wire.say = say
    return wire


@pytest.mark.parametrize(("answer", "status"), [(KNOWN, 200), (OTHER, 404), (CHUNKED, 200)])
def test_an_answer_comes_whole_in_whatever_pieces(answer: bytes, status: int) -> None:
    async def scenario() -> None:
        for at in range(len(answer)):
            wire = answers(*filter(None, (answer[:at], answer[at:])))
            for _ in range(2):
                assert await wire.connection.exchange(b"", 1) == (status, BODY)
            wire.abort()
        wire = answers(*(answer[at : at + 1] for at in range(len(answer))))
        assert await wire.connection.exchange(b"", 1) == (status, BODY)
        wire.abort()

    run(scenario())


def test_an_answer_as_long_as_its_head_comes_whole_too() -> None:
    """Its length is then what is there but for the end of a head that was cut in two."""
    body = bytes(len(ANSWER_HEAD))
    head = b"%b%d\r" % (ANSWER_HEAD, len(body))

    async def scenario() -> None:
        wire = answers(head, b"\n\r\n" + body)
        assert await wire.connection.exchange(b"", 1) == (200, body)
        wire.abort()

    run(scenario())


def test_answers_of_both_kinds_follow_one_another() -> None:
    async def scenario() -> None:
        wire = Wire()
        for answer, status in ((KNOWN, 200), (OTHER, 404), (KNOWN, 200), (CHUNKED, 200)):
            wire.say = lambda answer=answer: wire.connection.data_received(answer)  # type: ignore[misc]
            assert await wire.connection.exchange(b"", 1) == (status, BODY)
        wire.abort()

    run(scenario())


def test_each_exchange_has_its_own_time() -> None:
    async def scenario() -> None:
        now = asyncio.get_running_loop().time
        wire = answers(KNOWN)
        await wire.connection.exchange(b"", 2.0)
        await asyncio.sleep(1.5)
        wire.say = lambda: None
        began = now()
        with pytest.raises(TimeoutError):  # not when the first would have ended
            await wire.connection.exchange(b"", 3.0)
        assert now() - began == pytest.approx(3.0)
        assert not wire.connection.is_usable

    run(scenario())


def test_a_shorter_time_after_a_longer_one_holds() -> None:
    async def scenario() -> None:
        now = asyncio.get_running_loop().time
        wire = answers(KNOWN)
        await wire.connection.exchange(b"", 30.0)
        wire.say = lambda: None
        began = now()
        with pytest.raises(TimeoutError):
            await wire.connection.exchange(b"", 0.25)
        assert now() - began == pytest.approx(0.25)

    run(scenario())


def test_a_connection_that_nobody_uses_stays_and_one_that_ends_leaves_no_timer() -> None:
    async def scenario() -> None:
        wire = answers(KNOWN)
        await wire.connection.exchange(b"", 2.0)
        await asyncio.sleep(10.0)
        assert wire.connection.is_usable
        await wire.connection.exchange(b"", 2.0)
        wire.say = wire.abort
        with pytest.raises(ConnectionBroken):
            await wire.connection.exchange(b"", 2.0)
        assert wire.lost == [wire.connection]
        timer = wire.connection._timer
        assert timer is not None
        assert timer.cancelled()

    run(scenario())
