"""Ingestion as the server and the commands see it: submit, watch, delete."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from ragstone.domain.document import Document, DocumentSource
from ragstone.domain.errors import Overloaded, RagstoneError, UnknownCollection, UnknownDocument
from ragstone.domain.job import TERMINAL_STATES, DocumentError, Job
from ragstone.domain.principal import Principal
from ragstone.ingest.chunk import Chunker, ChunkSettings
from ragstone.ingest.estimate import Estimate, Estimator
from ragstone.ingest.funds import Funds
from ragstone.ingest.intake import Ticket
from ragstone.ingest.jobs import JobBoard
from ragstone.ingest.publish import IngestObserver, Publisher, Unobserved
from ragstone.ingest.retry import Retry
from ragstone.ingest.runner import Runner
from ragstone.ingest.upkeep import Upkeep, UpkeepSettings
from ragstone.ingest.validate import require_ingest, require_valid
from ragstone.ports import Clock, Embedder, Index, Parser, Records

_RESTART_SECONDS: Final = 1.0
_log = logging.getLogger(__name__)


class IngestionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How documents are taken in."""

    chunks: ChunkSettings = ChunkSettings()
    batch_chunks: int = 128
    """Chunks embedded in one call."""
    max_source_bytes: int = 50_000_000
    max_jobs: int = 100_000
    """Unfinished jobs; one more is refused."""
    max_attempts: int = 3
    """A job that was running in so many crashes is not started again."""
    upkeep: UpkeepSettings = UpkeepSettings()
    retry: Retry = Retry()


