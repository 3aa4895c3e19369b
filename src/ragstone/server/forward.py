"""Requests that a gateway hands on to its engine as they are, both bodies streamed.

The engine decides about them as if the client had connected to it: it gets the client's own
headers, and the address it came from with the engine's token as a voucher.
"""

import asyncio
import hmac
from collections.abc import AsyncGenerator, Iterable
from typing import Final
from urllib.parse import quote

import aiohttp
import structlog
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send
from yarl import URL

from ragstone.domain.errors import DependencyError
from ragstone.hop.address import EngineAddress
from ragstone.hop.messages import PEER_HEADER, VOUCHER_HEADER
from ragstone.observe.metrics import Metrics
from ragstone.observe.trace import new_trace_id
from ragstone.server.errors import error_response, stopping
from ragstone.server.event_stream import drop
from ragstone.server.leaving import Client

_OF_ONE_CONNECTION: Final = frozenset(
    {
        *("connection", "keep-alive", "proxy-connection", "te", "trailer"),
        *("transfer-encoding", "upgrade", "expect", VOUCHER_HEADER, PEER_HEADER),
    }
)
"""Not handed on (RFC 9110, 7.6.1), and what only a gateway may say."""

_NEVER_OF_ONE: Final = frozenset({"content-length", "content-type", "authorization", "host"})
"""Of the request itself, whatever `Connection` says of them."""

_VOUCHER: Final = VOUCHER_HEADER.encode()
_PEER: Final = PEER_HEADER.encode()
_REPEATABLE: Final = frozenset({"GET", "HEAD"})
_PAUSE_SECONDS: Final = 0.05
_CHUNK_BYTES: Final = 1 << 16

_log = structlog.get_logger("ragstone.forward")


class Forward:
    """An ASGI application: the engine's answer to each request."""

    def __init__(
        self,
        address: EngineAddress,
        *,
        token: str,
        metrics: Metrics,
        timeout_seconds: float,
        answer_seconds: float,
    ) -> None:
        """`timeout_seconds` bounds the wait for an engine that is not there, and
        `answer_seconds` each silence of one that is."""
        self._address = address
        self._token = token
        self._metrics = metrics
        self._timeout_seconds = timeout_seconds
        self._timeout = aiohttp.ClientTimeout(total=None, sock_read=answer_seconds)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = _Exchange(scope, receive, send)
        try:
            async with Client(exchange.receive_after_body).listening():
                await self._carry(exchange)
        except ClientDisconnect:  # the engine's connection was closed, which ends its work
            return
        except asyncio.CancelledError:  # nobody but the stopping server cancels a request
            await exchange.break_off()

    async def _carry(self, exchange: "_Exchange") -> None:
        waiting_until = asyncio.get_running_loop().time() + self._timeout_seconds
        while True:
            try:
                await self._hand_on(exchange)
                return
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                if exchange.client_left:
                    return
                in_time = asyncio.get_running_loop().time() < waiting_until
                if not (in_time and exchange.may_be_repeated(error)):
                    await self._fail(exchange, error)
                    return
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _hand_on(self, exchange: "_Exchange") -> None:
        scope = exchange.scope
        async with self._opened().request(
            scope["method"],
            URL(self._address.base_url + _target(scope), encoded=True),
            headers=self._headers(scope),
            data=exchange.request_body(),
            timeout=self._timeout,
            allow_redirects=False,
        ) as response:
            await exchange.begin(response)
            async for piece in response.content.iter_chunked(_CHUNK_BYTES):
                await exchange.go_on(piece)
            await exchange.end()

    def _headers(self, scope: Scope) -> list[tuple[str, str]]:
        hop = _of_one_connection(scope["headers"])
        kept = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in scope["headers"]
            if name.decode("latin-1") not in hop
        ]
        return [*kept, (VOUCHER_HEADER, self._token), (PEER_HEADER, self._peer(scope))]

    def _peer(self, scope: Scope) -> str:
        """Where the client is: what a gateway on another host says of it, or whence it came."""
        said = {name: value for name, value in scope["headers"] if name in (_VOUCHER, _PEER)}
        if hmac.compare_digest(said.get(_VOUCHER, b""), self._token.encode()):
            return str(said.get(_PEER, b"").decode("latin-1"))
        return str(scope["client"][0]) if scope.get("client") else ""

    async def _fail(self, exchange: "_Exchange", error: Exception) -> None:
        """A clear refusal where nothing was sent yet; else the connection ends, unfinished."""
        _log.warning("not handed on", path=exchange.scope["path"], reason=repr(error))
        self._metrics.requests.labels("forwarded", "none", "error").inc()
        if exchange.answering:
            raise error
        refusal = DependencyError(
            "The engine did not answer; whether it carried the request out is not known."
            if _was_sent(error)
            else "The engine is not there; the request was not carried out.",
            remedy="Look whether it is there, then send the request again.",
            retry_after=1.0,
        )
        response = error_response(refusal, new_trace_id())
        response.headers["Connection"] = "close"  # the rest of its body is not read
        await response(exchange.scope, exchange.receive, exchange.send)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            # A connection for each request: on a kept one that has just ended, the client
            # would send some requests again by itself.
            socket = self._address.socket
            connector: aiohttp.BaseConnector = (
                aiohttp.UnixConnector(socket, force_close=True, limit=0)
                if socket is not None
                else aiohttp.TCPConnector(force_close=True, limit=0)
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )
        return self._session


