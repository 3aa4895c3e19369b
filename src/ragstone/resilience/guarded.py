"""Embedder, index and reranker behind a `Dependency`, as the same ports.

Whoever uses them need not know: a refusal of the guard (`CircuitOpen`, `DependencyBusy`) becomes
the port's own error, so an embedder that is cut off leads to a lexical search and an index
that is cut off to a refusal, at once. `seconds` bounds a call here, since a limit of the
caller's would end it as a cancellation, which says nothing about the dependency.
"""

import asyncio
from collections.abc import Sequence
from math import inf
from typing import Final

from ragstone.domain.collection import EmbedderIdentity
from ragstone.domain.errors import (
    CircuitOpen,
    DeadlineExceeded,
    DependencyBusy,
    DependencyError,
    EmbedderError,
    IndexUnavailable,
)
from ragstone.domain.passage import Passage, SearchResult
from ragstone.domain.principal import Principal
from ragstone.domain.query import SearchRequest
from ragstone.ports import Clock, Embedder, Reranker, Searcher
from ragstone.resilience.dependency import Dependency

_MARGIN: Final = 1.0
"""Seconds by which the reranker's own limit is later: ours tells whose time ran out."""


class GuardedEmbedder:
    """Implements `ports.Embedder`."""

    def __init__(
        self, embedder: Embedder, dependency: Dependency, *, seconds: float | None = None
    ) -> None:
        """`seconds`: longest wait for a query's vector; None leaves it to the embedder."""
        self._embedder = embedder
        self._dependency = dependency
        self._seconds = seconds

    @property
    def identity(self) -> EmbedderIdentity:
        return self._embedder.identity

    async def embed_query(self, text: str) -> list[float]:
        try:
            async with self._dependency.attempt(deadline=inf):
                if self._seconds is None:
                    return await self._embedder.embed_query(text)
                async with asyncio.timeout(self._seconds):
                    return await self._embedder.embed_query(text)
        except TimeoutError:
            raise EmbedderError(
                f"The embedder gave no vector within {self._seconds:g} seconds."
            ) from None
        except (CircuitOpen, DependencyBusy) as error:
            raise EmbedderError(
                error.message, remedy=error.remedy, retry_after=error.retry_after
            ) from error

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """Refused like a query, but not counted: a batch of ingestion is repeated by ingestion,
        and a text that cannot be embedded must not cut off the queries."""
        try:
            self._dependency.check()
        except DependencyError as error:
            raise EmbedderError(
                error.message, remedy=error.remedy, retry_after=error.retry_after
            ) from error
        return await self._embedder.embed_documents(texts)

    def count_tokens(self, text: str) -> int:
        return self._embedder.count_tokens(text)

    async def close(self) -> None:
        await self._embedder.close()


class GuardedIndex:
    """Implements `ports.Searcher`. Ingestion writes to the index itself, and repeats."""

    def __init__(self, index: Searcher, dependency: Dependency) -> None:
        self._index = index
        self._dependency = dependency

    async def search(self, principal: Principal, request: SearchRequest) -> SearchResult:
        try:
            async with self._dependency.attempt(
                tenant=principal.tenant, priority=principal.priority or "standard", deadline=inf
            ):
                return await self._index.search(principal, request)
        except (CircuitOpen, DependencyBusy) as error:
            raise IndexUnavailable(
                error.message, remedy=error.remedy, retry_after=error.retry_after
            ) from error

    async def close(self) -> None:
        await self._index.close()


class GuardedReranker:
    """Implements `ports.Reranker`."""

    def __init__(
        self, reranker: Reranker, dependency: Dependency, *, clock: Clock, seconds: float
    ) -> None:
        """`seconds`: longest wait; a little below what the stage allows."""
        self._reranker = reranker
        self._dependency = dependency
        self._clock = clock
        self._seconds = seconds

    @property
    def name(self) -> str:
        return self._reranker.name

    async def rerank(
        self, question: str, passages: Sequence[Passage], *, deadline: float
    ) -> list[Passage]:
        until = min(deadline, self._clock.monotonic() + self._seconds)
        try:
            async with self._dependency.attempt(deadline=until):
                return await self._in_time(question, passages, until)
        except DeadlineExceeded as error:
            raise DependencyError(error.message, remedy=error.remedy) from error

    async def _in_time(
        self, question: str, passages: Sequence[Passage], until: float
    ) -> list[Passage]:
        try:
            async with asyncio.timeout(until - self._clock.monotonic()):
                return await self._reranker.rerank(question, passages, deadline=until + _MARGIN)
        except TimeoutError:
            raise DeadlineExceeded(f"The reranker {self.name} did not answer in time.") from None
