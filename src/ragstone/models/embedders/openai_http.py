"""Any server that speaks OpenAI's `POST /v1/embeddings`."""

import asyncio
import base64
import binascii
from collections.abc import Sequence
from email.utils import parsedate_to_datetime

import aiohttp
import msgspec
import numpy as np
from numpy.typing import NDArray

from ragstone.domain.clock import SystemClock
from ragstone.domain.collection import EmbedderIdentity
from ragstone.domain.errors import EmbedderError, EmbedderRejected
from ragstone.domain.meter import count_tokens
from ragstone.ports import Clock

_CHARS_PER_TOKEN = 4
"""Of English in the vocabularies in use (OpenAI's own rule of thumb)."""
_BYTES_PER_NUMBER = 40
"""Generous: JSON writes a float64 in at most 25 characters and a separator."""
_SPARE_BYTES = 1 << 20
_SHOWN_CHARS = 200


class _Item(msgspec.Struct):
    index: int
    embedding: list[float] | str


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None


class _Response(msgspec.Struct):
    data: list[_Item]
    usage: _Usage | None = None


class _Reason(msgspec.Struct):
    message: str = ""


class _Refusal(msgspec.Struct):
    error: _Reason | str = ""


_RESPONSE = msgspec.json.Decoder(_Response)
_REFUSAL = msgspec.json.Decoder(_Refusal)


