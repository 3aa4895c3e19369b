"""`Records` in SQLite or PostgreSQL."""

from collections.abc import Callable, Sequence
from typing import Self, TypeVar

from sqlalchemy import Connection, Engine

from ragstone.domain.collection import Collection, EmbedderIdentity
from ragstone.domain.document import Document, DocumentSource
from ragstone.domain.job import DocumentError, Job, JobCounts, JobState
from ragstone.ports import ApiKey, BudgetRecords, Clock, KeyPlace, Tombstone
from ragstone.records import collection_rows, document_rows, job_rows, key_rows
from ragstone.records.engine import open_engine
from ragstone.records.failures import translated
from ragstone.records.migrate import migrate
from ragstone.records.refusals import require_embedder, require_own
from ragstone.records.sql_budgets import SqlBudgets
from ragstone.records.transactions import Transactions

T = TypeVar("T")


class SqlRecords:
    """Implements `ports.Records`; its docstrings there.

    Every method runs one function in one transaction; see `transactions`.
    """

    def __init__(self, engine: Engine, clock: Clock) -> None:
        """For an engine whose tables are there; `open` makes sure of that."""
        self._transactions = Transactions(engine)
        self._clock = clock
        self.budgets: BudgetRecords = SqlBudgets(self._transactions, clock)
        """In the same database; closed with it."""

    @classmethod
    def open(cls, url: str, clock: Clock) -> Self:
        """Connect and bring the tables up to date. Blocks; for the start of a process.

        Raises `InvalidSettings` (the address), `RecordsUnavailable`, `HomeTooNew` (the
        tables were written by a later version).
        """
        engine = open_engine(url)
        try:
            with translated():
                migrate(engine)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine, clock)

    async def collection(self, tenant: str, name: str) -> Collection | None:
        return await self._read(lambda c: collection_rows.find(c, tenant, name))

    async def generation(self, tenant: str, name: str) -> int | None:
        return await self._read(lambda c: collection_rows.generation(c, tenant, name))

    async def document_versions(self, tenant: str, document_ids: Sequence[str]) -> dict[str, int]:
        return await self._read(lambda c: document_rows.versions(c, tenant, document_ids))

    async def collections(self, tenant: str) -> list[Collection]:
        return await self._read(lambda c: collection_rows.of_tenant(c, tenant))

    async def all_collections(self) -> list[Collection]:
        return await self._read(collection_rows.everywhere)

    async def ensure_collection(
        self, tenant: str, name: str, embedder: EmbedderIdentity
    ) -> Collection:
        found = await self.collection(tenant, name)
        if found is not None:
            require_embedder(found, embedder)
            return found
        now = self._clock.time()
        return await self._write(
            lambda c: collection_rows.ensure(c, tenant, name, embedder, now=now)
        )

    async def delete_collection(self, tenant: str, name: str) -> bool:
        now = self._clock.time()
        return await self._write(lambda c: _delete_collection(c, tenant, name, now=now))

    async def document(self, tenant: str, document_id: str) -> Document | None:
        return await self._read(lambda c: document_rows.find(c, tenant, document_id))

    async def documents_by_id(
        self, tenant: str, document_ids: Sequence[str]
    ) -> dict[str, Document]:
        return await self._read(lambda c: document_rows.find_many(c, tenant, document_ids))

    async def document_text(self, tenant: str, document_id: str) -> str | None:
        return await self._read(lambda c: document_rows.text(c, tenant, document_id))

    async def documents(
        self, tenant: str, collection: str, *, limit: int = 100, after: str | None = None
    ) -> list[Document]:
        return await self._read(
            lambda c: document_rows.page(c, tenant, collection, limit=limit, after=after)
        )

    async def next_versions(self, tenant: str, collection: str, count: int) -> int:
        return await self._write(
            lambda c: collection_rows.take_versions(c, tenant, collection, count)
        )

    async def put_documents(
        self, tenant: str, collection: str, documents: Sequence[tuple[Document, str]]
    ) -> Collection:
        require_own(tenant, collection, (document for document, _ in documents))
        now = self._clock.time()
        return await self._write(
            lambda c: document_rows.put(c, tenant, collection, documents, now=now)
        )

    async def delete_document(self, tenant: str, document_id: str) -> Document | None:
        now = self._clock.time()
        return await self._write(lambda c: document_rows.remove(c, tenant, document_id, now=now))

    async def tombstones(self) -> list[Tombstone]:
        return await self._read(document_rows.tombstones_everywhere)

    async def forget_tombstone(self, tombstone: Tombstone) -> None:
        await self._write(lambda c: document_rows.forget(c, tombstone))

    async def raise_generation(self, tenant: str, collection: str) -> None:
        now = self._clock.time()
        await self._write(
            lambda c: collection_rows.raise_generation(c, tenant, collection, now=now)
        )

    async def raise_cache_epoch(self, tenant: str, collection: str | None) -> list[str]:
        now = self._clock.time()
        return await self._write(
            lambda c: collection_rows.raise_cache_epoch(c, tenant, collection, now=now)
        )

    async def create_job(self, job: Job, source: DocumentSource) -> None:
        await self._write(lambda c: job_rows.create(c, job, source))

    async def job(self, tenant: str, job_id: str) -> Job | None:
        return await self._read(lambda c: job_rows.find(c, tenant, job_id))

    async def jobs(self, tenant: str, *, limit: int = 50) -> list[Job]:
        return await self._read(lambda c: job_rows.newest(c, tenant, limit))

    async def unfinished_jobs(self) -> list[Job]:
        return await self._read(job_rows.unfinished)

    async def job_source(self, job_id: str) -> DocumentSource | None:
        return await self._read(lambda c: job_rows.source(c, job_id))

    async def update_job(
        self,
        job_id: str,
        *,
        state: JobState,
        counts: JobCounts,
        errors: Sequence[DocumentError],
        attempts: int,
    ) -> None:
        now = self._clock.time()
        await self._write(
            lambda c: job_rows.change(
                c, job_id, state=state, counts=counts, errors=errors, attempts=attempts, now=now
            )
        )

    async def create_key(self, key: ApiKey) -> None:
        await self._write(lambda c: key_rows.create(c, key))

    async def key_by_hash(self, sha256: str) -> ApiKey | None:
        return await self._read(lambda c: key_rows.find_active(c, sha256))

    async def keys(
        self,
        tenant: str | None = None,
        *,
        limit: int | None = None,
        after: KeyPlace | None = None,
    ) -> list[ApiKey]:
        return await self._read(lambda c: key_rows.listed(c, tenant, limit=limit, after=after))

    async def revoke_key(self, key_id: str) -> bool:
        now = self._clock.time()
        return await self._write(lambda c: key_rows.revoke(c, key_id, now=now))

    async def close(self) -> None:
        """Waits for what is being written; a second call does nothing."""
        await self._transactions.close()

    async def _read(self, query: Callable[[Connection], T]) -> T:
        return await self._transactions.read(query)

    async def _write(self, change: Callable[[Connection], T]) -> T:
        return await self._transactions.write(change)


def _delete_collection(connection: Connection, tenant: str, name: str, *, now: float) -> bool:
    if not collection_rows.mark_deleted(connection, tenant, name, now=now):
        return False
    document_rows.remove_all(connection, tenant, name, now=now)
    job_rows.end_all(connection, tenant, name, now=now)
    return True
