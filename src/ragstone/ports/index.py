"""Where chunks are searched."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import msgspec

from ragstone.domain.document import IndexedChunk
from ragstone.domain.passage import EmbeddedSearch, SearchResult
from ragstone.domain.principal import Principal
from ragstone.domain.query import SearchRequest


class DocumentChunks(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a document, ready to be searched."""

    document_id: str
    version: int
    chunks: list[IndexedChunk]


class Searcher(Protocol):
    """What a question needs of an index; see `Index`."""

    async def search(self, principal: Principal, request: SearchRequest) -> SearchResult:
        """The best `request.limit` passages that `principal` may read, best first.

        The access filter is part of the engine's query. Raises `IndexUnavailable`,
        `InvalidFilter` (a field whose values cannot be compared so).
        """
        ...

    async def close(self) -> None: ...


@runtime_checkable
class EmbeddingSearcher(Searcher, Protocol):
    """One that has an embedder beside it, and takes a query's words for its vector."""

    async def embed_and_search(
        self, principal: Principal, request: SearchRequest, text: str, *, seconds: float
    ) -> EmbeddedSearch:
        """As `search` with `text` for the vector, which `request` has none of.

        An embedder that fails, or is not done in so many seconds, leaves the search to words.
        Raises what `search` raises.
        """
        ...


class Index(Searcher, Protocol):
    """Chunks with vectors and words, searched under access control.

    A shard holds one tenant's collection; a shard that does not exist searches as empty.
    """

    async def replace(
        self, tenant: str, collection: str, documents: Sequence[DocumentChunks]
    ) -> None:
        """Put each document's chunks in the place of all its earlier ones.

        A search sees a document's old chunks or its new ones, never both, never neither;
        searches go on meanwhile. Idempotent, durable when it returns; after a crash in the
        middle, calling it again (also with a higher version) leaves nothing behind.
        """
        ...

    async def delete(self, tenant: str, collection: str, document_ids: Sequence[str]) -> None:
        """Unfindable, and durably so, when it returns. Absent is fine."""
        ...

    async def optimize(self, tenant: str, collection: str) -> None:
        """Bring the shard into its fastest form after a bulk change; searches go on."""
        ...

    async def drop(self, tenant: str, collection: str) -> None:
        """Remove the whole shard and its files."""
        ...
