"""One kept HTTP/1.1 connection that carries one exchange at a time.

A general client costs more for an exchange than a search does; this one writes a prepared
head and one body, and reads one answer. One that begins as an engine's on this machine does, and
comes in one piece, it takes without parsing.
"""

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

from ragstone.hop.messages import ANSWER_HEAD


class ConnectionBroken(Exception):
    """It ended, or carried something that is not HTTP, before the answer was whole."""


class EngineConnection(asyncio.Protocol):
    """Ready once connected; `on_lost` is called with it when it has ended."""

    def __init__(self, on_lost: Callable[["EngineConnection"], None]) -> None:
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[tuple[int, bytes]] | None = None
        self._until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        """Set for the first of many exchanges: each would be cancelled in vain."""
        self._parser: httptools.HttpResponseParser | None = None
        """Of an answer whose beginning has come."""
        self._body: list[bytes] = []

    @property
    def is_usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(self, request: bytes, seconds: float) -> tuple[int, bytes]:
        """Status and body. Raises `ConnectionBroken`, and `TimeoutError` after so long.

        Given up or cancelled, it closes the connection: the answer would come for nobody.
        """
        if not self.is_usable:
            raise ConnectionBroken
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        self._until = loop.time() + seconds
        if self._timer is None or self._timer.when() > self._until:
            self._look_at(self._until, loop)
        self._transport.write(request)
        try:
            return await self._waiter
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            self._waiter = None

    def _look_at(self, at: float, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(at, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        if loop.time() < self._until:  # of a later exchange
            self._look_at(self._until, loop)
        else:
            self._waiter.set_exception(TimeoutError())
            self.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it

    def data_received(self, data: bytes) -> None:
        if self._parser is None:
            if data.startswith(ANSWER_HEAD):
                head_end = data.find(b"\r\n\r\n", len(ANSWER_HEAD))
                body = data[head_end + 4 :]
                if head_end > 0 and data[len(ANSWER_HEAD) : head_end] == b"%d" % len(body):
                    self._answer(200, body)
                    return
            self._parser = httptools.HttpResponseParser(self)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(ConnectionBroken())
        if self._timer is not None:
            self._timer.cancel()
        self._on_lost(self)

    def _answer(self, status: int, body: bytes) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result((status, body))

    # What the parser calls

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        assert self._parser is not None
        body, parser = b"".join(self._body), self._parser
        self._body, self._parser = [], None
        self._answer(parser.get_status_code(), body)
        if not parser.should_keep_alive():
            self.close()
