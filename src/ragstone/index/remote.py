"""The index of another process, asked over the hop."""

from typing import Final

import msgspec

from ragstone.domain.errors import IndexUnavailable
from ragstone.domain.passage import EmbeddedSearch, SearchResult
from ragstone.domain.principal import Principal
from ragstone.domain.query import SearchRequest
from ragstone.hop.client import ANSWER_SECONDS, EngineClient
from ragstone.hop.messages import (
    EMBED_AND_SEARCH,
    SEARCH,
    EmbedAndSearchOnBehalf,
    SearchOnBehalf,
)

_EMBEDDING_SECONDS: Final = 0.75 * ANSWER_SECONDS
"""For the vector, so that a search by words can still be answered in time."""

_RESULT: Final = msgspec.msgpack.Decoder(SearchResult)
_EMBEDDED: Final = msgspec.msgpack.Decoder(EmbeddedSearch)


class RemoteIndex:
    """Implements `ports.EmbeddingSearcher`. The engine builds the access filter from the
    principal."""

    def __init__(self, engine: EngineClient) -> None:
        """`engine` is shared, and not closed here."""
        self._engine = engine

    async def search(self, principal: Principal, request: SearchRequest) -> SearchResult:
        asked = SearchOnBehalf(
            query=request.text,
            collection=request.collection,
            top_k=request.limit,
            filters=request.filters,
            mode=request.mode,
            vector=request.vector,
            candidates=request.candidates,
            fusion=request.fusion,
            principal=principal,
        )
        return await self._engine.ask(SEARCH, asked, _RESULT, IndexUnavailable)

    async def embed_and_search(
        self, principal: Principal, request: SearchRequest, text: str, *, seconds: float
    ) -> EmbeddedSearch:
        asked = EmbedAndSearchOnBehalf(
            query=request.text,
            collection=request.collection,
            top_k=request.limit,
            filters=request.filters,
            mode=request.mode,
            vector=None,
            candidates=request.candidates,
            fusion=request.fusion,
            principal=principal,
            text=text.encode(errors="replace").decode(),
            seconds=min(seconds, _EMBEDDING_SECONDS),
        )
        return await self._engine.ask(EMBED_AND_SEARCH, asked, _EMBEDDED, IndexUnavailable)

    async def close(self) -> None:
        """Nothing of its own."""
