"""Whatever cuts an event stream off, and wherever: one terminal event, and nothing left."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.server.event_stream import ABORT, EventStream
from ragstone.server.leaving import Client
from tests.virtual_loop import run

EVENTS = 4


class Told:
    """Events as `answers` encodes them: a stop that nobody left is the last of them."""

    def __init__(self, client: Client, settles: float) -> None:
        self._client = client
        self._settles = settles
        self.closed = 0

    async def tell(self) -> AsyncGenerator[bytes, None]:
        complete = False
        try:
            for number in range(EVENTS):
                await asyncio.sleep(1)
                yield b"delta %d;" % number
            complete = True
            yield b"done;"
        except asyncio.CancelledError:
            if complete or self._client.gone:
                raise
            yield b"error;"
        finally:
            self.closed += 1
            await asyncio.sleep(self._settles)


class Peer:
    """The other end: reads after `slow` seconds an event, leaves after `leaves` seconds."""

    def __init__(self, *, slow: float = 0.0, leaves: float | None = None) -> None:
        self._slow = slow
        self._leaves = leaves
        self.got = b""
        self.ended = False
        self.aborted = asyncio.Event()

    async def send(self, message: Any) -> None:
        if self._slow:
            await asyncio.sleep(self._slow)
        assert not self.ended
        self.got += message.get("body", b"")
        self.ended = message["type"] == "http.response.body" and not message["more_body"]

    async def receive(self) -> Any:
        if self._leaves is None:
            await self.aborted.wait()
        else:
            await asyncio.sleep(self._leaves)
        return {"type": "http.disconnect"}


async def _stream(
    peer: Peer, *, send_seconds: float = 30.0, stops: float | None = None, settles: float = 0.0
) -> Told:
    """Streams to the peer; the server stops after `stops` seconds. What is told needs `settles`
    seconds when it is cut off."""
    client = Client(peer.receive)
    told = Told(client, settles)
    events = told.tell()
    stream = EventStream(
        events,
        client=client,
        opening=await anext(events),
        heartbeat_seconds=15.0,
        send_seconds=send_seconds,
    )
    scope = {"extensions": {ABORT: {"call": peer.aborted.set}}}
    streaming = asyncio.create_task(stream(scope, peer.receive, peer.send))
    if stops is not None:
        asyncio.get_running_loop().call_later(stops, streaming.cancel)
    await asyncio.wait([streaming])
    assert not streaming.cancelled()
    assert streaming.exception() is None
    assert told.closed == 1
    await asyncio.sleep(0)  # the watch over the client ends
    assert asyncio.all_tasks() == {asyncio.current_task()}
    return told


@given(stops=st.floats(0, 6), slow=st.sampled_from([0.0, 0.1, 0.3]))
def test_a_stop_at_any_moment_is_said_once(stops: float, slow: float) -> None:
    async def scenario() -> None:
        peer = Peer(slow=slow)
        await _stream(peer, stops=stops)
        assert peer.got.count(b"done;") + peer.got.count(b"error;") == 1
        deltas = [b"delta %d;" % number for number in range(peer.got.count(b"delta"))]
        if deltas and b"delta 0;" in peer.got:
            assert peer.got.startswith(b"".join(deltas))  # in order, none twice
        assert peer.got.endswith((b"done;", b"error;"))

    run(scenario())


def test_a_stop_does_not_wait_for_a_client_that_does_not_read() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await _stream(Peer(slow=1000.0), send_seconds=3000.0, stops=5.0)
        assert loop.time() - began < 10

    run(scenario())


@given(leaves=st.floats(0, 6), slow=st.sampled_from([0.0, 0.7]))
def test_a_client_that_leaves_is_told_nothing_more(leaves: float, slow: float) -> None:
    async def scenario() -> None:
        peer = Peer(slow=slow, leaves=leaves)
        await _stream(peer)
        assert b"error" not in peer.got

    run(scenario())


@given(leaves=st.floats(0, 6), slow=st.sampled_from([0.0, 0.9]), later=st.floats(0, 2))
def test_a_stop_while_a_client_that_left_is_settled_is_no_error(
    leaves: float, slow: float, later: float
) -> None:
    async def scenario() -> None:
        await _stream(Peer(slow=slow, leaves=leaves), stops=leaves + later, settles=1.0)

    run(scenario())


@pytest.mark.parametrize("stops", [None, 2.0, 20.0, 30.5, 32.0])
def test_a_client_that_stops_reading_is_dropped_and_nothing_is_left(stops: float | None) -> None:
    async def scenario() -> None:
        peer = Peer(slow=100.0)
        await _stream(peer, send_seconds=30.0, stops=stops, settles=1.0)
        assert peer.aborted.is_set() or (stops is not None and stops < 30)

    run(scenario())


def test_long_silences_are_filled() -> None:
    async def silent() -> AsyncGenerator[bytes, None]:
        yield b"first;"
        await asyncio.sleep(50)
        yield b"last;"

    async def scenario() -> None:
        peer = Peer()
        events = silent()
        stream = EventStream(events, opening=await anext(events), heartbeat_seconds=15.0)
        await stream({}, peer.receive, peer.send)
        assert peer.got == b"first;" + b": keep-alive\n\n" * 3 + b"last;"

    run(scenario())