class OpenAiEmbedder:
    """Implements `ports.Embedder`. Never tries again: that is for the caller to decide."""

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        dimensions: int,
        api_key: str = "",
        timeout_seconds: float = 30.0,
        batch_size: int = 64,
        parallel_batches: int = 4,
        session: aiohttp.ClientSession | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`base_url` goes up to and including `/v1`.

        `timeout_seconds` bounds each request as a whole. A `session` that is passed in is
        shared, and not closed here; without one, an own session is opened by the first call.
        `clock` reads a `Retry-After` that is a date.
        """
        self._url = f"{base_url.rstrip('/')}/embeddings"
        self._model = model
        self._api_key = api_key
        self._headers = {"Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._batch_size = batch_size
        self._parallel = asyncio.Semaphore(parallel_batches)
        self._session = session
        self._owns_session = session is None
        self._clock = SystemClock() if clock is None else clock
        self._closed = False
        self._identity = EmbedderIdentity(name=f"openai/{model}", dimensions=dimensions)

    @property
    def identity(self) -> EmbedderIdentity:
        return self._identity

    async def warm(self) -> None:
        """Open the connection, and see that the server answers with the right dimensions."""
        await self.embed_query("warm")

    async def embed_query(self, text: str) -> list[float]:
        return (await self._embed([text]))[0]

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        batches = [
            texts[start : start + self._batch_size]
            for start in range(0, len(texts), self._batch_size)
        ]
        tasks = [asyncio.ensure_future(self._embed_in_turn(batch)) for batch in batches]
        try:
            vectors = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return [vector for batch in vectors for vector in batch]

    def count_tokens(self, text: str) -> int:
        """An estimate: the server's vocabulary is not known here."""
        return max(len(text.split()), -(-len(text) // _CHARS_PER_TOKEN))

    async def close(self) -> None:
        self._closed = True
        if self._owns_session and self._session is not None:
            await self._session.close()

    async def _embed_in_turn(self, texts: Sequence[str]) -> list[list[float]]:
        async with self._parallel:
            return await self._embed(texts)

    async def _embed(self, texts: Sequence[str]) -> list[list[float]]:
        body = await self._post([_sendable(text) for text in texts])
        try:
            response = _RESPONSE.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._protocol_error(f"it is not an embeddings response ({error})") from error
        if response.usage is not None:
            count_tokens(response.usage.prompt_tokens)
        if sorted(item.index for item in response.data) != list(range(len(texts))):
            raise self._protocol_error(f"it has not one vector for each of {len(texts)} texts")
        ordered = sorted(response.data, key=lambda item: item.index)
        return [self._unit(item.embedding) for item in ordered]

    async def _post(self, texts: list[str]) -> bytes:
        """The body of a successful answer."""
        if self._closed:
            raise EmbedderError("The embedder is closed.")
        if self._session is None:
            self._session = aiohttp.ClientSession()
        request = {"model": self._model, "input": texts, "encoding_format": "float"}
        limit = _SPARE_BYTES + len(texts) * self._identity.dimensions * _BYTES_PER_NUMBER
        try:
            async with self._session.post(
                self._url,
                data=msgspec.json.encode(request),
                headers=self._headers,
                timeout=self._timeout,
                allow_redirects=False,
            ) as response:
                body = await self._body(response, limit)
                if response.status != 200:
                    raise self._refusal(response, body)
                return body
        except TimeoutError as error:
            raise EmbedderError(
                f"The embedding server {self._url} did not answer within "
                f"{self._timeout.total:g} seconds.",
                remedy="Raise embedder.timeout_seconds, or look at the server's load.",
            ) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise EmbedderError(
                f"The embedding server {self._url} cannot be reached: {error}.",
                remedy="Check embedder.base_url and that the server runs.",
            ) from error

    async def _body(self, response: aiohttp.ClientResponse, limit: int) -> bytes:
        body = bytearray()
        async for piece in response.content.iter_any():
            body += piece
            if len(body) > limit:
                raise self._protocol_error(f"it is longer than {limit} bytes")
        return bytes(body)

    def _refusal(self, response: aiohttp.ClientResponse, body: bytes) -> EmbedderError:
        """The error for a status that is not 200."""
        status = response.status
        server = f"The embedding server {self._url}"
        if status in (401, 403):
            return EmbedderError(
                f"{server} refused the API key ({status}).", remedy="Check embedder.api_key."
            )
        if status == 404:
            return EmbedderError(
                f"{server} knows no model {self._model!r}, or has no embeddings there (404).",
                remedy="Check embedder.model, and that embedder.base_url ends with /v1.",
            )
        if status == 429:
            return EmbedderError(
                f"{server} asks to slow down (429).",
                remedy="Ask again later, or raise the limit at the provider.",
                retry_after=self._retry_after(response),
            )
        if status >= 500:
            return EmbedderError(
                f"{server} failed ({status}).",
                remedy="Look into the log of that server.",
                retry_after=self._retry_after(response),
            )
        # A redirect or a timeout of the server's own says nothing about the text.
        kind = EmbedderRejected if 400 <= status != 408 else EmbedderError
        return kind(
            f"{server} refused the request ({status}){self._said(body)}.",
            remedy="Check embedder.base_url and embedder.model, and that the text is not too long.",
        )

    def _said(self, body: bytes) -> str:
        """The server's own words, shortened and without our key."""
        try:
            error = _REFUSAL.decode(body).error
        except (msgspec.DecodeError, UnicodeDecodeError):
            return ""
        message = error if isinstance(error, str) else error.message
        if self._api_key:
            message = message.replace(self._api_key, "***")
        return f": {message[:_SHOWN_CHARS].rstrip('.')}" if message else ""

    def _retry_after(self, response: aiohttp.ClientResponse) -> float | None:
        """Seconds, from either form of the header (RFC 9110, 10.2.3)."""
        value = response.headers.get("Retry-After", "").strip()
        if value.isascii() and value.isdecimal():
            return float(value)
        try:
            return max(0.0, parsedate_to_datetime(value).timestamp() - self._clock.time())
        except ValueError:
            return None

    def _unit(self, embedding: list[float] | str) -> list[float]:
        vector = self._decoded(embedding)
        expected = self._identity.dimensions
        if vector.shape != (expected,):
            raise EmbedderError(
                f"The embedding model {self._model!r} gives {vector.size} dimensions, not "
                f"{expected}.",
                remedy=f"Set embedder.dimensions to {vector.size}.",
                field="embedder.dimensions",
            )
        with np.errstate(over="ignore"):
            norm = float(np.linalg.norm(vector))
        if not np.isfinite(norm) or norm == 0:
            raise self._protocol_error("a vector in it has no direction")
        unit: list[float] = (vector / norm).tolist()
        return unit

    def _decoded(self, embedding: list[float] | str) -> NDArray[np.float64]:
        if not isinstance(embedding, str):
            return np.array(embedding, np.float64)
        try:
            raw = base64.b64decode(embedding, validate=True)
            return np.frombuffer(raw, "<f4").astype(np.float64)
        except (binascii.Error, ValueError) as error:
            raise self._protocol_error("a vector in it is not base64 of float32") from error

    def _protocol_error(self, why: str) -> EmbedderError:
        return EmbedderError(
            f"The embedding server {self._url} sent an answer that cannot be used: {why}.",
            remedy="Check that embedder.base_url leads to an OpenAI-compatible server.",
        )


def _sendable(text: str) -> str:
    """Valid UTF-8, and not empty: several servers refuse an empty text."""
    return text.encode(errors="replace").decode() if text.strip() else " "
