"""What every question asks the records, answered from this process's memory.

Changes made through this object are seen at once, those of another process within
`TTL_SECONDS`.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar

from ragstone.domain.collection import Collection, EmbedderIdentity
from ragstone.domain.document import Document, DocumentSource
from ragstone.domain.job import DocumentError, Job, JobCounts, JobState
from ragstone.ports import ApiKey, Clock, KeyPlace, Records, RecordsReader, Tombstone
from ragstone.records.expiring import ExpiringMap

TTL_SECONDS: Final = 1.0
"""Longest time for which a key revoked elsewhere still opens the door."""
_SIZE: Final = 4096
_T = TypeVar("_T")


class CachedReader:
    """Implements `ports.RecordsReader` upon another; keeps `collection` and `key_by_hash`.

    What is asked for is read again, once for all, when half of its time is over, and nobody waits
    for that: every second thirty questions at once had read the same, and others behind them.

    A read that was under way while something changed is returned but not kept: it may have
    seen the state before.
    """

    def __init__(self, inner: RecordsReader, clock: Clock) -> None:
        self._reader = inner
        self._clock = clock
        self._collections: ExpiringMap[tuple[str, str], Collection] = ExpiringMap(
            clock, ttl=TTL_SECONDS, size=_SIZE
        )
        self._keys: ExpiringMap[str, ApiKey] = ExpiringMap(clock, ttl=TTL_SECONDS, size=_SIZE)
        # Apart, so that a flood of invented keys cannot push out the real ones.
        self._unknown_keys: ExpiringMap[str, bool] = ExpiringMap(clock, ttl=TTL_SECONDS, size=_SIZE)
        self._changes = 0
        self._reads: dict[Hashable, asyncio.Task[Any]] = {}

    async def collection(self, tenant: str, name: str) -> Collection | None:
        known = self.collection_at_once(tenant, name)
        if known is not None:
            return known
        return await asyncio.shield(self._reading_collection(tenant, name))

    def collection_at_once(self, tenant: str, name: str) -> Collection | None:
        """Without waiting; None where `collection` has to be awaited."""
        if (fresh := self._collections.fresh((tenant, name))) is not None:
            return fresh
        if (known := self._collections.get((tenant, name))) is not None:
            self._reading_collection(tenant, name)
        return known

    def _reading_collection(self, tenant: str, name: str) -> "asyncio.Task[Collection | None]":
        return self._reading((self._changes, tenant, name), self._read_collection, tenant, name)

    async def _read_collection(self, tenant: str, name: str) -> Collection | None:
        changes, asked = self._changes, self._clock.monotonic()
        found = await self._reader.collection(tenant, name)
        if found is not None and changes == self._changes:
            self._collections.put((tenant, name), found, born=asked)
        return found

    async def generation(self, tenant: str, name: str) -> int | None:
        now = await self._reader.generation(tenant, name)
        known = self._collections.get((tenant, name))
        if known is not None and known.generation != now:
            self._changes += 1
            self._collections.discard((tenant, name))
        return now

    async def key_by_hash(self, sha256: str) -> ApiKey | None:
        if (known := self.key_at_once(sha256)) is not None:
            return known
        if self._unknown_keys.get(sha256):
            return None
        return await asyncio.shield(self._reading_key(sha256))

    def key_at_once(self, sha256: str) -> ApiKey | None:
        """Without waiting; None where `key_by_hash` has to be asked."""
        if (fresh := self._keys.fresh(sha256)) is not None:
            return fresh
        if (known := self._keys.get(sha256)) is not None:
            self._reading_key(sha256)
        return known

    def _reading_key(self, sha256: str) -> "asyncio.Task[ApiKey | None]":
        return self._reading((self._changes, sha256), self._read_key, sha256)

    async def _read_key(self, sha256: str) -> ApiKey | None:
        changes, asked = self._changes, self._clock.monotonic()
        found = await self._reader.key_by_hash(sha256)
        if changes == self._changes:
            if found is None:
                self._keys.discard(sha256)
                self._unknown_keys.put(sha256, True, born=asked)
            else:
                self._keys.put(sha256, found, born=asked)
        return found

    def _reading(
        self, what: Hashable, read: Callable[..., Coroutine[None, None, _T]], *of: str
    ) -> "asyncio.Task[_T]":
        """One read for all who want it at this moment. `what` names it and the state of changes,
        so that nobody shares one that began before a change of their own."""
        reading: asyncio.Task[_T] | None = self._reads.get(what)
        if reading is None:
            reading = self._reads[what] = asyncio.create_task(read(*of))
            reading.add_done_callback(partial(self._has_read, what))
        return reading

    def _has_read(self, what: Hashable, reading: "asyncio.Task[object]") -> None:
        del self._reads[what]
        if not reading.cancelled():
            reading.exception()  # if nobody waits: whoever asks after the expiry meets it again

    async def document_versions(self, tenant: str, document_ids: Sequence[str]) -> dict[str, int]:
        return await self._reader.document_versions(tenant, document_ids)

    async def collections(self, tenant: str) -> list[Collection]:
        return await self._reader.collections(tenant)

    async def keys(self) -> list[ApiKey]:
        return await self._reader.keys()

    async def close(self) -> None:
        for reading in tuple(self._reads.values()):
            reading.cancel()
        await asyncio.gather(*self._reads.values(), return_exceptions=True)
        await self._reader.close()


class CachedRecords(CachedReader):
    """Implements `ports.Records` upon another."""

    def __init__(self, inner: Records, clock: Clock) -> None:
        super().__init__(inner, clock)
        self._inner = inner

    async def generation(self, tenant: str, name: str) -> int | None:
        """From memory: whatever raises it goes through this object, and is seen at once."""
        found = await self.collection(tenant, name)
        return None if found is None else found.generation

    async def all_collections(self) -> list[Collection]:
        return await self._inner.all_collections()

    async def ensure_collection(
        self, tenant: str, name: str, embedder: EmbedderIdentity
    ) -> Collection:
        with self._changing_collection(tenant, name):
            return await self._inner.ensure_collection(tenant, name, embedder)

    async def delete_collection(self, tenant: str, name: str) -> bool:
        with self._changing_collection(tenant, name):
            return await self._inner.delete_collection(tenant, name)

    async def document(self, tenant: str, document_id: str) -> Document | None:
        return await self._inner.document(tenant, document_id)

    async def documents_by_id(
        self, tenant: str, document_ids: Sequence[str]
    ) -> dict[str, Document]:
        return await self._inner.documents_by_id(tenant, document_ids)

    async def document_text(self, tenant: str, document_id: str) -> str | None:
        return await self._inner.document_text(tenant, document_id)

    async def documents(
        self, tenant: str, collection: str, *, limit: int = 100, after: str | None = None
    ) -> list[Document]:
        return await self._inner.documents(tenant, collection, limit=limit, after=after)

    async def next_versions(self, tenant: str, collection: str, count: int) -> int:
        return await self._inner.next_versions(tenant, collection, count)

    async def put_documents(
        self, tenant: str, collection: str, documents: Sequence[tuple[Document, str]]
    ) -> Collection:
        with self._changing_collection(tenant, collection):
            return await self._inner.put_documents(tenant, collection, documents)

    async def delete_document(self, tenant: str, document_id: str) -> Document | None:
        try:
            return await self._inner.delete_document(tenant, document_id)
        finally:
            # Where it fails, the collection is not known; deletions are rare enough.
            self._changes += 1
            self._collections.clear()

    async def tombstones(self) -> list[Tombstone]:
        return await self._inner.tombstones()

    async def forget_tombstone(self, tombstone: Tombstone) -> None:
        await self._inner.forget_tombstone(tombstone)

    async def raise_generation(self, tenant: str, collection: str) -> None:
        with self._changing_collection(tenant, collection):
            await self._inner.raise_generation(tenant, collection)

    async def raise_cache_epoch(self, tenant: str, collection: str | None) -> list[str]:
        try:
            return await self._inner.raise_cache_epoch(tenant, collection)
        finally:
            self._changes += 1
            self._collections.clear()

    async def create_job(self, job: Job, source: DocumentSource) -> None:
        await self._inner.create_job(job, source)

    async def job(self, tenant: str, job_id: str) -> Job | None:
        return await self._inner.job(tenant, job_id)

    async def jobs(self, tenant: str, *, limit: int = 50) -> list[Job]:
        return await self._inner.jobs(tenant, limit=limit)

    async def unfinished_jobs(self) -> list[Job]:
        return await self._inner.unfinished_jobs()

    async def job_source(self, job_id: str) -> DocumentSource | None:
        return await self._inner.job_source(job_id)

    async def update_job(
        self,
        job_id: str,
        *,
        state: JobState,
        counts: JobCounts,
        errors: Sequence[DocumentError],
        attempts: int,
    ) -> None:
        await self._inner.update_job(
            job_id, state=state, counts=counts, errors=errors, attempts=attempts
        )

    async def keys(
        self,
        tenant: str | None = None,
        *,
        limit: int | None = None,
        after: KeyPlace | None = None,
    ) -> list[ApiKey]:
        return await self._inner.keys(tenant, limit=limit, after=after)

    async def create_key(self, key: ApiKey) -> None:
        with self._changing_keys():
            await self._inner.create_key(key)

    async def revoke_key(self, key_id: str) -> bool:
        with self._changing_keys():
            return await self._inner.revoke_key(key_id)

    @contextmanager
    def _changing_collection(self, tenant: str, name: str) -> Iterator[None]:
        try:
            yield
        finally:
            self._changes += 1
            self._collections.discard((tenant, name))

    @contextmanager
    def _changing_keys(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._changes += 1
            self._keys.clear()
            self._unknown_keys.clear()
