"""The records of a process that changes them too: what it changes, it sees at once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ragstone.domain.collection import Collection, EmbedderIdentity
from ragstone.domain.document import Document, DocumentSource
from ragstone.domain.job import DocumentError, Job, JobCounts, JobState
from ragstone.ports import ApiKey, Clock, KeyPlace, Records, Tombstone
from ragstone.records.cached_reader import CachedReader


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
