"""An HTTP/1.1 client that costs little: one protocol object a connection, no task a request.

Connections are kept and reused, the last one first, and there is no limit to their number: one
would turn the open model into a closed one.
"""

import asyncio
import errno
import ssl
from collections.abc import Callable
from typing import Final, cast

import httptools

from ragstone.lab.load.exchange import Exchange
from ragstone.lab.load.outcome import Outcome
from ragstone.lab.load.reading import Reader, reader_for
from ragstone.lab.load.target import Target

_IDLE_SECONDS: Final = 2.0
"""A kept connection is not used after so long: servers close idle ones, and a request that meets
the closing would count as an error of theirs. Uvicorn, the shortest we know, waits 5 s."""

_OUR_FAULT: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
"""The generator has no more sockets: this says nothing about the target."""


class LoadClient:
    """Sends requests to one target. Used from one event loop."""

    def __init__(
        self,
        target: Target,
        *,
        chat: bool,
        streamed: bool,
        now: Callable[[], float],
        on_gap: Callable[[float], None],
    ) -> None:
        self.chat, self.streamed, self.now, self.on_gap = chat, streamed, now, on_gap
        self._target = target
        self._tls = ssl.create_default_context() if target.tls else None
        self._idle: list[Connection] = []
        self._connecting: set[asyncio.Task[None]] = set()
        self._open: set[Connection] = set()
        self._last_closed = asyncio.Event()

    @property
    def open_connections(self) -> int:
        return len(self._open)

    def start(self, exchange: Exchange, request: bytes) -> None:
        """Send it now; the exchange says when it has ended."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable(self.now() - _IDLE_SECONDS):
                connection.send(exchange, request)
                return
            connection.close()
        task = asyncio.get_running_loop().create_task(self._connect(exchange, request))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        exchange.abandon = task.cancel

    async def close(self) -> None:
        """Drop all connections, and wait until they are gone."""
        for task in list(self._connecting):
            task.cancel()
        for connection in list(self._open):
            connection.abort()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        if self._open:
            await self._last_closed.wait()

    async def _connect(self, exchange: Exchange, request: bytes) -> None:
        target = self._target
        name = target.host.rpartition(":")[0] or target.host
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: Connection(self),
                target.address,
                target.port,
                ssl=self._tls,
                server_hostname=name if self._tls else None,
            )
        except OSError as error:
            if error.errno in _OUR_FAULT:
                exchange.finish(self.now(), Outcome.UNSENT, "no_sockets")
            else:
                exchange.finish(self.now(), Outcome.ERROR, "connect_failed")
            return
        if exchange.outcome is None:
            connection.send(exchange, request)
        else:
            connection.abort()

    def opened(self, connection: "Connection") -> None:
        self._open.add(connection)
        self._last_closed.clear()

    def closed(self, connection: "Connection") -> None:
        self._open.discard(connection)
        if not self._open:
            self._last_closed.set()

    def keep(self, connection: "Connection") -> None:
        self._idle.append(connection)


class Connection(asyncio.Protocol):
    """One connection, with at most one request on it."""

    __slots__ = (
        "_alive",
        "_client",
        "_exchange",
        "_framed",
        "_idle_since",
        "_now",
        "_parser",
        "_reader",
        "_transport",
    )

    def __init__(self, client: LoadClient) -> None:
        self._client = client
        self._parser = httptools.HttpResponseParser(self)
        self._exchange: Exchange | None = None
        self._reader: Reader | None = None
        self._alive = False
        self._framed = False
        self._now = self._idle_since = 0.0

    def usable(self, since: float) -> bool:
        """Still open, and used after `since`."""
        return self._alive and self._idle_since >= since

    def send(self, exchange: Exchange, request: bytes) -> None:
        self._exchange, self._reader, self._framed = exchange, None, False
        exchange.abandon = self.abort
        self._transport.write(request)

    def abort(self) -> None:
        self._exchange = self._reader = None
        self._alive = False
        self._transport.abort()

    def close(self) -> None:
        self._alive = False
        self._transport.close()

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is of no common class
        self._alive = True
        self._client.opened(self)

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:  # it talks without being asked
            self.abort()
            return
        self._now = self._client.now()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            exchange.heard.malformed = True
            exchange.complete(self._now, whole=False)
            self.abort()
            return

    def eof_received(self) -> None:
        """Closing ends a body that neither a length nor chunks delimit (RFC 9112, 6.3)."""
        if self._exchange is not None and self._reader is not None and not self._framed:
            self.on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._alive = False
        self._client.closed(self)
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            if not exchange.status:
                exchange.finish(self._client.now(), Outcome.ERROR, "connection_lost")
            exchange.complete(self._client.now(), whole=False)

    # What the parser calls

    def on_header(self, name: bytes, value: bytes) -> None:
        lowered = name.lower()
        exchange = self._exchange
        if lowered in (b"content-length", b"transfer-encoding"):
            self._framed = True
        elif exchange is None:
            return
        elif lowered == b"retry-after":
            exchange.retry_after = value.decode("latin-1")
        elif lowered == b"x-trace-id":
            exchange.trace_id = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        exchange.status = self._parser.get_status_code()
        client = self._client
        self._reader = reader_for(
            exchange.heard, exchange.status, chat=client.chat, streamed=client.streamed
        )

    def on_body(self, data: bytes) -> None:
        if self._reader is not None and self._exchange is not None:
            before = self._exchange.heard.contents
            self._reader.feed(data)
            self._look_for_content(self._exchange, before)

    def on_message_complete(self) -> None:
        exchange, reader = self._exchange, self._reader
        if exchange is None or reader is None:
            return
        before = exchange.heard.contents
        reader.close()
        self._look_for_content(exchange, before)
        if self._exchange is None:  # the last piece was the one at which the client leaves
            return
        self._exchange = self._reader = None
        if self._parser.should_keep_alive() and self._framed:
            self._idle_since = self._now
            self._client.keep(self)
        else:
            self.close()
        exchange.complete(self._now, whole=True)

    def _look_for_content(self, exchange: Exchange, before: int) -> None:
        """Pieces that came together are one arrival: what a reader waits for is the next one."""
        if exchange.heard.contents == before:
            return
        if exchange.first != exchange.first:  # not a number: none yet
            exchange.first = self._now
        elif self._now > exchange.last:
            self._client.on_gap(self._now - exchange.last)
        exchange.last = self._now
        if exchange.heard.contents >= exchange.leave_after:
            exchange.give_up(self._now, Outcome.LEFT)
