"""One tenant's collection on disk: an engine, its files, and how documents change over.

Everything that touches the engine runs on the event loop's thread, in calls of a few
milliseconds: the engine holds the interpreter lock, so a thread would gain nothing, and a
search, which never awaits, sees each change entirely or not at all. Writers take
`write_lock` around every step that must not be interleaved with another writer's.
"""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec

from ragstone.domain.document import IndexedChunk
from ragstone.domain.passage import SearchResult
from ragstone.domain.principal import Principal
from ragstone.domain.query import SearchRequest
from ragstone.index import filters, lexical, stored
from ragstone.index.edge_engine import (
    MAX_POINTS_PER_CALL,
    UNINDEXED_THRESHOLD,
    Condition,
    EdgeEngine,
    Row,
    exact_key,
    field_key,
    payload_fields,
)
from ragstone.index.edge_files import Flip, Manifest, ShardFiles, sync
from ragstone.index.filters import Kind
from ragstone.index.legs import Legs
from ragstone.index.lexical import SparseVector
from ragstone.ports import DocumentChunks

MAX_INDEXED_FIELDS: Final = 64
"""Metadata fields with an index of their own; more are filtered by reading payloads."""

MAX_LOG_FILES: Final = 4
"""Write-ahead log files of 32 MiB that a start may have to replay."""

COMPACT_UNASKED: Final = 4 * UNINDEXED_THRESHOLD
"""Unindexed points at which the shard is optimised without being told: a search that scans
this many still takes under 4 ms."""


_FIELD_INDEX_AT_ONCE: Final = 1_000
"""Points over which a field's index is built while serving: 6 ms."""

_DELETED_PER_CALL: Final = 64


