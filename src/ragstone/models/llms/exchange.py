"""One streamed call to a model server: send, read, fail in typed ways, leave nothing open.

The wire formats differ only in what they send and in their `Reading`: how events become text.
Timeouts, errors and the connection's fate are the same for all and live here. Nothing is sent
twice: retrying is the route's decision.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol
from urllib.parse import urlsplit

import aiohttp
import msgspec
import structlog

from ragstone.domain.errors import InvalidSettings, ModelError, ModelNotFound, RagstoneError
from ragstone.models.llms.pacing import Pace, StreamPace
from ragstone.models.llms.rest import Rest
from ragstone.models.llms.sent_body import Sending, SentBody
from ragstone.models.llms.sse import EventStreamParser, ServerSentEvent
from ragstone.models.llms.upstream_errors import UpstreamErrors
from ragstone.models.llms.watchdog import Limit, Watchdog
from ragstone.ports import Clock, Finished, Prompt, TextDelta

MAX_WHOLE_BODY_BYTES: Final = 8 << 20
"""Of a completion that comes in one piece."""

_MAX_ERROR_BODY_BYTES: Final = 64 << 10
_ERROR_BODY_SECONDS: Final = 5.0
_MODEL_LIST_SECONDS: Final = 2.0
_DRAIN_SECONDS: Final = 0.2
"""After the last event the body's end usually is in the same packet; only then can the
connection be used again. A server that leaves it open for longer loses the connection."""

_log = structlog.get_logger("ragstone.models")


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Seconds. The whole has the deadline of each call."""

    connect: float
    first_token: float
    """From asking to the first content; waiting for a connection is part of it."""
    gap: float
    """Between two contents. Bytes without content do not count."""


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