class _Exchange:
    """One request of a client, and how far it has come."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.client_left = False
        """Before its request was whole."""
        self.answering = False
        """The client has seen some of the answer."""
        names = {name for name, _ in scope["headers"]}
        self._has_body = b"content-length" in names or b"transfer-encoding" in names
        self._whole = asyncio.Event()
        """Set when the request's body is through."""
        if not self._has_body:
            self._whole.set()

    def may_be_repeated(self, error: Exception) -> bool:
        """Nothing was sent, or sending it twice does no harm."""
        if self.answering or isinstance(error, TimeoutError):
            return False
        reads = self.scope["method"] in _REPEATABLE and not self._has_body
        return reads or not _was_sent(error)

    def request_body(self) -> AsyncGenerator[bytes, None] | None:
        return self._pieces() if self._has_body else None

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        more = True
        while more:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                self.client_left = True
                raise ClientDisconnect  # aiohttp makes an error of its own of it
            if body := message.get("body", b""):
                yield body
            more = message.get("more_body", False)
        self._whole.set()

    async def receive_after_body(self) -> Message:
        await self._whole.wait()
        return await self.receive()

    async def begin(self, response: aiohttp.ClientResponse) -> None:
        hop = _of_one_connection(response.raw_headers)
        headers = [
            (name.lower(), value)
            for name, value in response.raw_headers
            if name.decode("latin-1").lower() not in hop
            and name.lower() not in (b"date", b"server")
        ]
        if response.status == 408:
            headers.append((b"connection", b"close"))  # the rest of the body is not waited for
        self.answering = True
        start = {"type": "http.response.start", "status": response.status, "headers": headers}
        await self.send(start)

    async def go_on(self, piece: bytes) -> None:
        await self.send({"type": "http.response.body", "body": piece, "more_body": True})

    async def end(self) -> None:
        await self.send({"type": "http.response.body", "body": b"", "more_body": False})

    async def break_off(self) -> None:
        """The server stops: say so, or where an answer has begun, let it end unfinished."""
        if self.answering:
            await drop(self.scope, self.receive)
        else:
            response = error_response(stopping(), new_trace_id())
            await response(self.scope, self.receive, self.send)


def _of_one_connection(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[str]:
    """Names in lower case of what is not handed on, also by the word of `Connection`."""
    named = {
        token.strip().lower()
        for name, value in headers
        if name.lower() == b"connection"
        for token in value.decode("latin-1").split(",")
    }
    return _OF_ONE_CONNECTION | (named - _NEVER_OF_ONE)


def _was_sent(error: Exception) -> bool:
    """Whether the engine may have seen some of the request."""
    return not isinstance(error, aiohttp.ClientConnectorError)


def _target(scope: Scope) -> str:
    """Path and query as the client wrote them."""
    raw: bytes | None = scope.get("raw_path")
    path = raw.decode("latin-1") if raw else quote(scope["path"])
    query: bytes = scope.get("query_string", b"")
    return f"{path}?{query.decode('latin-1')}" if query else path
