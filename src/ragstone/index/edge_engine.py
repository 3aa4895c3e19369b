"""The embedded vector engine behind plain types: the only module that imports `qdrant_edge`.

An `EdgeEngine` is one open directory. Every call holds the interpreter lock and blocks, so
callers keep calls short (`MAX_POINTS_PER_CALL`). Errors of the engine become
`IndexUnavailable`.

The settings were measured at 100,000 chunks of 384 dimensions, see
docs/decisions/0001-index-layout.md: int8 vectors and the graph in memory, originals in the
page cache for rescoring more candidates than asked for, one search thread because handing a
sub-millisecond search to a pool costs more than it gains.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

import qdrant_edge as qe

from ragstone.domain.document import Metadata, Scalar
from ragstone.domain.errors import IndexUnavailable
from ragstone.domain.query import Filter
from ragstone.index.filters import Kind, kind_of, values_by_kind
from ragstone.index.lexical import SparseVector

MAX_POINTS_PER_CALL: Final = 32
"""Written in one call of 2 to 4 ms."""

UNINDEXED_THRESHOLD: Final = 5_000
"""Points that are searched without a graph: below 1 ms, and exact."""

_DENSE: Final = "dense"
_LEXICAL: Final = "bm25"
_ACCESS: Final = "access"
_DOCUMENT: Final = "document"
_BODY: Final = "body"

_OVERSAMPLING: Final = 1.6
_GRAPH_DEGREE: Final = 16
_GRAPH_EF_CONSTRUCT: Final = 128
_GRAPH_EF_SEARCH: Final = 80

_PAGE: Final = 1_000


class Row(NamedTuple):
    """One chunk as the engine stores it."""

    id: UUID
    document_id: str
    access: list[str]
    dense: list[float]
    lexical: SparseVector
    body: str
    """Opaque to the engine; comes back with a hit."""
    fields: Mapping[str, Any]
    """Values to filter on, by `field_key`."""


def field_key(field: str, kind: Kind) -> str:
    """The payload key of a metadata field: any name, as one safe path segment for each kind."""
    plain = field.isascii() and field.isidentifier() and not field.startswith("x_")
    return f"{kind}_{field if plain else 'x_' + field.encode().hex()}"


class EdgeEngine:
    """One open engine directory; `close` it before another process may have it."""

    def __init__(self, shard: Any, path: Path) -> None:
        self._shard = shard
        self.path = path

    @classmethod
    def create(cls, path: Path, dimensions: int) -> "EdgeEngine":
        """A new, empty one at `path`, which must not exist."""
        with _engine_errors(path):
            path.mkdir(parents=True)
            engine = cls(qe.EdgeShard.create(str(path), _config(dimensions)), path)
            for key in (_ACCESS, _DOCUMENT):
                engine._shard.update(
                    qe.UpdateOperation.create_field_index(key, qe.KeywordIndexParams())
                )
            return engine

    @classmethod
    def open(cls, path: Path) -> "EdgeEngine":
        """An existing one, with everything that was acknowledged before a crash."""
        with _engine_errors(path):
            return cls(qe.EdgeShard.load(str(path)), path)

    def close(self) -> None:
        with _engine_errors(self.path):
            self._shard.close()

    def __len__(self) -> int:
        return int(self._shard.info().points_count)

    @property
    def unindexed(self) -> int:
        """Points that a search scans one by one."""
        info = self._shard.info()
        # The engine counts both legs of a point, and word vectors are always indexed.
        return max(0, 2 * int(info.points_count) - int(info.indexed_vectors_count))

    # Writing

    def write(self, rows: Sequence[Row], *, hide: Sequence[tuple[UUID, str]] = ()) -> None:
        """Insert or overwrite rows, and make the points of `hide` visible to nobody.

        `hide` is as `ids` gives it: a hidden point is still known by its document.

        One record of the write-ahead log, so a crash leaves all of it or nothing.
        """
        points = [_point(row) for row in rows]
        points += [qe.Point(id_, {}, {_ACCESS: [], _DOCUMENT: name}) for id_, name in hide]
        self._update(qe.UpdateOperation.upsert_points(points))

    def set_access(self, ids: Sequence[UUID], access: Sequence[str]) -> None:
        self._update(qe.UpdateOperation.set_payload(list(ids), {_ACCESS: list(access)}))

    def delete(self, ids: Sequence[UUID]) -> None:
        self._update(qe.UpdateOperation.delete_points(list(ids)))

    def delete_documents(self, document_ids: Sequence[str]) -> None:
        self._update(qe.UpdateOperation.delete_points_by_filter(_of_documents(document_ids)))

    def copy_from(self, other: "EdgeEngine", ids: Sequence[UUID]) -> None:
        """Take over points of another engine as they are."""
        with _engine_errors(self.path):
            records = other._shard.retrieve(list(ids), True, True)
        self._update(
            qe.UpdateOperation.upsert_points(
                [qe.Point(record.id, record.vector, record.payload) for record in records]
            )
        )

    def index_field(self, key: str, kind: Kind) -> None:
        """Make filtering on a field fast; takes about 6 us for each point already there."""
        parameters = qe.FloatIndexParams() if kind == "number" else qe.KeywordIndexParams()
        self._update(qe.UpdateOperation.create_field_index(key, parameters))

    def indexed_fields(self) -> set[str]:
        return set(self._shard.info().payload_schema)

    def optimize(self) -> None:
        """Build graph and quantised vectors, merge, and write everything out. Takes minutes."""
        with _engine_errors(self.path):
            self._shard.optimize()
            self._shard.flush()

    def log_files(self) -> list[Path]:
        """The files of the write-ahead log: synced, they make every returned write durable."""
        return [Path(entry.path) for entry in os.scandir(self.path / "wal") if entry.is_file()]

    # Reading

    def ids(self, document_ids: Sequence[str]) -> list[tuple[UUID, str]]:
        """Every point of these documents, visible or not, with its document."""
        found: list[tuple[UUID, str]] = []
        offset: Any = None
        with _engine_errors(self.path):
            while True:
                records, offset = self._shard.scroll(
                    qe.ScrollRequest(
                        offset=offset,
                        limit=_PAGE,
                        filter=_of_documents(document_ids),
                        with_payload=qe.PayloadSelector.Include([_DOCUMENT]),
                    )
                )
                found += [(record.id, record.payload[_DOCUMENT]) for record in records]
                if offset is None:
                    return found

    def dense(self, vector: list[float], condition: "Condition", limit: int) -> dict[UUID, float]:
        """The nearest points by cosine."""
        return self._query(
            qe.Query.Nearest(vector, using=_DENSE), condition, limit, _DENSE_PARAMETERS
        )

    def lexical(
        self, vector: SparseVector, condition: "Condition", limit: int
    ) -> dict[UUID, float]:
        """The best points by BM25."""
        query = qe.Query.Nearest(qe.SparseVector(vector.indices, vector.values), using=_LEXICAL)
        return self._query(query, condition, limit, None)

    def bodies(self, ids: Sequence[UUID]) -> dict[UUID, str]:
        with _engine_errors(self.path):
            records = self._shard.retrieve(list(ids), _BODY_ONLY, False)
        return {record.id: record.payload[_BODY] for record in records}

    def _query(
        self, query: Any, condition: "Condition", limit: int, parameters: Any
    ) -> dict[UUID, float]:
        request = qe.QueryRequest(
            limit=limit, query=query, filter=condition.filter, params=parameters
        )
        with _engine_errors(self.path):
            return {point.id: point.score for point in self._shard.query(request)}

    def _update(self, operation: Any) -> None:
        with _engine_errors(self.path):
            self._shard.update(operation)


class Condition:
    """Who may see what, and the filters asked for, as the engine's own condition."""

    def __init__(self, access: Sequence[str], filters: Sequence[Filter]) -> None:
        must: list[Any] = [_any_of(_ACCESS, list(access))]
        must_not: list[Any] = []
        for condition in filters:
            if condition.any_of is not None:
                must.append(qe.Filter(should=_equals_any(condition.field, condition.any_of)))
            if condition.none_of:
                must_not += _equals_any(condition.field, condition.none_of)
            if condition.gte is not None or condition.lte is not None:
                must.append(
                    qe.FieldCondition(
                        field_key(condition.field, "number"),
                        range=qe.RangeFloat(gte=condition.gte, lte=condition.lte),
                    )
                )
        self._must = must
        self._must_not = must_not
        self.filter = qe.Filter(must=must, must_not=must_not or None)

    def among(self, ids: Sequence[UUID]) -> "Condition":
        """The same, and one of these points."""
        narrowed = object.__new__(Condition)
        narrowed._must = [*self._must, qe.HasIdCondition(set(ids))]
        narrowed._must_not = self._must_not
        narrowed.filter = qe.Filter(must=narrowed._must, must_not=self._must_not or None)
        return narrowed


