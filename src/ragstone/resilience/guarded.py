"""Embedder, index and reranker behind a `Dependency`, as the same ports.

Whoever uses them need not know: a refusal of the guard (`CircuitOpen`, `DependencyBusy`) becomes
the port's own error, so an embedder that is cut off leads to a lexical search and an index
that is cut off to a refusal, at once. Every call is bounded by `seconds` here, since a limit of the
caller's would end it as a cancellation, which says nothing about the dependency.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeVar

from ragstone.domain.collection import EmbedderIdentity
from ragstone.domain.errors import (
    CircuitOpen,
    DeadlineExceeded,
    DependencyBusy,
    DependencyError,
    EmbedderError,
    IndexUnavailable,
    RagstoneError,
)
from ragstone.domain.passage import EmbeddedSearch, Passage, SearchResult
from ragstone.domain.principal import Principal
from ragstone.domain.query import SearchRequest
from ragstone.ports import Clock, Embedder, EmbeddingSearcher, Reranker, Searcher
from ragstone.resilience.dependency import Dependency
from ragstone.resilience.hedge import Hedge
from ragstone.resilience.time_limit import TimeLimit

_T = TypeVar("_T")

_MARGIN: Final = 1.0
"""Seconds by which the reranker's own limit is later: ours tells whose time ran out."""


class GuardedEmbedder:
    """Implements `ports.Embedder`."""

    def __init__(
        self,
        embedder: Embedder,
        dependency: Dependency,
        *,
        clock: Clock,
        seconds: float,
        hedge: Hedge | None = None,
    ) -> None:
        """`seconds`: longest wait for a query's vector.

        `hedge`: for a server that has several replicas.
        """
        self._embedder = embedder
        self._dependency = dependency
        self._clock = clock
        self._seconds = seconds
        self._hedge = hedge

    @property
    def identity(self) -> EmbedderIdentity:
        return self._embedder.identity

    async def embed_query(self, text: str) -> list[float]:
        try:
            return await self._embed_in_time(text, self._clock.monotonic() + self._seconds)
        except (CircuitOpen, DependencyBusy, DeadlineExceeded) as error:
            raise _as(EmbedderError, error) from error

    async def _embed_in_time(self, text: str, until: float) -> list[float]:
        async def call() -> list[float]:
            async with (
                self._dependency.attempt(deadline=until),
                _until(until, self._clock, "embedder"),
            ):
                return await self._embedder.embed_query(text)

        return await (self._hedge.read(call, call) if self._hedge else call())

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """Refused like a query, but not counted: a batch of ingestion is repeated by ingestion,
        and a text that cannot be embedded must not cut off the queries."""
        try:
            self._dependency.check()
        except DependencyError as error:
            raise _as(EmbedderError, error) from error
        return await self._embedder.embed_documents(texts)

    def count_tokens(self, text: str) -> int:
        return self._embedder.count_tokens(text)

    async def close(self) -> None:
        await self._embedder.close()


class GuardedIndex:
    """Implements `ports.Searcher`. Ingestion writes to the index itself, and repeats."""

    def __init__(
        self, index: Searcher, dependency: Dependency, *, clock: Clock, seconds: float
    ) -> None:
        """`seconds`: longest wait for a search."""
        self._index = index
        self._dependency = dependency
        self._clock = clock
        self._seconds = seconds

    async def search(self, principal: Principal, request: SearchRequest) -> SearchResult:
        call = partial(self._index.search, principal, request)
        return await self._guarded(principal, call, self._seconds)

    async def _guarded(
        self, principal: Principal, call: Callable[[], Awaitable[_T]], seconds: float
    ) -> _T:
        until = self._clock.monotonic() + seconds
        try:
            async with (
                self._dependency.attempt(
                    tenant=principal.tenant,
                    priority=principal.priority or "standard",
                    deadline=until,
                ),
                _until(until, self._clock, "index"),
            ):
                return await call()
        except (CircuitOpen, DependencyBusy, DeadlineExceeded) as error:
            raise _as(IndexUnavailable, error) from error

    async def close(self) -> None:
        await self._index.close()


class GuardedEmbeddingIndex(GuardedIndex):
    """Implements `ports.EmbeddingSearcher`. Whether the embedder works says nothing of the index,
    whose search goes on without."""

    def __init__(
        self, index: EmbeddingSearcher, dependency: Dependency, *, clock: Clock, seconds: float
    ) -> None:
        super().__init__(index, dependency, clock=clock, seconds=seconds)
        self._embedding = index

    async def embed_and_search(
        self, principal: Principal, request: SearchRequest, text: str, *, seconds: float
    ) -> EmbeddedSearch:
        embed_and_search = self._embedding.embed_and_search
        call = partial(embed_and_search, principal, request, text, seconds=seconds)
        # As long as the two would be waited for apart: an engine may be started again meanwhile.
        return await self._guarded(principal, call, min(seconds, self._seconds) + self._seconds)


class GuardedReranker:
    """Implements `ports.Reranker`."""

    def __init__(
        self,
        reranker: Reranker,
        dependency: Dependency,
        *,
        clock: Clock,
        seconds: float,
        hedge: Hedge | None = None,
    ) -> None:
        """`seconds`: longest wait; a little below what the stage allows.

        `hedge`: for a server that has several replicas.
        """
        self._reranker = reranker
        self._dependency = dependency
        self._clock = clock
        self._seconds = seconds
        self._hedge = hedge

    @property
    def name(self) -> str:
        return self._reranker.name

    async def rerank(
        self, question: str, passages: Sequence[Passage], *, deadline: float
    ) -> list[Passage]:
        until = min(deadline, self._clock.monotonic() + self._seconds)

        async def call() -> list[Passage]:
            async with (
                self._dependency.attempt(deadline=until),
                _until(until, self._clock, "reranker"),
            ):
                return await self._reranker.rerank(question, passages, deadline=until + _MARGIN)

        try:
            return await (self._hedge.read(call, call) if self._hedge else call())
        except DeadlineExceeded as error:
            raise DependencyError(error.message, remedy=error.remedy) from error


def _as(kind: type[DependencyError], refusal: RagstoneError) -> DependencyError:
    """A refusal of ours in the class that the port names."""
    return kind(refusal.message, remedy=refusal.remedy, retry_after=refusal.retry_after)


def _until(at: float, clock: Clock, name: str) -> TimeLimit:
    """Raises `DeadlineExceeded` in time; whether it counts is the dependency's to judge."""
    return TimeLimit(at - clock.monotonic(), partial(_late, name))


def _late(name: str) -> DeadlineExceeded:
    return DeadlineExceeded(f"The {name} did not answer in time.")
