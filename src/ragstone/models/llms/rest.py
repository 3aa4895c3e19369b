"""A rest between two reads of a stream, so that the next one finds more."""

import asyncio
from typing import Protocol

import aiohttp


class _Transport(Protocol):
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def is_closing(self) -> bool: ...


class Rest:
    """Leaves what comes in the kernel's buffer, where it costs nothing. One at a time.

    The reader waits in its read, and not in a sleep before it: each time it is woken it is
    woken through everything that the text passes on its way to the client.
    """

    __slots__ = ("_timer",)

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, response: aiohttp.ClientResponse, seconds: float) -> bool:
        """Whether it did. Nothing may be buffered above the transport, which is paused without
        the knowledge of aiohttp's flow control: the next read must not resume it."""
        connection = response.connection
        if not seconds or connection is None or connection.transport is None:
            return False
        self.cancel()  # a rest that a read from what was buffered has ended
        connection.transport.pause_reading()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, _end, connection.transport)
        return True

    def cancel(self) -> None:
        """For a connection that is closed next, or was read to its end."""
        if self._timer is not None:
            self._timer.cancel()


def _end(transport: _Transport) -> None:
    if not transport.is_closing():
        transport.resume_reading()
