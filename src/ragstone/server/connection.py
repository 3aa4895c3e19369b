"""A client's connection: uvicorn's, with what it leaves to do."""

import asyncio
from typing import Any

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from ragstone.server.event_stream import ABORT

_log = structlog.get_logger("ragstone.request")


class Connection(HttpToolsProtocol):
    """Drops a client that takes nothing of what was written for `send_seconds`.

    The server buffers a whole answer and the request has ended then, so nothing else looks.
    Closing would wait for a client that never reads; a response can abort by itself too.
    """

    def __init__(self, *args: Any, send_seconds: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._send_seconds = send_seconds
        self._look: asyncio.TimerHandle | None = None

    def on_headers_complete(self) -> None:
        self.scope.setdefault("extensions", {})[ABORT] = {"call": self.transport.abort}
        super().on_headers_complete()
        held: Any = HeldHead(self.cycle, self.loop)
        self.cycle.transport = held

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if not self.flow.write_paused:
            self._unwatch_writing()  # what is unread may grow again

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unwatch_writing()
        self._watch_rest()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch_rest()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch_writing()
        if self.cycle is not None:
            self.cycle.transport = self.transport  # a head still held knows its cycle: no garbage
        super().connection_lost(exc)

    def _watch_rest(self) -> None:
        """What is unread of an ended response only becomes less, and may be too little for a
        pause."""
        # There is no cycle where all that was asked was answered without one.
        ended = self.cycle is None or self.cycle.response_complete
        if ended and self.transport.get_write_buffer_size():
            self._watch_writing()

    def _watch_writing(self) -> None:
        self._unwatch_writing()
        unread = self.transport.get_write_buffer_size()
        self._look = self.loop.call_later(self._send_seconds, self._look_at_writing, unread)

    def _unwatch_writing(self) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def _look_at_writing(self, unread: int) -> None:
        left = self.transport.get_write_buffer_size()
        if left and left >= unread:
            _log.info("client stopped reading", seconds=self._send_seconds)
            self.transport.abort()
        elif left:
            self._watch_writing()


class HeldHead:
    """In the place of a transport until a response begins: its head goes out with what follows.

    Written apart, as the server does, the two are two system calls, and wake the client twice.
    A head that nothing follows at once goes out in the loop's next turn.
    """

    __slots__ = ("_cycle", "_head", "_later", "_loop", "_transport")

    def __init__(self, cycle: RequestResponseCycle, loop: asyncio.AbstractEventLoop) -> None:
        self._cycle = cycle
        self._loop = loop
        self._transport = cycle.transport
        self._head = b""
        self._later: asyncio.Handle | None = None

    def write(self, data: bytes) -> None:
        if self._later is None:
            self._head = data
            self._later = self._loop.call_soon(self._release, b"")
        else:
            self._later.cancel()
            self._release(data)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._release(b"")
        self._transport.close()

    def _release(self, data: bytes) -> None:
        self._cycle.transport = self._transport
        if not self._transport.is_closing():
            self._transport.writelines((self._head, data))