class EdgeShard:
    """An open shard. Construct with `open` or `create`."""

    def __init__(self, files: ShardFiles, manifest: Manifest, engine: EdgeEngine) -> None:
        self.files = files
        self.manifest = manifest
        self.engine = engine
        self.write_lock = asyncio.Lock()
        self.touched: set[str] | None = None
        """While a copy is being optimised: the documents that changed since it was taken."""

    @classmethod
    def create(cls, path: Path, manifest: Manifest) -> "EdgeShard":
        files = ShardFiles(path)
        engine = EdgeEngine.create(files.new_engine_path(), manifest.dimensions)
        files.write_manifest(manifest)
        files.use(engine.path)
        return cls(files, manifest, engine)

    @classmethod
    def open(cls, path: Path) -> "EdgeShard":
        """Completes a change-over that a crash cut short, before the first search."""
        files = ShardFiles(path)
        manifest = files.read_manifest()
        files.remove_leftovers()
        shard = cls(files, manifest, EdgeEngine.open(files.engine_path()))
        if (flip := files.read_flip()) is not None:
            shard._change_over(flip)
            sync(shard.engine.log_files())
            files.forget_flip()
        return shard

    # Searching

    def search(self, principal: Principal, request: SearchRequest) -> SearchResult:
        legs = Legs(request)
        if legs.vector is not None:
            stored.check_dimensions(request.collection, len(legs.vector), self.manifest.dimensions)
        filters.check(request.filters, self.manifest.fields)
        condition = Condition(principal.access_tokens(), request.filters)

        def dense(vector: list[float], ids: Sequence[UUID] | None) -> dict[UUID, float]:
            among = condition if ids is None else condition.among(ids)
            return self.engine.dense(vector, among, legs.depth if ids is None else len(ids))

        def words(vector: SparseVector, ids: Sequence[UUID] | None) -> dict[UUID, float]:
            among = condition if ids is None else condition.among(ids)
            return self.engine.lexical(vector, among, legs.depth if ids is None else len(ids))

        ranked = legs.rank(dense, words)
        bodies = self.engine.bodies([hit.id for hit in ranked])
        return SearchResult(
            passages=[stored.passage(stored.decode(bodies[hit.id]), hit) for hit in ranked]
        )

    # Writing

    async def replace(self, documents: Sequence[DocumentChunks]) -> None:
        for group in _groups(documents):
            async with self.write_lock:
                await self._learn_fields(group)
                rows = await self._rows(group)
                existing = self.engine.ids([document.document_id for document in group])
                small = len(rows) <= MAX_POINTS_PER_CALL
                if small and len(existing) <= 4 * MAX_POINTS_PER_CALL:
                    self._replace_at_once(group, rows, existing)
                else:
                    await self._replace_in_steps(group, rows, existing)
            await asyncio.sleep(0)
        await self.sync_log()

    async def delete(self, document_ids: Sequence[str]) -> None:
        for start in range(0, len(document_ids), _DELETED_PER_CALL):
            batch = document_ids[start : start + _DELETED_PER_CALL]
            async with self.write_lock:
                self._touch(batch)
                self.engine.delete_documents(batch)
            await asyncio.sleep(0)
        await self.sync_log()

    async def sync_log(self) -> None:
        """Everything written so far survives a loss of power; a kill it survives anyway."""
        await asyncio.to_thread(sync, self.engine.log_files())

    def worth_optimizing(self) -> bool:
        """Whether a search would become noticeably faster, or a restart much shorter."""
        return (
            self.engine.unindexed >= UNINDEXED_THRESHOLD
            or len(self.engine.log_files()) > MAX_LOG_FILES
            or not self.engine.indexed_fields().issuperset(self.keys_to_index())
        )

    def needs_optimizing(self) -> bool:
        """Whether searches have become slow enough to optimise without being told.

        Half of what is indexed at least, so that a bulk load rebuilds the graph a few times
        only.
        """
        unindexed = self.engine.unindexed
        return unindexed >= max(COMPACT_UNASKED, (len(self.engine) - unindexed) // 2)

    def keys_to_index(self) -> dict[str, Kind]:
        """Payload keys of the metadata fields that get an index, oldest fields first."""
        keys: list[tuple[str, Kind]] = []
        for field, kinds in self.manifest.fields.items():
            for kind in kinds:
                keys.append((field_key(field, kind), kind))
                if kind == "number":
                    keys.append((exact_key(field), "text"))
        return dict(keys[:MAX_INDEXED_FIELDS])

    def _touch(self, document_ids: Sequence[str]) -> None:
        if self.touched is not None:
            self.touched.update(document_ids)

    def _replace_at_once(
        self,
        group: Sequence[DocumentChunks],
        rows: list[Row],
        existing: list[tuple[UUID, str]],
    ) -> None:
        # One log record shows the new chunks and hides the old, so that a crash leaves either
        # state; what it hid and did not delete is deleted with the next version.
        self._touch([document.document_id for document in group])
        kept = {row.id for row in rows}
        old = [(id_, name) for id_, name in existing if id_ not in kept]
        if rows or old:
            self.engine.write(rows, hide=old)
        if old:
            self.engine.delete([id_ for id_, _ in old])

    async def _replace_in_steps(
        self,
        group: Sequence[DocumentChunks],
        rows: list[Row],
        existing: list[tuple[UUID, str]],
    ) -> None:
        """For what is too large for one call: stage invisibly, then change over."""
        self._touch([document.document_id for document in group])
        present = {id_ for id_, _ in existing}
        staged = [row for row in rows if row.id not in present]
        for start in range(0, len(staged), MAX_POINTS_PER_CALL):
            batch = staged[start : start + MAX_POINTS_PER_CALL]
            self.engine.write([row._replace(access=[]) for row in batch])
            await asyncio.sleep(0)
        flip = _flip(rows, [id_ for id_, _ in existing])
        await self.sync_log()
        await _uninterrupted(self._flip(flip))

    async def _flip(self, flip: Flip) -> None:
        await asyncio.to_thread(self.files.write_flip, flip)
        self._change_over(flip)
        await self.sync_log()
        await asyncio.to_thread(self.files.forget_flip)

    def _change_over(self, flip: Flip) -> None:
        # No await in here: a search sees the old chunks or the new ones.
        for access, ids in flip.show:
            self.engine.set_access([UUID(id_) for id_ in ids], access)
        if flip.hide:
            self.engine.delete([UUID(id_) for id_ in flip.hide])

    async def _learn_fields(self, group: Sequence[DocumentChunks]) -> None:
        """Record metadata fields before the first document that has them is written."""
        seen = {
            key
            for document in group
            for chunk in document.chunks
            for key in filters.values_by_kind(chunk.metadata)
        }
        known = self.manifest.fields
        new = sorted(key for key in seen if key[1] not in known.get(key[0], ()))
        if not new:
            return
        fields = {field: list(kinds) for field, kinds in known.items()}
        for field, kind in new:
            fields.setdefault(field, []).append(kind)
        manifest = msgspec.structs.replace(self.manifest, fields=fields)
        await _uninterrupted(asyncio.to_thread(self.files.write_manifest, manifest))
        self.manifest = manifest
        if len(self.engine) <= _FIELD_INDEX_AT_ONCE:
            # On a large shard this would block for long: there the next optimisation does it.
            self.index_missing_fields()

    def index_missing_fields(self) -> None:
        indexed = self.engine.indexed_fields()
        for key, kind in self.keys_to_index().items():
            if key not in indexed:
                self.engine.index_field(key, kind)

    async def _rows(self, group: Sequence[DocumentChunks]) -> list[Row]:
        rows: list[Row] = []
        for document in group:
            for chunk in document.chunks:
                rows.append(_row(chunk, self.manifest.average_length))
                if len(rows) % MAX_POINTS_PER_CALL == 0:
                    await asyncio.sleep(0)
        return rows


async def _uninterrupted(work: Coroutine[Any, Any, None]) -> None:
    """Finish `work` also when the caller is cancelled, and only then be cancelled."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _groups(documents: Sequence[DocumentChunks]) -> Iterator[list[DocumentChunks]]:
    """Documents that fit into one call together; of one document twice, the last counts."""
    group: list[DocumentChunks] = []
    size = 0
    for document in {document.document_id: document for document in documents}.values():
        if group and size + len(document.chunks) > MAX_POINTS_PER_CALL:
            yield group
            group, size = [], 0
        group.append(document)
        size += len(document.chunks)
    if group:
        yield group


def _row(chunk: IndexedChunk, average_length: float) -> Row:
    return Row(
        id=chunk.id,
        document_id=chunk.document_id,
        access=list(chunk.access),
        dense=chunk.vector,
        lexical=lexical.document_vector(chunk.lexical_text, average_length),
        body=stored.encode(chunk),
        fields=payload_fields(chunk.metadata),
    )


def _flip(rows: Sequence[Row], existing: Sequence[UUID]) -> Flip:
    show: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        show.setdefault(tuple(row.access), []).append(str(row.id))
    kept = {row.id for row in rows}
    return Flip(
        show=[(list(access), ids) for access, ids in show.items()],
        hide=[str(id_) for id_ in existing if id_ not in kept],
    )
