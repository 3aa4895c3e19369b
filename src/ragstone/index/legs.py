"""How a search request becomes legs and one ranking; the same for every index."""

from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

from ragstone.domain.errors import InvalidRequest
from ragstone.domain.query import SearchRequest
from ragstone.index import fusion
from ragstone.index.lexical import SparseVector, query_vector

MAX_DEPTH: Final = 10_000
"""Candidates of one leg at most, whatever is asked."""


class Legs:
    """Which legs a request can be served with.

    `hybrid` without a vector, or without words, is served by the leg that is possible.
    """

    def __init__(self, request: SearchRequest) -> None:
        if request.limit < 1:
            raise InvalidRequest("A search for less than one passage was asked.", field="limit")
        self.vector = request.vector if request.mode != "lexical" else None
        self.words: SparseVector | None = None
        if request.mode != "dense" and request.text is not None:
            self.words = query_vector(request.text)
        if self.vector is None and self.words is None:
            missing = {"dense": "a vector", "lexical": "a text"}.get(
                request.mode, "a vector or a text"
            )
            raise InvalidRequest(f"A {request.mode} search needs {missing}.", field="mode")
        self.depth = min(max(request.limit, request.candidates), MAX_DEPTH)
        self._request = request

    def rank(
        self,
        dense: Callable[[list[float], Sequence[UUID] | None], dict[UUID, float]],
        lexical: Callable[[SparseVector, Sequence[UUID] | None], dict[UUID, float]],
    ) -> list[fusion.Fused]:
        """The final ranking of at most `request.limit` candidates.

        `dense` and `lexical` score the whole shard, or only the chunk ids given. A convex
        combination asks each leg for the candidates that only the other found: their true
        scores cost a tenth of a search, and an absent score would count as the worst.
        """
        settings = self._request.fusion
        near = dense(self.vector, None) if self.vector is not None else {}
        if self.words is None or not self.words.indices:
            return fusion.single(near, dense=near, lexical={})[: self._request.limit]
        exact = lexical(self.words, None)
        if self.vector is None:
            return fusion.single(exact, dense={}, lexical=exact)[: self._request.limit]
        if settings.method == "convex":
            only_exact, only_near = fusion.missing(near, exact), fusion.missing(exact, near)
            if only_exact:
                near = {**near, **dense(self.vector, only_exact)}
            if only_near:
                exact = {**exact, **lexical(self.words, only_near)}
        return fusion.fuse(near, exact, settings)[: self._request.limit]
