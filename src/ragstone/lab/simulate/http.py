"""As much of HTTP/1.1 as model servers need, by hand: the server must never be what is measured.

Content-Length bodies, keep-alive, one request after another on a connection.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final, NamedTuple, cast

MAX_HEAD_BYTES: Final = 64 << 10
MAX_BODY_BYTES: Final = 64 << 20

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing sends a reset."""


class Request(NamedTuple):
    method: str
    path: str
    """Without the query."""
    body: bytes


Handler = Callable[[Request, "Connection"], None]


class Connection(asyncio.Protocol):
    """One client. The handler answers each request by `respond`, or by `write` and `finish`."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._received = b""
        self._busy = False
        self._last = False
        self.on_lost: Callable[[], None] | None = None
        """Called once if the client leaves before `finish`; set by the handler."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._busy = True
        self._left()

    def data_received(self, data: bytes) -> None:
        self._received = self._received + data if self._received else data
        if not self._busy:
            self._next()

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def respond(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """A whole JSON response, and the end of the request."""
        self.write(whole_response(status, body, headers))
        self.finish()

    def finish(self) -> None:
        """The answer is complete: the next request may be read."""
        self.on_lost = None
        self._busy = False
        if self._last:
            self._transport.close()
        elif self._received:
            asyncio.get_running_loop().call_soon(self._next)

    def cut(self) -> None:
        """Close the connection in the middle of the answer."""
        self.on_lost = None
        self._transport.close()

    def reset(self) -> None:
        """Close it with a TCP reset."""
        self.on_lost = None
        reset(self._transport)

    def _left(self) -> None:
        if (on_lost := self.on_lost) is not None:
            self.on_lost = None
            on_lost()

    def _next(self) -> None:
        if self._busy or self._transport.is_closing():
            return
        head, blank, rest = self._received.partition(b"\r\n\r\n")
        if not blank:
            if len(head) > MAX_HEAD_BYTES:
                self._refuse(431)
            return
        lines = head.split(b"\r\n")
        request = lines[0].split(b" ")
        headers = _headers(lines[1:])
        length = headers.get(b"content-length", b"0")
        if len(request) != 3 or not length.isdigit() or b"transfer-encoding" in headers:
            self._refuse(400)
            return
        size = int(length)
        if size > MAX_BODY_BYTES:
            self._refuse(413)
            return
        if len(rest) < size:
            return
        self._received = rest[size:]
        self._busy = True
        self._last = headers.get(b"connection", b"").lower() == b"close"
        path = request[1].partition(b"?")[0].decode("latin-1")
        self._handler(Request(request[0].decode("latin-1"), path, rest[:size]), self)

    def _refuse(self, status: int) -> None:
        self._busy = self._last = True
        self.respond(status, b'{"error":{"message":"not a request that is understood here"}}')


def _headers(lines: list[bytes]) -> dict[bytes, bytes]:
    pairs = (line.partition(b":") for line in lines)
    return {name.lower(): value.strip() for name, _, value in pairs}


def reset(transport: asyncio.Transport) -> None:
    """Close at once with a TCP reset, whatever is still unsent."""
    sock = transport.get_extra_info("socket")
    if sock is not None and not transport.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()


def response_head(
    status: int, headers: Mapping[str, str], *, content_type: str = "application/json"
) -> bytes:
    """Status line and headers, the blank line included."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}", f"Content-Type: {content_type}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def whole_response(
    status: int,
    body: bytes,
    headers: Mapping[str, str] | None = None,
    *,
    content_type: str = "application/json",
) -> bytes:
    """Head and body."""
    sized = {"Content-Length": str(len(body)), **(headers or {})}
    return response_head(status, sized, content_type=content_type) + body


STREAM_HEAD: Final = response_head(
    200,
    {"Transfer-Encoding": "chunked", "Cache-Control": "no-cache"},
    content_type="text/event-stream",
)
STREAM_END: Final = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """Data framed for `Transfer-Encoding: chunked`."""
    return b"%x\r\n%b\r\n" % (len(data), data)