class Ingestion:
    """Takes documents in through durable jobs, and out again.

    Between `start` and `stop` jobs run; they may be submitted before. One process works on a
    collection at a time.
    """

    def __init__(
        self,
        *,
        records: Records,
        index: Index,
        embedder: Embedder,
        parser: Parser,
        clock: Clock,
        settings: IngestionSettings | None = None,
        funds: Funds | None = None,
        observer: IngestObserver | None = None,
    ) -> None:
        """`funds`: None where embedding costs nothing."""
        settings = settings or IngestionSettings()
        self._settings = settings
        self._records = records
        self._index = index
        self._embedder = embedder
        self._parser = parser
        self._clock = clock
        self._observer = observer or Unobserved()
        self._chunker = Chunker(settings.chunks, embedder.count_tokens)
        self._funds = funds
        self._estimator = Estimator(
            parser, records, Chunker(settings.chunks, embedder.count_tokens), funds
        )
        self._board = JobBoard(records, clock, settings.retry)
        self._publisher = Publisher(records, index, clock, settings.retry)
        self._tickets: dict[str, Ticket] = {}
        self._upkeep = Upkeep(
            records=records,
            index=index,
            publisher=self._publisher,
            retry=settings.retry,
            settings=settings.upkeep,
            unfinished=self._tickets.values,
        )
        self._orders = 0
        self._last_submission = 0.0
        self._running: asyncio.Task[None] | None = None
        self._runner = self._new_runner()

    @property
    def running(self) -> bool:
        """Between `start` and `stop`."""
        return self._running is not None

    @property
    def queue_depth(self) -> int:
        """Jobs not yet ended."""
        return len(self._tickets)

    async def start(self) -> None:
        """Finish what a crash left undone, and begin to run jobs."""
        if self._running is None:
            await self._take_up()
            self._running = asyncio.create_task(self._run(), name="ingest")

    async def stop(self) -> None:
        """Stop running jobs; those begun go on at the next start."""
        running, self._running = self._running, None
        if running is None:
            return
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await self._upkeep.stop()
        for ticket in self._tickets.values():
            if ticket.active and not ticket.ended:
                try:
                    await self._board.give_back(ticket.job_id)
                except RagstoneError as error:
                    _log.warning("%s stays marked as running: %s", ticket.job_id, error)

    async def submit(self, principal: Principal, source: DocumentSource) -> Job:
        """Accept a source into the principal's tenant; the job is durable when this returns.

        A document that is there already and that the principal may not read is refused when
        the job runs, unless the principal has the scope `admin`.

        Raises `Forbidden`, `InvalidRequest`, `PayloadTooLarge`, `EmbedderMismatch`,
        `Overloaded`, `RecordsUnavailable`, and `IndexUnavailable` when the collection is being
        made again while its deletion cannot be finished.
        """
        require_ingest(principal)
        require_valid(source, max_bytes=self._settings.max_source_bytes)
        if self.queue_depth >= self._settings.max_jobs:
            raise Overloaded(f"{self.queue_depth:,} ingestion jobs are waiting.", retry_after=30.0)
        source = msgspec.structs.replace(
            source, submitter=_rights(principal), key_id=principal.key_id, user=principal.user
        )
        # A caller who leaves in the middle must not leave a recorded job that nobody runs.
        return await asyncio.shield(self._accept(principal.tenant, source))

    async def _accept(self, tenant: str, source: DocumentSource) -> Job:
        async with self._upkeep.opened((tenant, source.collection)):
            return await self._accepted(tenant, source)

    async def _accepted(self, tenant: str, source: DocumentSource) -> Job:
        await self._records.ensure_collection(tenant, source.collection, self._embedder.identity)
        self._last_submission = now = max(self._clock.time(), self._last_submission + 1e-6)
        self._orders += 1
        order = self._orders
        job = Job(
            id=f"job_{int(now * 1e6):014x}{secrets.token_hex(5)}",
            tenant=tenant,
            collection=source.collection,
            source_name=source.name,
            state="queued",
            created_at=now,
            updated_at=now,
        )
        await self._records.create_job(job, source)
        if job.id not in self._tickets:  # else a start in the meantime has taken it up
            self._line_up(job, order, source)
        return job

    async def estimate(self, principal: Principal, source: DocumentSource) -> Estimate:
        """What `submit` would do and cost; nothing is embedded or stored.

        Raises `Forbidden`, `InvalidRequest`, `PayloadTooLarge`, `Unreadable`,
        `RecordsUnavailable`.
        """
        require_ingest(principal)
        require_valid(source, max_bytes=self._settings.max_source_bytes)
        job = Job(
            id="", tenant=principal.tenant, collection=source.collection, source_name=source.name,
            state="queued", created_at=0.0, updated_at=0.0,
        )  # fmt: skip
        ticket = Ticket(job, 0)
        ticket.describe(source)
        return await self._estimator.estimate(ticket, source)

    async def job(self, principal: Principal, job_id: str) -> Job:
        """The job as it stands now. Raises `UnknownJob`, also for another tenant's."""
        return await self._board.find(principal.tenant, job_id)

    def watch(self, principal: Principal, job_id: str) -> AsyncIterator[Job]:
        """The job now and after every change, up to its end. Raises `UnknownJob`."""
        return self._board.watch(principal.tenant, job_id)

    async def wait(self, principal: Principal, job_id: str) -> Job:
        """The job once it has ended. Raises `UnknownJob`."""
        async for job in self.watch(principal, job_id):
            if job.state in TERMINAL_STATES:
                break
        return job

    async def delete_document(self, principal: Principal, document_id: str) -> Document:
        """Remove a document for good; it cannot be found any more when this returns.

        Jobs submitted earlier do not bring it back. Raises `Forbidden`, `UnknownDocument`
        (also for one that the principal may not read), `RecordsUnavailable`,
        `IndexUnavailable` (then it is removed as soon as the index can be reached).
        """
        require_ingest(principal)
        found = await self._records.document(principal.tenant, document_id)
        if found is None or not _may_delete(principal, found):
            raise _unknown(document_id)
        deleting = self._upkeep.delete(principal.tenant, document_id, order=self._orders)
        deleted = await asyncio.shield(deleting)  # also when the caller leaves
        if deleted is None:
            raise _unknown(document_id)
        self._observer.documents("deleted", 1)
        return deleted

    async def delete_collection(self, principal: Principal, name: str) -> None:
        """Remove a collection with all of its documents; its unfinished jobs fail.

        Raises `Forbidden`, `UnknownCollection`, `RecordsUnavailable`, `IndexUnavailable`.
        """
        require_ingest(principal)
        lane = (principal.tenant, name)
        deleting = self._upkeep.delete_collection(lane, order=self._orders)
        if not await asyncio.shield(deleting):
            raise UnknownCollection(
                f"There is no collection {name!r}.", remedy="Look at the list of collections."
            )

    async def _take_up(self) -> None:
        """Every unfinished job from its beginning, and every deletion to its end."""
        self._runner = self._new_runner()
        tombstones = await self._settings.retry.call(
            self._records.tombstones, what="reading deletions"
        )
        jobs = await self._settings.retry.call(self._records.unfinished_jobs, what="reading jobs")
        self._tickets.clear()
        crashed = []
        for job in jobs:
            if job.attempts >= self._settings.max_attempts:
                self._board.add(job)
                crashed.append(job)
            else:
                self._orders += 1
                self._line_up(job, self._orders)
        await self._upkeep.take_up(tombstones, list(self._tickets.values()))
        for job in crashed:
            await self._board.end(job.id, "failed", _crashed(job))

    def _line_up(self, job: Job, order: int, source: DocumentSource | None = None) -> None:
        ticket = self._tickets[job.id] = Ticket(job, order)
        self._board.add(job)
        self._runner.add(ticket, source)

    async def _run(self) -> None:
        while True:
            try:
                await self._runner.run()
            except Exception:
                _log.exception("ingestion broke off; unfinished jobs begin again")
                await self._start_again()

    async def _start_again(self) -> None:
        while True:
            await self._settings.retry.sleep(_RESTART_SECONDS)
            try:
                return await self._take_up()
            except RagstoneError as error:
                _log.warning("ingestion cannot start again yet: %s", error)

    def _job_ended(self, ticket: Ticket) -> None:
        self._tickets.pop(ticket.job_id, None)
        self._upkeep.job_ended(ticket)

    def _new_runner(self) -> Runner:
        return Runner(
            records=self._records,
            embedder=self._embedder,
            parser=self._parser,
            clock=self._clock,
            retry=self._settings.retry,
            chunker=self._chunker,
            board=self._board,
            publisher=self._publisher,
            observer=self._observer,
            funds=self._funds,
            estimator=self._estimator,
            batch_chunks=self._settings.batch_chunks,
            ended=self._job_ended,
        )


def _may_delete(principal: Principal, document: Document) -> bool:
    """Administrators delete also what they may not read."""
    return "admin" in principal.scopes or document.readable_by(principal)


def _rights(principal: Principal) -> list[str] | None:
    """What `DocumentSource.submitter` keeps of who submits."""
    return None if "admin" in principal.scopes else principal.access_tokens()


def _unknown(document_id: str) -> UnknownDocument:
    return UnknownDocument(
        f"There is no document {document_id!r}.",
        remedy="Documents are named by the ids that searches and jobs return.",
    )


def _crashed(job: Job) -> DocumentError:
    return DocumentError(
        external_id=job.source_name,
        code="crashed",
        message=f"Ingestion broke off {job.attempts} times while this job was running, so it is "
        "not started again. Look for the cause in the log, then submit it once more.",
    )
