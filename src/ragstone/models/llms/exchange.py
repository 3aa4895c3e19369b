"""One streamed call to a model server: send, read, fail in typed ways, leave nothing open.

The wire formats differ only in their `Reading`: how events become text. Timeouts, errors
and the connection's fate are the same for all and live here. Nothing is sent twice:
retrying is the pipeline's decision.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Final, Protocol
from urllib.parse import urlsplit

import aiohttp
import msgspec

from ragstone.domain.errors import InvalidSettings, ModelError, ModelNotFound
from ragstone.models.llms.sse import EventStreamParser, ServerSentEvent
from ragstone.models.llms.upstream_errors import UpstreamErrors
from ragstone.ports import Clock, Finished, TextDelta

MAX_WHOLE_BODY_BYTES: Final = 8 << 20
"""Of a completion that comes in one piece."""

_MAX_ERROR_BODY_BYTES: Final = 64 << 10
_ERROR_BODY_SECONDS: Final = 5.0
_MODEL_LIST_SECONDS: Final = 2.0
_DRAIN_SECONDS: Final = 0.2
"""After the last event the body's end usually is in the same packet; only then can the
connection be used again. A server that leaves it open for longer loses the connection."""


class Reading(Protocol):
    """The state of one answer in one wire format."""

    def is_complete(self) -> bool:
        """The provider said why it stopped: whatever happens now, the text is whole."""
        ...

    def has_ended(self) -> bool:
        """The wire format's last event has come."""
        ...

    def event(self, event: ServerSentEvent) -> str:
        """The text in this event, often empty. Raises `ModelError`."""
        ...

    def whole(self, body: bytes) -> str:
        """The text of an answer that came as one JSON body. Raises `ModelError`."""
        ...

    def finished(self) -> Finished: ...


class _ModelEntry(msgspec.Struct, frozen=True):
    id: str = ""


class _ModelList(msgspec.Struct, frozen=True):
    data: list[_ModelEntry] = []


