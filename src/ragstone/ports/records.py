"""What must not be lost: collections, documents, jobs and keys."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from ragstone.domain.collection import Collection, EmbedderIdentity
from ragstone.domain.document import Document, DocumentSource
from ragstone.domain.job import DocumentError, Job, JobCounts, JobState
from ragstone.domain.principal import Priority, Scope


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as the records keep it: its SHA-256, never the key."""

    id: str
    sha256: str
    tenant: str
    user: str | None
    groups: list[str]
    scopes: list[Scope]
    label: str
    created_at: float
    revoked_at: float | None = None
    priority: Priority | None = None
    """None: the application's."""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    """None: as the settings say for every key. 0: as many as it likes."""

    @property
    def place(self) -> "KeyPlace":
        return KeyPlace(self.created_at, self.id)


class KeyPlace(msgspec.Struct, frozen=True, array_like=True, order=True):
    """Where a key stands among all: they are in the order of these fields."""

    created_at: float
    id: str


class Tombstone(msgspec.Struct, frozen=True, kw_only=True):
    """A deletion that the index must still hear of."""

    tenant: str
    collection: str
    document_id: str
    deleted_at: float = 0.0
    """Unix seconds; 0 where not known. A job submitted before it does not bring the document
    back, also after a restart."""


class RecordsReader(Protocol):
    """What a question needs of the records. Raises `RecordsUnavailable`."""

    async def collection(self, tenant: str, name: str) -> Collection | None: ...

    async def generation(self, tenant: str, name: str) -> int | None:
        """The collection's generation at some moment since this was called, whatever is
        remembered from before; None if it is absent. What is kept from earlier is checked by it.
        """
        ...

    async def document_versions(self, tenant: str, document_ids: Sequence[str]) -> dict[str, int]:
        """Of those that are there, whatever is remembered from before."""
        ...

    async def collections(self, tenant: str) -> list[Collection]: ...

    async def key_by_hash(self, sha256: str) -> ApiKey | None:
        """A key that is not revoked, or None."""
        ...

    async def keys(self) -> list[ApiKey]: ...

    async def close(self) -> None: ...


class Records(RecordsReader, Protocol):
    """Collections, documents, jobs and keys. Raises `RecordsUnavailable`.

    Every acknowledged write survives a `kill -9`.
    """

    async def all_collections(self) -> list[Collection]: ...

    async def ensure_collection(
        self, tenant: str, name: str, embedder: EmbedderIdentity
    ) -> Collection:
        """The collection, made if absent. Raises `EmbedderMismatch` for another embedder."""
        ...

    async def delete_collection(self, tenant: str, name: str) -> bool:
        """With its documents and jobs; False if absent.

        Every document leaves a tombstone. Jobs that have not ended fail with the reason,
        ended ones are removed. Made again, it goes on counting generations and versions.
        """
        ...

    async def document(self, tenant: str, document_id: str) -> Document | None: ...

    async def documents_by_id(
        self, tenant: str, document_ids: Sequence[str]
    ) -> dict[str, Document]: ...

    async def document_text(self, tenant: str, document_id: str) -> str | None: ...

    async def documents(
        self, tenant: str, collection: str, *, limit: int = 100, after: str | None = None
    ) -> list[Document]:
        """A page in the order of ids; `after` is the last id of the page before."""
        ...

    async def next_versions(self, tenant: str, collection: str, count: int) -> int:
        """The first of `count` fresh version numbers; never given twice in a collection."""
        ...

    async def put_documents(
        self, tenant: str, collection: str, documents: Sequence[tuple[Document, str]]
    ) -> Collection:
        """Insert or replace documents with their texts, in one transaction.

        Raises the collection's generation; returns the collection after it. Tombstones of
        these documents are removed: put a document once the index has it. Characters that
        no database holds (NUL, lone surrogates) become U+FFFD, one for one. Raises
        `UnknownCollection`, `InvalidRequest` (a number in the metadata is not finite).
        """
        ...

    async def delete_document(self, tenant: str, document_id: str) -> Document | None:
        """Remove it and leave a tombstone; raises the generation. None if it was absent.

        The tombstone stays until `forget_deleted`, so that a crash between here and the
        index cannot leave the document findable.
        """
        ...

    async def tombstones(self) -> list[Tombstone]:
        """Deleted here, perhaps not yet in the index, of all tenants."""
        ...

    async def forget_tombstone(self, tombstone: Tombstone) -> None: ...

    async def raise_generation(self, tenant: str, collection: str) -> None:
        """After the index has carried out a deletion; nothing for an absent collection.

        Between the records' deletion and the index's a question may still find the document
        under the generation that the deletion began; no answer of then may be kept for later.
        """
        ...

    async def raise_cache_epoch(self, tenant: str, collection: str | None) -> list[str]:
        """Of the collection, or of all of the tenant's; the names of those that are there.

        Raises their generation too: what checks that, sees it at once in every process.
        """
        ...

    async def create_job(self, job: Job, source: DocumentSource) -> None: ...

    async def job(self, tenant: str, job_id: str) -> Job | None: ...

    async def jobs(self, tenant: str, *, limit: int = 50) -> list[Job]:
        """The newest first."""
        ...

    async def unfinished_jobs(self) -> list[Job]:
        """Oldest first, of all tenants: what a restart has to take up."""
        ...

    async def job_source(self, job_id: str) -> DocumentSource | None:
        """The source as submitted; None once the job has ended."""
        ...

    async def update_job(
        self,
        job_id: str,
        *,
        state: JobState,
        counts: JobCounts,
        errors: Sequence[DocumentError],
        attempts: int,
    ) -> None:
        """A terminal state also drops the kept source; a job that has ended stays as it ended.

        Raises `UnknownJob`.
        """
        ...

    async def keys(
        self,
        tenant: str | None = None,
        *,
        limit: int | None = None,
        after: KeyPlace | None = None,
    ) -> list[ApiKey]:
        """Also those that were revoked. Of all tenants where `tenant` is None. In the order of
        their places, at most `limit`, beginning behind `after`."""
        ...

    async def create_key(self, key: ApiKey) -> None: ...

    async def revoke_key(self, key_id: str) -> bool: ...
