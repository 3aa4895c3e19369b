"""An exact index in memory: the reference for tests, and enough for a few thousand chunks."""

import math
from collections.abc import Sequence
from uuid import UUID

import numpy as np

from ragstone.domain.document import IndexedChunk
from ragstone.domain.passage import SearchResult
from ragstone.domain.principal import Principal
from ragstone.domain.query import SearchRequest
from ragstone.index import filters, lexical, stored
from ragstone.index.filters import Kind
from ragstone.index.legs import Legs
from ragstone.index.lexical import SparseVector
from ragstone.ports import DocumentChunks


class _Shard:
    def __init__(self, dimensions: int, average_length: float) -> None:
        self.dimensions = dimensions
        self.average_length = average_length
        self.documents: dict[str, list[IndexedChunk]] = {}
        self.words: dict[UUID, dict[int, float]] = {}
        self.frequencies: dict[int, int] = {}
        self.fields: dict[str, set[Kind]] = {}

    def remove(self, document_id: str) -> None:
        for chunk in self.documents.pop(document_id, ()):
            for term in self.words.pop(chunk.id):
                self.frequencies[term] -= 1

    def add(self, document: DocumentChunks) -> None:
        self.documents[document.document_id] = document.chunks
        for chunk in document.chunks:
            vector = lexical.document_vector(chunk.lexical_text, self.average_length)
            self.words[chunk.id] = dict(zip(vector.indices, vector.values, strict=True))
            for term in vector.indices:
                self.frequencies[term] = self.frequencies.get(term, 0) + 1
            for field, kind in filters.values_by_kind(chunk.metadata):
                self.fields.setdefault(field, set()).add(kind)

    def idf(self, term: int) -> float:
        count, found = len(self.words), self.frequencies.get(term, 0)
        return math.log(1.0 + (count - found + 0.5) / (found + 0.5))


class MemoryIndex:
    """Implements `ports.Index`; nothing outlives the process."""

    def __init__(self) -> None:
        self._shards: dict[tuple[str, str], _Shard] = {}

    async def search(self, principal: Principal, request: SearchRequest) -> SearchResult:
        legs = Legs(request)
        shard = self._shards.get((principal.tenant, request.collection))
        if shard is None:
            return SearchResult(passages=[])
        if legs.vector is not None:
            stored.check_dimensions(request.collection, len(legs.vector), shard.dimensions)
        filters.check(request.filters, shard.fields)
        tokens = set(principal.access_tokens())
        visible = {
            chunk.id: chunk
            for chunks in shard.documents.values()
            for chunk in chunks
            if not tokens.isdisjoint(chunk.access)
            and filters.matches(chunk.metadata, request.filters)
        }

        def dense(vector: list[float], ids: Sequence[UUID] | None) -> dict[UUID, float]:
            chosen = list(visible) if ids is None else list(ids)
            if not chosen:
                return {}
            matrix = np.array([visible[id_].vector for id_ in chosen], dtype=np.float32)
            scores = matrix @ np.array(vector, dtype=np.float32)
            return _best(dict(zip(chosen, scores.tolist(), strict=True)), legs.depth)

        def words(vector: SparseVector, ids: Sequence[UUID] | None) -> dict[UUID, float]:
            idf = {term: shard.idf(term) for term in vector.indices}
            scores = {
                id_: sum(idf[term] * shard.words[id_].get(term, 0.0) for term in idf)
                for id_ in (visible if ids is None else ids)
            }
            found = {id_: score for id_, score in scores.items() if score > 0.0}
            return _best(found, legs.depth)

        ranked = legs.rank(dense, words)
        return SearchResult(
            passages=[stored.passage(stored.stored(visible[hit.id]), hit) for hit in ranked]
        )

    async def replace(
        self, tenant: str, collection: str, documents: Sequence[DocumentChunks]
    ) -> None:
        shard = self._shards.get((tenant, collection))
        chunks = [chunk for document in documents for chunk in document.chunks]
        dimensions = stored.check_chunks(
            tenant, collection, chunks, shard.dimensions if shard else None
        )
        if shard is None:
            if dimensions is None:
                return
            lengths = [lexical.length(chunk.lexical_text) for chunk in chunks[:1000]]
            shard = _Shard(dimensions, lexical.average_length(lengths))
            self._shards[tenant, collection] = shard
        for document in documents:
            shard.remove(document.document_id)
            shard.add(document)

    async def delete(self, tenant: str, collection: str, document_ids: Sequence[str]) -> None:
        shard = self._shards.get((tenant, collection))
        if shard is not None:
            for document_id in document_ids:
                shard.remove(document_id)

    async def optimize(self, tenant: str, collection: str) -> None:
        """Nothing to do: every search is exact."""

    async def drop(self, tenant: str, collection: str) -> None:
        self._shards.pop((tenant, collection), None)

    async def close(self) -> None:
        self._shards.clear()


def _best(scores: dict[UUID, float], limit: int) -> dict[UUID, float]:
    ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    return dict(ranked[:limit])
