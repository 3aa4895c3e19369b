"""The embedded index: one engine directory for each tenant and collection.

A shard of its own gives each collection its own lexical statistics, needs no tenant
condition in the query, and keeps tenants apart on disk (docs/decisions/0001-index-layout.md).
The access condition is part of every query all the same.
"""

import asyncio
import fcntl
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ragstone.domain.errors import IndexUnavailable
from ragstone.domain.passage import SearchResult
from ragstone.domain.principal import Principal
from ragstone.domain.query import SearchRequest
from ragstone.index import lexical, stored
from ragstone.index.edge_compaction import compact
from ragstone.index.edge_files import Manifest, ShardFiles, shard_directory, sync, sync_tree
from ragstone.index.edge_room import Room, bytes_to_write, free_bytes, size_of_tree
from ragstone.index.edge_shard import EdgeShard
from ragstone.index.legs import Legs
from ragstone.ports import DocumentChunks

_log = logging.getLogger(__name__)

_DROPPED: Final = ".dropped"

_Key = tuple[str, str]


class QdrantEdgeIndex:
    """Implements `ports.Index` on files under `root`, for one process and one event loop.

    What is promised: a replaced or deleted document is on disk when the call returns, also
    after a loss of power; a crash at any moment leaves each document in one of its versions.
    Searches run on the event loop's thread without ever waiting for a writer.

    Raises `IndexUnavailable` at once when another process has `root` open, and from `replace`
    and `optimize` when the disk may have no room for what they write.
    """

    def __init__(self, root: Path, *, free: Callable[[Path], int] = free_bytes) -> None:
        """`free` tells how many bytes the disk of a folder has left."""
        self._root = root
        self._room = Room(root, free)
        self._lock: int | None = _lock_directory(root)
        self._shards: dict[_Key, EdgeShard] = {}
        self._creating = asyncio.Lock()
        self._compactions: dict[_Key, asyncio.Task[None]] = {}
        for dropped in root.glob(f"*{_DROPPED}"):
            shutil.rmtree(dropped, ignore_errors=True)

    async def search(self, principal: Principal, request: SearchRequest) -> SearchResult:
        shard = self._shard(principal.tenant, request.collection)
        if shard is None:
            Legs(request)  # a malformed request is refused whether or not anything is there
            return SearchResult(passages=[])
        return shard.search(principal, request)

    async def replace(
        self, tenant: str, collection: str, documents: Sequence[DocumentChunks]
    ) -> None:
        shard = self._shard(tenant, collection)
        chunks = [chunk for document in documents for chunk in document.chunks]
        dimensions = stored.check_chunks(
            tenant, collection, chunks, shard.manifest.dimensions if shard else None
        )
        self._room.require(bytes_to_write(chunks))
        if shard is None:
            if dimensions is None:
                return
            lengths = [lexical.length(chunk.lexical_text) for chunk in chunks[:1000]]
            manifest = Manifest(
                tenant=tenant,
                collection=collection,
                dimensions=dimensions,
                average_length=lexical.average_length(lengths),
            )
            shard = await self._create(manifest)
        await shard.replace(documents)
        if shard.needs_optimizing():
            self._start_compaction((tenant, collection), shard)

    async def delete(self, tenant: str, collection: str, document_ids: Sequence[str]) -> None:
        shard = self._shard(tenant, collection)
        if shard is not None and document_ids:
            await shard.delete(document_ids)

    async def optimize(self, tenant: str, collection: str) -> None:
        key = (tenant, collection)
        if (running := self._compactions.get(key)) is not None:
            await asyncio.wait([running])
        shard = self._shard(tenant, collection)
        if shard is not None and shard.worth_optimizing():
            task = self._start_compaction(key, shard)
            await asyncio.wait([task])  # goes on when only this caller is cancelled
            if task.cancelled():
                raise IndexUnavailable(
                    f"Optimising the collection {collection!r} was stopped.",
                    remedy="It was closed or dropped meanwhile; nothing was lost.",
                )
            task.result()

    async def drop(self, tenant: str, collection: str) -> None:
        key = (tenant, collection)
        await self._stop_compaction(key)
        path = shard_directory(self._root, tenant, collection)
        shard = self._shards.pop(key, None)
        if not path.exists():
            return
        dropped = path.with_name(f"{path.name}{_DROPPED}")
        shutil.rmtree(dropped, ignore_errors=True)
        path.rename(dropped)
        await asyncio.to_thread(sync, [self._root])
        if shard is not None:
            async with shard.write_lock:
                shard.engine.close()
        await asyncio.to_thread(shutil.rmtree, dropped, ignore_errors=True)

    async def close(self) -> None:
        for key in list(self._compactions):
            await self._stop_compaction(key)
        while self._shards:
            _, shard = self._shards.popitem()
            async with shard.write_lock:
                await asyncio.to_thread(sync_tree, shard.engine.path)
                shard.engine.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _shard(self, tenant: str, collection: str) -> EdgeShard | None:
        """The shard, opened at its first use; None where there is none."""
        shard = self._shards.get((tenant, collection))
        if shard is not None:
            return shard
        if self._lock is None:
            raise IndexUnavailable("The index is closed.", remedy="Open it again.")
        path = shard_directory(self._root, tenant, collection)
        if not ShardFiles(path).exists():
            return None
        shard = EdgeShard.open(path)
        self._shards[tenant, collection] = shard
        return shard

    async def _create(self, manifest: Manifest) -> EdgeShard:
        async with self._creating:
            key = (manifest.tenant, manifest.collection)
            if (shard := self._shard(*key)) is not None:
                return shard
            path = shard_directory(self._root, *key)
            shutil.rmtree(path, ignore_errors=True)  # a creation that a crash cut short
            shard = EdgeShard.create(path, manifest)
            self._shards[key] = shard
            await asyncio.to_thread(sync, [self._root])
            return shard

    def _start_compaction(self, key: _Key, shard: EdgeShard) -> asyncio.Task[None]:
        if (running := self._compactions.get(key)) is not None:
            return running
        task = asyncio.create_task(self._compact(shard))
        self._compactions[key] = task
        task.add_done_callback(lambda done: self._compacted(key, done))
        return task

    async def _compact(self, shard: EdgeShard) -> None:
        copied = await asyncio.to_thread(size_of_tree, shard.engine.path)
        self._room.require(2 * copied)  # the copy, and what is built in it
        await compact(shard)

    def _compacted(self, key: _Key, task: asyncio.Task[None]) -> None:
        del self._compactions[key]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("optimising an index failed", exc_info=error)

    async def _stop_compaction(self, key: _Key) -> None:
        if (task := self._compactions.get(key)) is not None:
            task.cancel()
            await asyncio.wait([task])


def _lock_directory(root: Path) -> int:
    root.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(root / "LOCK", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise IndexUnavailable(
            f"Another process has the index in {root} open.",
            remedy="Stop that process, or send requests to it.",
        ) from error
    return descriptor
