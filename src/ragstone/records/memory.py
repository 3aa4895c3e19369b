"""`Records` in this process's memory: for tests, simulations and trials. Survives nothing."""

import itertools
from collections.abc import Iterable, Sequence

import msgspec

from ragstone.domain.collection import Collection, EmbedderIdentity
from ragstone.domain.document import Document, DocumentSource
from ragstone.domain.job import TERMINAL_STATES, DocumentError, Job, JobCounts, JobState
from ragstone.ports import ApiKey, Clock, KeyPlace, Tombstone
from ragstone.records.refusals import (
    already_there,
    collection_deleted,
    require_embedder,
    require_own,
    unknown_collection,
    unknown_job,
)
from ragstone.records.storable import (
    storable_errors,
    storable_metadata,
    storable_name,
    storable_text,
)

Name = tuple[str, str]
"""Tenant, and a name or an id."""


class MemoryRecords:
    """Implements `ports.Records`; its docstrings there. Nothing awaits, so all is atomic."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._collections: dict[Name, Collection] = {}
        self._generations: dict[Name, tuple[int, int]] = {}
        """And cache epochs, of deleted collections: made again, they go on counting."""
        self._next_versions: dict[Name, int] = {}
        self._documents: dict[Name, tuple[Document, str]] = {}
        self._tombstones: dict[tuple[str, str, str], Tombstone] = {}
        self._jobs: dict[str, Job] = {}
        self._sources: dict[str, DocumentSource] = {}
        self._keys: dict[str, ApiKey] = {}

    async def collection(self, tenant: str, name: str) -> Collection | None:
        return self._collections.get((tenant, name))

    async def generation(self, tenant: str, name: str) -> int | None:
        found = self._collections.get((tenant, name))
        return None if found is None else found.generation

    async def document_versions(self, tenant: str, document_ids: Sequence[str]) -> dict[str, int]:
        found = await self.documents_by_id(tenant, document_ids)
        return {id_: document.version for id_, document in found.items()}

    async def collections(self, tenant: str) -> list[Collection]:
        return [c for c in await self.all_collections() if c.tenant == tenant]

    async def all_collections(self) -> list[Collection]:
        return [collection for _, collection in sorted(self._collections.items())]

    async def ensure_collection(
        self, tenant: str, name: str, embedder: EmbedderIdentity
    ) -> Collection:
        found = self._collections.get((tenant, name))
        if found is not None:
            require_embedder(found, embedder)
            return found
        generation, epoch = self._generations.get((tenant, name), (0, 0))
        made = Collection(
            tenant=storable_name(tenant),
            name=storable_name(name),
            embedder=embedder,
            generation=generation,
            cache_epoch=epoch,
            document_count=0,
            chunk_count=0,
            created_at=self._clock.time(),
        )
        self._collections[tenant, name] = made
        return made

    async def delete_collection(self, tenant: str, name: str) -> bool:
        found = self._collections.pop((tenant, name), None)
        if found is None:
            return False
        self._generations[tenant, name] = (self._raised(found.generation), found.cache_epoch)
        for document in self._of_collection(tenant, name):
            del self._documents[tenant, document.id]
            self._bury(document)
        await self._end_jobs(tenant, name)
        return True

    async def document(self, tenant: str, document_id: str) -> Document | None:
        found = self._documents.get((tenant, document_id))
        return found and found[0]

    async def documents_by_id(
        self, tenant: str, document_ids: Sequence[str]
    ) -> dict[str, Document]:
        found = ((id_, self._documents.get((tenant, id_))) for id_ in document_ids)
        return {id_: entry[0] for id_, entry in found if entry is not None}

    async def document_text(self, tenant: str, document_id: str) -> str | None:
        found = self._documents.get((tenant, document_id))
        return found and found[1]

    async def documents(
        self, tenant: str, collection: str, *, limit: int = 100, after: str | None = None
    ) -> list[Document]:
        following = (
            document
            for document in sorted(self._of_collection(tenant, collection), key=lambda d: d.id)
            if after is None or document.id > after
        )
        return list(itertools.islice(following, max(0, limit)))

    async def next_versions(self, tenant: str, collection: str, count: int) -> int:
        self._require(tenant, collection)
        first = self._next_versions.get((tenant, collection), 1)
        self._next_versions[tenant, collection] = first + count
        return first

    async def put_documents(
        self, tenant: str, collection: str, documents: Sequence[tuple[Document, str]]
    ) -> Collection:
        require_own(tenant, collection, (document for document, _ in documents))
        unchanged = self._require(tenant, collection)
        if not documents:
            return unchanged
        for document, text in [(_stored(document), text) for document, text in documents]:
            self._documents[tenant, document.id] = (document, storable_text(text))
            self._tombstones.pop((tenant, document.collection, document.id), None)
        return self._changed(unchanged)

    async def delete_document(self, tenant: str, document_id: str) -> Document | None:
        found = self._documents.pop((tenant, document_id), None)
        if found is None:
            return None
        document, _ = found
        self._bury(document)
        self._changed(self._require(tenant, document.collection))
        return document

    async def tombstones(self) -> list[Tombstone]:
        return list(self._tombstones.values())

    async def forget_tombstone(self, tombstone: Tombstone) -> None:
        self._tombstones.pop((tombstone.tenant, tombstone.collection, tombstone.document_id), None)

    async def raise_generation(self, tenant: str, collection: str) -> None:
        if (found := self._collections.get((tenant, collection))) is not None:
            self._collections[tenant, collection] = msgspec.structs.replace(
                found, generation=self._raised(found.generation)
            )

    async def raise_cache_epoch(self, tenant: str, collection: str | None) -> list[str]:
        names = [c.name for c in await self.collections(tenant) if collection in (None, c.name)]
        for name in names:
            found = self._collections[tenant, name]
            self._collections[tenant, name] = msgspec.structs.replace(
                found,
                generation=self._raised(found.generation),
                cache_epoch=self._raised(found.cache_epoch),
            )
        return names

    async def create_job(self, job: Job, source: DocumentSource) -> None:
        if job.id in self._jobs:
            raise already_there("job", job.id)
        kept = msgspec.structs.replace(
            source,
            name=storable_text(source.name),
            metadata=storable_metadata(source.metadata),
        )
        self._jobs[job.id] = msgspec.structs.replace(
            job,
            source_name=storable_text(job.source_name),
            errors=storable_errors(job.errors),
        )
        if job.state not in TERMINAL_STATES:
            self._sources[job.id] = kept

    async def job(self, tenant: str, job_id: str) -> Job | None:
        job = self._jobs.get(job_id)
        return job if job is not None and job.tenant == tenant else None

    async def jobs(self, tenant: str, *, limit: int = 50) -> list[Job]:
        own = (job for job in self._jobs.values() if job.tenant == tenant)
        return _by_age(own)[::-1][: max(0, limit)]

    async def unfinished_jobs(self) -> list[Job]:
        return _by_age(job for job in self._jobs.values() if job.state not in TERMINAL_STATES)

    async def job_source(self, job_id: str) -> DocumentSource | None:
        return self._sources.get(job_id)

    async def update_job(
        self,
        job_id: str,
        *,
        state: JobState,
        counts: JobCounts,
        errors: Sequence[DocumentError],
        attempts: int,
    ) -> None:
        job = self._jobs.get(job_id)
        if job is None:
            raise unknown_job(job_id)
        if job.state in TERMINAL_STATES:
            return
        self._jobs[job_id] = msgspec.structs.replace(
            job,
            state=state,
            counts=counts,
            errors=storable_errors(errors),
            attempts=attempts,
            updated_at=self._clock.time(),
        )
        if state in TERMINAL_STATES:
            self._sources.pop(job_id, None)

    async def create_key(self, key: ApiKey) -> None:
        if key.id in self._keys or any(k.sha256 == key.sha256 for k in self._keys.values()):
            raise already_there("key", key.id)
        self._keys[key.id] = key

    async def key_by_hash(self, sha256: str) -> ApiKey | None:
        for key in self._keys.values():
            if key.sha256 == sha256 and key.revoked_at is None:
                return key
        return None

    async def keys(
        self,
        tenant: str | None = None,
        *,
        limit: int | None = None,
        after: KeyPlace | None = None,
    ) -> list[ApiKey]:
        found = [
            key
            for key in self._keys.values()
            if tenant in (None, key.tenant) and (after is None or key.place > after)
        ]
        return sorted(found, key=lambda key: key.place)[:limit]

    async def revoke_key(self, key_id: str) -> bool:
        key = self._keys.get(key_id)
        if key is None or key.revoked_at is not None:
            return False
        self._keys[key_id] = msgspec.structs.replace(key, revoked_at=self._clock.time())
        return True

    async def close(self) -> None:
        """Nothing to let go of."""

    def _require(self, tenant: str, name: str) -> Collection:
        found = self._collections.get((tenant, name))
        if found is None:
            raise unknown_collection(name, [n for t, n in self._collections if t == tenant])
        return found

    def _of_collection(self, tenant: str, name: str) -> list[Document]:
        return [
            document
            for document, _ in self._documents.values()
            if (document.tenant, document.collection) == (tenant, name)
        ]

    def _changed(self, before: Collection) -> Collection:
        documents = self._of_collection(before.tenant, before.name)
        after = msgspec.structs.replace(
            before,
            generation=self._raised(before.generation),
            document_count=len(documents),
            chunk_count=sum(document.chunk_count for document in documents),
        )
        self._collections[before.tenant, before.name] = after
        return after

    def _raised(self, counter: int) -> int:
        """As in a database, to the time in milliseconds at least."""
        return max(counter + 1, int(self._clock.time() * 1000))

    def _bury(self, document: Document) -> None:
        self._tombstones[document.tenant, document.collection, document.id] = Tombstone(
            tenant=document.tenant,
            collection=document.collection,
            document_id=document.id,
            deleted_at=self._clock.time(),
        )

    async def _end_jobs(self, tenant: str, collection: str) -> None:
        reason = collection_deleted(collection)
        for job in list(self._jobs.values()):
            if (job.tenant, job.collection) != (tenant, collection):
                continue
            if job.state in TERMINAL_STATES:
                del self._jobs[job.id]
                continue
            await self.update_job(
                job.id,
                state="failed",
                counts=job.counts,
                errors=[*job.errors, reason],
                attempts=job.attempts,
            )


def _stored(document: Document) -> Document:
    return msgspec.structs.replace(
        document,
        external_id=storable_text(document.external_id),
        title=storable_text(document.title),
        source_name=storable_text(document.source_name),
        metadata=storable_metadata(document.metadata),
    )


def _by_age(jobs: Iterable[Job]) -> list[Job]:
    return sorted(jobs, key=lambda job: (job.created_at, job.id))