class Upstream:
    """A model server: its address, headers and errors, over the shared session."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        base_url: str,
        model: str,
        api_key: str,
        headers: Mapping[str, str],
        connect_seconds: float,
        clock: Clock,
    ) -> None:
        """Raises `InvalidSettings` when `base_url` is no http or https address."""
        server = _server_name(base_url)
        if "@" in urlsplit(base_url).netloc and "Authorization" in headers:
            raise InvalidSettings(
                "The address of the language model holds a password, and an API key is set too.",
                remedy="Take one of them out of RAGSTONE_LLM__BASE_URL and RAGSTONE_LLM__API_KEY.",
                field="llm.base_url",
            )
        self._session = session
        self._base_url = base_url.rstrip("/")
        self._headers = {"Content-Type": "application/json", **headers}
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds)
        self._clock = clock
        self._listed_models: list[str] | None = None
        self.errors = UpstreamErrors(server=server, model=model, api_key=api_key, clock=clock)

    async def stream(
        self, path: str, body: bytes, reading: Reading, *, deadline: float
    ) -> AsyncGenerator[TextDelta | Finished, None]:
        """Post `body` and give what `reading` makes of the answer.

        Closing this iterator before its end closes the connection; after its end the
        connection is in the pool again.
        """
        response = await self._open(path, body, deadline)
        watchdog = _Watchdog(response, deadline - self._clock.monotonic())
        try:
            if response.content_type == "application/json":
                whole = await self._read_whole(response, deadline, watchdog)
                if text := reading.whole(whole):
                    yield TextDelta(text)
            else:
                parser = EventStreamParser()
                while not reading.has_ended():
                    chunk = await self._read(
                        response, deadline, watchdog, complete=reading.is_complete()
                    )
                    if not chunk:
                        break
                    for event in parser.feed(chunk):
                        if text := reading.event(event):
                            yield TextDelta(text)
                        if reading.has_ended():
                            break
                await _drain(response)
        finally:
            watchdog.cancel()
            # Without effect once the body was read to its end.
            if not response.closed:
                response.close()
        if not reading.is_complete():
            raise self.errors.protocol("ended its answer without saying that it is complete")
        yield reading.finished()

    async def _open(self, path: str, body: bytes, deadline: float) -> aiohttp.ClientResponse:
        """The response, once its head is there and it is a success."""
        remaining = deadline - self._clock.monotonic()
        if remaining <= 0:
            raise self.errors.deadline()
        try:
            async with asyncio.timeout(remaining):
                response = await self._session.post(
                    f"{self._base_url}/{path}",
                    data=body,
                    headers=self._headers,
                    timeout=self._timeout,
                    allow_redirects=False,
                )
        except (aiohttp.ClientError, OSError) as error:
            # A TimeoutError is an OSError; that of a connection is a ClientError as well.
            if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ClientError):
                raise self.errors.deadline() from error
            raise self.errors.unreachable(error) from error
        if 200 <= response.status < 300:
            return response
        raise await self._refused(response, deadline)

    async def _refused(self, response: aiohttp.ClientResponse, deadline: float) -> ModelError:
        body = b""
        limit = min(_ERROR_BODY_SECONDS, max(0.0, deadline - self._clock.monotonic()))
        try:
            async with asyncio.timeout(limit):
                body = await _read_up_to(response, _MAX_ERROR_BODY_BYTES)
        except (aiohttp.ClientError, OSError):
            pass  # The status says enough; the body would only have added words.
        finally:
            response.close()
        error = self.errors.from_status(response.status, response.headers, body)
        if isinstance(error, ModelNotFound):
            return self.errors.model_not_found(await self._models(deadline))
        return error

    async def _models(self, deadline: float) -> list[str]:
        """The names that the server lists, asked once; empty where it does not say."""
        if self._listed_models is not None:
            return self._listed_models
        self._listed_models = []
        limit = min(_MODEL_LIST_SECONDS, max(0.0, deadline - self._clock.monotonic()))
        try:
            async with (
                asyncio.timeout(limit),
                self._session.get(
                    f"{self._base_url}/models",
                    headers=self._headers,
                    timeout=self._timeout,
                    allow_redirects=False,
                ) as response,
            ):
                if response.status == 200:
                    body = await _read_up_to(response, _MAX_ERROR_BODY_BYTES)
                    listed = msgspec.json.decode(body, type=_ModelList)
                    self._listed_models = [entry.id for entry in listed.data if entry.id]
        except (aiohttp.ClientError, OSError, msgspec.MsgspecError, UnicodeDecodeError):
            pass  # A convenience in an error message must not become another error.
        return self._listed_models

    async def _read(
        self,
        response: aiohttp.ClientResponse,
        deadline: float,
        watchdog: "_Watchdog",
        *,
        complete: bool,
    ) -> bytes:
        """The next bytes; empty at the end, also at a broken end of a complete answer."""
        try:
            chunk: bytes = await response.content.readany()
        except (aiohttp.ClientError, aiohttp.http.HttpProcessingError, OSError) as error:
            if complete:
                return b""
            if watchdog.has_bitten:
                raise self.errors.deadline() from error
            raise self.errors.protocol("broke off in the middle of its answer") from error
        if chunk and not complete and self._clock.monotonic() >= deadline:
            raise self.errors.deadline()
        return chunk

    async def _read_whole(
        self, response: aiohttp.ClientResponse, deadline: float, watchdog: "_Watchdog"
    ) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while chunk := await self._read(response, deadline, watchdog, complete=False):
            pieces.append(chunk)
            size += len(chunk)
            if size > MAX_WHOLE_BODY_BYTES:
                raise self.errors.protocol(f"answered with more than {MAX_WHOLE_BODY_BYTES} bytes")
        return b"".join(pieces)


class _Watchdog:
    """Closes a response on time, which wakes whoever reads it.

    One timer a stream and none a read. `asyncio.timeout` cannot do it: around a `yield` it
    would cancel the consumer.
    """

    def __init__(self, response: aiohttp.ClientResponse, seconds: float) -> None:
        self._response = response
        self._timer = asyncio.get_running_loop().call_later(max(0.0, seconds), self._bite)
        self.has_bitten = False

    def cancel(self) -> None:
        self._timer.cancel()

    def _bite(self) -> None:
        self.has_bitten = True
        self._response.close()


async def _read_up_to(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """At most `limit` bytes of the body; what follows is not read."""
    body = bytearray()
    while len(body) < limit and (chunk := await response.content.readany()):
        body += chunk
    return bytes(body[:limit])


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Read to the end of the body, so that the connection goes back to the pool."""
    if response.content.at_eof():
        return
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            while await response.content.readany():
                pass
    except (aiohttp.ClientError, aiohttp.http.HttpProcessingError, OSError):
        response.close()


def _server_name(base_url: str) -> str:
    """Host and port for messages: never a user name or password of the address."""
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidSettings(
            "The address of the language model is not an http or https address.",
            remedy="Set RAGSTONE_LLM__BASE_URL to something like http://localhost:11434/v1.",
            field="llm.base_url",
        )
    return f"{parts.hostname}:{port}" if port else parts.hostname
