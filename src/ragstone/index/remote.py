"""The index of another process, asked over the hop."""

from typing import Final

import msgspec

from ragstone.domain.errors import IndexUnavailable
from ragstone.domain.passage import SearchResult
from ragstone.domain.principal import Principal
from ragstone.domain.query import SearchRequest
from ragstone.hop.client import EngineClient
from ragstone.hop.messages import SEARCH, SearchOnBehalf

_RESULT: Final = msgspec.msgpack.Decoder(SearchResult)


class RemoteIndex:
    """Implements `ports.Searcher`. The engine builds the access filter from the principal."""

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

    async def close(self) -> None:
        """Nothing of its own."""