class StreamedModel(ABC):
    """Implements `ports.LanguageModel` for a wire format: its path, bodies and readings.

    Errors: see `upstream_errors`. The session is shared and stays open at `close`.
    """

    path: ClassVar[str]

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        model: str,
        clock: Clock,
        base_url: str,
        api_key: str,
        headers: Mapping[str, str],
        limits: StreamLimits,
        pace: Pace,
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
        self._server = server
        self._model = model
        self._base_url = base_url.rstrip("/")
        self._headers = {"Content-Type": "application/json", **headers}
        self._limits = limits
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=limits.connect)
        self._pace = pace
        self._clock = clock
        self._listed_models: list[str] | None = None
        self._errors = UpstreamErrors(server=server, model=model, api_key=api_key, clock=clock)

    @property
    def name(self) -> str:
        return self._model

    async def close(self) -> None:  # noqa: B027
        """Nothing of its own to close."""

    @abstractmethod
    def _body(self, prompt: Prompt) -> bytes:
        """What is posted to `path`."""

    @abstractmethod
    def _reading(self) -> Reading:
        """Of one answer."""

    async def stream(
        self, prompt: Prompt, *, deadline: float
    ) -> AsyncGenerator[TextDelta | Finished, None]:
        """As the port says; all text that arrives together is one delta.

        Closing this iterator before its end closes the connection; after its end the
        connection is in the pool again. Raises `ModelTimedOut` at a limit.
        """
        now = asyncio.get_running_loop().time()
        ends = now + deadline - self._clock.monotonic()
        sending = Sending(self._clock.monotonic)
        response = await self._open(SentBody(self._body(prompt), sending), deadline)
        watchdog = Watchdog(
            response.close,
            began=now, first_token=self._limits.first_token, gap=self._limits.gap, ends=ends,
        )  # fmt: skip
        reading, pace, rest, joined = self._reading(), StreamPace(self._pace), Rest(), False
        try:
            if _is_json(response):
                if text := reading.whole(await self._read_whole(response, deadline, watchdog)):
                    yield TextDelta(text, waited=sending.ago())
            else:
                parser = EventStreamParser()
                while chunk := await self._read(response, deadline, watchdog, reading):
                    texts, problem = _texts(parser, chunk, reading)
                    if texts:
                        watchdog.hold()
                        waited = sending.ago() if pace.contents == 0 else None
                        yield TextDelta("".join(texts), joined=joined, waited=waited)
                        pause = pace.rest(len(texts), self._clock.monotonic())
                        joined = not reading.is_complete() and rest.begin(response, pause)
                        watchdog.resume(pause if joined else 0.0)
                    if problem is not None:
                        raise problem
                    if reading.has_ended():
                        await _drain(response)
                        break
        finally:
            rest.cancel()
            watchdog.cancel()
            # Without effect once the body was read to its end.
            if not response.closed:
                response.close()
        if not reading.is_complete():
            raise self._errors.protocol("ended its answer without saying that it is complete")
        yield reading.finished()

    async def _open(self, body: SentBody, deadline: float) -> aiohttp.ClientResponse:
        """The response, once its head is there and it is a success."""
        remaining = deadline - self._clock.monotonic()
        if remaining <= 0:
            raise self._errors.deadline()
        first = self._limits.first_token
        try:
            async with asyncio.timeout(min(remaining, first)):
                response = await self._session.post(
                    f"{self._base_url}/{self.path}",
                    data=body,
                    headers=self._headers,
                    timeout=self._timeout,
                    allow_redirects=False,
                )
        except (aiohttp.ClientError, OSError) as error:
            # A TimeoutError is an OSError; that of a connection is a ClientError as well.
            if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ClientError):
                limit: Limit = "deadline" if remaining <= first else "first_token"
                raise self._too_late(limit) from error
            raise self._errors.unreachable(error) from error
        if 200 <= response.status < 300:
            return response
        raise await self._refused(response, deadline)

    def _too_late(self, limit: Limit) -> RagstoneError:
        if limit == "deadline":
            return self._errors.deadline()
        seconds = self._limits.gap if limit == "gap" else self._limits.first_token
        return self._errors.silent(limit, seconds)

    async def _refused(self, response: aiohttp.ClientResponse, deadline: float) -> ModelError:
        body = b""
        limit = min(_ERROR_BODY_SECONDS, max(0.0, deadline - self._clock.monotonic()))
        try:
            async with asyncio.timeout(limit):
                body = await _read_up_to(response, _MAX_ERROR_BODY_BYTES)
        except (aiohttp.ClientError, OSError) as problem:
            # The status says enough; the body would only have added words.
            self._note("the body of a model server's refusal was not read", problem)
        finally:
            response.close()
        error = self._errors.from_status(response.status, response.headers, body)
        if isinstance(error, ModelNotFound):
            return self._errors.model_not_found(await self._models(deadline))
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
        except (aiohttp.ClientError, OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            # A convenience in an error message must not become another error.
            self._note("a model server does not list its models", error)
        return self._listed_models

    def _note(self, event: str, error: Exception) -> None:
        _log.debug(event, server=self._server, model=self._model, reason=type(error).__name__)

    async def _read(
        self,
        response: aiohttp.ClientResponse,
        deadline: float,
        watchdog: Watchdog,
        reading: Reading | None,
    ) -> bytes:
        """The next bytes; empty at the end, also at a broken end of a complete answer."""
        try:
            chunk: bytes = await response.content.readany()
        except (aiohttp.ClientError, aiohttp.http.HttpProcessingError, OSError) as error:
            if _is_complete(reading):
                return b""
            if watchdog.limit is not None:
                raise self._too_late(watchdog.limit) from error
            raise self._errors.protocol("broke off in the middle of its answer") from error
        if chunk and self._clock.monotonic() >= deadline and not _is_complete(reading):
            raise self._errors.deadline()
        return chunk

    async def _read_whole(
        self, response: aiohttp.ClientResponse, deadline: float, watchdog: Watchdog
    ) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while chunk := await self._read(response, deadline, watchdog, None):
            pieces.append(chunk)
            size += len(chunk)
            if size > MAX_WHOLE_BODY_BYTES:
                raise self._errors.protocol(f"answered with more than {MAX_WHOLE_BODY_BYTES} bytes")
        return b"".join(pieces)


def _is_json(response: aiohttp.ClientResponse) -> bool:
    """As `response.content_type` says, whose first use makes each response 1.4 kB larger."""
    media, _, _ = response.headers.get("Content-Type", "").partition(";")
    return media.strip().lower() == "application/json"


def _is_complete(reading: Reading | None) -> bool:
    return reading is not None and reading.is_complete()


def _texts(
    parser: EventStreamParser, chunk: bytes, reading: Reading
) -> tuple[list[str], ModelError | None]:
    """The texts of one read, and the error that came after them."""
    texts: list[str] = []
    try:
        for event in parser.feed(chunk):
            if text := reading.event(event):
                texts.append(text)
            if reading.has_ended():
                break
    except ModelError as error:
        return texts, error
    return texts, None


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