def field_value(value: Scalar) -> str | float:
    """A metadata value as the engine compares it: a word for a flag, a float for a number."""
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else float(value)


def payload_fields(metadata: Metadata) -> dict[str, list[str | float]]:
    """What is filtered on, by payload key. A number is kept twice: to compare, and as a word."""
    fields: dict[str, list[str | float]] = {}
    for (field, kind), elements in values_by_kind(metadata).items():
        fields[field_key(field, kind)] = [field_value(value) for value in elements]
        if kind == "number":
            fields[exact_key(field)] = [_exactly(value) for value in elements]
    return fields


def exact_key(field: str) -> str:
    """The payload key under which a number is a word, so that many are matched in one look-up.

    As ranges of one number each, 500 of them took five seconds on 4,000 chunks.
    """
    return f"exact_{field_key(field, 'number')}"


def _exactly(value: Scalar) -> str:
    return repr(float(value) + 0.0)  # -0.0 equals 0.0


def _equals_any(field: str, values: Sequence[Scalar]) -> list[Any]:
    words: dict[str, list[str]] = {}
    for value in values:
        kind, kept = kind_of(value), field_value(value)
        if isinstance(kept, str):
            words.setdefault(field_key(field, kind), []).append(kept)
        else:
            words.setdefault(exact_key(field), []).append(_exactly(kept))
    conditions = [_any_of(key, kept) for key, kept in words.items()]
    # An empty list of alternatives must match nothing, not everything.
    return conditions or [qe.HasIdCondition(set())]


