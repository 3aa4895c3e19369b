"""One kept HTTP/1.1 connection that carries one exchange at a time.

A general client costs more for an exchange than a search does; this one writes a prepared
head and one body, and reads one answer.
"""

import asyncio
from collections.abc import Callable
from typing import cast

import httptools


class ConnectionBroken(Exception):
    """It ended, or carried something that is not HTTP, before the answer was whole."""


class EngineConnection(asyncio.Protocol):
    """Ready once connected; `on_lost` is called with it when it has ended."""

    def __init__(self, on_lost: Callable[["EngineConnection"], None]) -> None:
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[tuple[int, bytes]] | None = None
        self._parser = httptools.HttpResponseParser(self)
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
        timer = loop.call_later(seconds, self._give_up)  # a third of what a timeout costs
        self._transport.write(request)
        try:
            return await self._waiter
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            timer.cancel()
            self._waiter = None

    def _give_up(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(TimeoutError())
            self.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(ConnectionBroken())
        self._on_lost(self)

    # What the parser calls

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body = []
        status, kept = self._parser.get_status_code(), self._parser.should_keep_alive()
        self._parser = httptools.HttpResponseParser(self)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result((status, body))
        if not kept:
            self.close()
