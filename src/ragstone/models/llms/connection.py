"""The pool of connections that all model adapters share."""

import socket
from typing import Final

import aiohttp

KEEP_ALIVE_SECONDS: Final = 15.0
"""Idle time after which a connection is given up; above it many servers close on their side."""

DNS_CACHE_SECONDS: Final = 60
"""A name is looked up once a minute, not once a question."""

READ_BUFFER_BYTES: Final = 1 << 16
"""Past twice this, a server that sends faster than the client reads is made to wait."""


async def open_session(*, max_connections: int = 256) -> aiohttp.ClientSession:
    """A session for every model call of this process; the caller closes it.

    A coroutine because the session belongs to the event loop that runs it. There is no
    total timeout: each call has its own absolute deadline. Requests over `max_connections`
    wait for a connection, within that deadline. No cookies are kept and no proxy, netrc or
    other setting of the environment is read, so that nothing of one call reaches another.
    """
    connector = aiohttp.TCPConnector(
        limit=max_connections,
        ttl_dns_cache=DNS_CACHE_SECONDS,
        keepalive_timeout=KEEP_ALIVE_SECONDS,
        socket_factory=_open_socket,
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        read_bufsize=READ_BUFFER_BYTES,
        raise_for_status=False,
        trust_env=False,
        # Deltas must come as they are made, not when a compressor's window is full.
        headers={"Accept-Encoding": "identity", "User-Agent": "ragstone"},
    )


def _open_socket(address: "aiohttp.AddrInfoType") -> socket.socket:
    """With keep-alive probes, so that a peer which vanished mid-stream is noticed."""
    family, kind, protocol, _, _ = address
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return sock