def _any_of(key: str, values: list[str]) -> Any:
    return qe.FieldCondition(key, match=qe.MatchAny(values))


def _of_documents(document_ids: Sequence[str]) -> Any:
    return qe.Filter(must=[_any_of(_DOCUMENT, list(document_ids))])


def _point(row: Row) -> Any:
    vectors: dict[str, Any] = {_DENSE: row.dense}
    if row.lexical.indices:
        vectors[_LEXICAL] = qe.SparseVector(row.lexical.indices, row.lexical.values)
    payload = {
        **row.fields,
        _ACCESS: row.access,
        _DOCUMENT: row.document_id,
        _BODY: row.body,
    }
    return qe.Point(row.id, vectors, payload)


def _config(dimensions: int) -> Any:
    kilobytes = UNINDEXED_THRESHOLD * dimensions * 4 // 1024
    return qe.EdgeConfig(
        vectors={
            _DENSE: qe.EdgeVectorParams(
                size=dimensions, distance=qe.Distance.Dot, memory=qe.Memory.Cached
            )
        },
        sparse_vectors={
            _LEXICAL: qe.EdgeSparseVectorParams(modifier=qe.Modifier.Idf, memory=qe.Memory.Pinned)
        },
        hnsw_config=qe.HnswIndexConfig(
            m=_GRAPH_DEGREE,
            ef_construct=_GRAPH_EF_CONSTRUCT,
            full_scan_threshold=kilobytes,
            memory=qe.Memory.Pinned,
        ),
        quantization_config=qe.ScalarQuantizationConfig(
            type=qe.ScalarType.Int8, memory=qe.Memory.Pinned
        ),
        optimizers=qe.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=kilobytes),
        # Cold payloads cost 1.2 ms for ten passages, these 0.06 ms.
        payload_memory=qe.Memory.Cached,
        max_search_threads=1,
        wal_enabled=True,
    )


_DENSE_PARAMETERS: Final = qe.SearchParams(
    hnsw_ef=_GRAPH_EF_SEARCH,
    quantization=qe.QuantizationSearchParams(rescore=True, oversampling=_OVERSAMPLING),
)
_BODY_ONLY: Final = qe.PayloadSelector.Include([_BODY])


@contextmanager
def _engine_errors(path: Path) -> Iterator[None]:
    # The engine raises plain `Exception` for everything.
    try:
        yield
    except Exception as error:
        raise IndexUnavailable(
            f"The index in {path} cannot be used: {error}.",
            remedy="If its files are damaged, remove that folder and ingest the documents again.",
        ) from error
