"""The index of another process, asked over the hop."""

import msgspec

from ragstone.domain.errors import IndexUnavailable
from ragstone.domain.passage import SearchResult
from ragstone.domain.principal import Principal
from ragstone.domain.query import SearchRequest
from ragstone.hop.client import EngineClient
from ragstone.hop.messages import SEARCH, SearchOnBehalf

_ENCODER = msgspec.json.Encoder()
_RESULT = msgspec.json.Decoder(SearchResult)


class RemoteIndex:
    """Implements `ports.Searcher`. The engine builds the access filter from the principal."""

    def __init__(self, engine: EngineClient) -> None:
        """`engine` is shared, and not closed here."""
        self._engine = engine

    async def search(self, principal: Principal, request: SearchRequest) -> SearchResult:
        body = _ENCODER.encode(
            SearchOnBehalf(
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
        )
        answer = await self._engine.ask(SEARCH, body, IndexUnavailable)
        try:
            return _RESULT.decode(answer)
        except msgspec.MsgspecError as error:
            raise IndexUnavailable(
                "The engine's answer to a search cannot be read.",
                remedy="Run the same version of Ragstone on both sides.",
            ) from error

    async def close(self) -> None:
        """Nothing of its own."""
