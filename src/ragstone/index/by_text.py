"""An index and an embedder of the same process as one: words in, passages out."""

import asyncio
from array import array

import msgspec

from ragstone.domain.errors import DependencyError
from ragstone.domain.passage import EmbeddedSearch, SearchResult
from ragstone.domain.principal import Principal
from ragstone.domain.query import SearchRequest
from ragstone.ports import Embedder, Searcher


class SearchByText:
    """Implements `ports.EmbeddingSearcher`."""

    def __init__(self, embedder: Embedder, index: Searcher) -> None:
        """Both are shared, and not closed here."""
        self._embedder = embedder
        self._index = index

    async def search(self, principal: Principal, request: SearchRequest) -> SearchResult:
        return await self._index.search(principal, request)

    async def embed_and_search(
        self, principal: Principal, request: SearchRequest, text: str, *, seconds: float
    ) -> EmbeddedSearch:
        try:
            async with asyncio.timeout(seconds):
                vector = await self._embedder.embed_query(text)
        except (DependencyError, TimeoutError):
            request = msgspec.structs.replace(request, mode="lexical")
            found = await self._index.search(principal, request)
            degraded = ("lexical_only", *found.degraded)
            return EmbeddedSearch(passages=found.passages, degraded=degraded, vector=None)
        request = msgspec.structs.replace(request, vector=vector)
        found = await self._index.search(principal, request)
        return EmbeddedSearch(
            passages=found.passages, degraded=found.degraded, vector=array("f", vector).tobytes()
        )

    async def close(self) -> None:
        """Nothing of its own."""
