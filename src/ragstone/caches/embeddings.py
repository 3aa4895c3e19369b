"""The vectors of questions asked before, in this process."""

import asyncio
from array import array
from collections.abc import Callable, Sequence
from hashlib import sha256
from math import inf
from typing import Literal

from ragstone.domain.collection import EmbedderIdentity
from ragstone.domain.query import embedded_form
from ragstone.ports import CacheStore, Embedder

Outcome = Literal["hit", "miss", "joined"]

_GROUP = "embeddings"


class CachedEmbedder:
    """Implements `ports.Embedder` and `ports.KeepingEmbedder` upon another.

    Vectors are kept for each tenant apart, so that how long a text takes does not tell one what
    another has asked; what is embedded for none is not kept.
    """

    def __init__(
        self,
        inner: Embedder,
        store: CacheStore,
        *,
        on_outcome: Callable[[Outcome], None] = lambda outcome: None,
    ) -> None:
        self._inner = inner
        self._store = store
        self._on_outcome = on_outcome
        self._flights: dict[bytes, _Flight] = {}

    @property
    def identity(self) -> EmbedderIdentity:
        return self._inner.identity

    def of_tenant(self, tenant: str) -> "TenantEmbedder":
        return TenantEmbedder(self._inner, self._store, self._on_outcome, self._flights, tenant)

    async def embed_query(self, text: str) -> list[float]:
        return await self._inner.embed_query(text)

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        return await self._inner.embed_documents(texts)

    def count_tokens(self, text: str) -> int:
        return self._inner.count_tokens(text)

    async def close(self) -> None:
        await self._store.close()
        await self._inner.close()


class TenantEmbedder:
    """Implements `ports.RecallingEmbedder`.

    One text at a time is embedded once: who asks for it meanwhile waits for the same call, which
    goes on as long as one of them waits. Vectors come as float32, kept or not.
    """

    __slots__ = ("_flights", "_inner", "_on_outcome", "_own", "_store")

    def __init__(
        self,
        inner: Embedder,
        store: CacheStore,
        on_outcome: Callable[[Outcome], None],
        flights: dict[bytes, "_Flight"],
        tenant: str,
    ) -> None:
        self._inner = inner
        self._store = store
        self._on_outcome = on_outcome
        self._flights = flights
        model = inner.identity
        parts = (model.name, str(model.dimensions), model.digest, str(len(tenant)), tenant, "")
        self._own = "\0".join(parts).encode(errors="surrogatepass")

    @property
    def identity(self) -> EmbedderIdentity:
        return self._inner.identity

    async def embed_query(self, text: str) -> list[float]:
        """In the form in which it is kept."""
        text, key = self._asked(text)
        kept = await self._kept(key)
        if kept is not None:
            return kept
        flight = self._flights.get(key)
        self._on_outcome("miss" if flight is None else "joined")
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.create_task(self._embed(key, text)))
        return _unpacked(await self._wait_for(key, flight))

    async def recall(self, text: str) -> list[float] | None:
        """The vector of a query, if it is kept; nothing is asked for it."""
        return await self._kept(self._asked(text)[1])

    async def keep(self, text: str, vector: bytes) -> None:
        """Of `embedded_form(text)`; counts as a miss."""
        self._on_outcome("miss")
        await self._store.put(self._asked(text)[1], vector, ttl=inf, group=_GROUP)

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """Not kept: a document is embedded once."""
        return await self._inner.embed_documents(texts)

    def count_tokens(self, text: str) -> int:
        return self._inner.count_tokens(text)

    async def close(self) -> None:
        """Nothing of its own."""

    def _asked(self, text: str) -> tuple[str, bytes]:
        text = embedded_form(text)
        return text, sha256(self._own + text.encode(errors="surrogatepass")).digest()

    async def _kept(self, key: bytes) -> list[float] | None:
        kept = await self._store.get(key)
        if kept is None:
            return None
        self._on_outcome("hit")
        return _unpacked(kept.value)

    async def _embed(self, key: bytes, text: str) -> bytes:
        vector = array("f", await self._inner.embed_query(text)).tobytes()
        await self._store.put(key, vector, ttl=inf, group=_GROUP)
        return vector

    async def _wait_for(self, key: bytes, flight: "_Flight") -> bytes:
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if flight.task.done() or not flight.waiting:
                flight.task.cancel()  # nothing where it has ended
                if self._flights.get(key) is flight:
                    del self._flights[key]


class _Flight:
    """An embedding under way, and how many wait for it."""

    __slots__ = ("task", "waiting")

    def __init__(self, task: "asyncio.Task[bytes]") -> None:
        self.task = task
        task.add_done_callback(_seen)
        self.waiting = 0


def _seen(task: "asyncio.Task[bytes]") -> None:
    """Who waited may have gone: an error that nobody takes is none."""
    if not task.cancelled():
        task.exception()


def _unpacked(vector: bytes) -> list[float]:
    numbers = array("f")
    numbers.frombytes(vector)
    return numbers.tolist()
