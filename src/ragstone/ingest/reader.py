"""Jobs to parsed documents, several at once, each into the buffer of its ticket."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing

from ragstone.domain.document import DocumentSource
from ragstone.domain.errors import InternalError, RagstoneError, UnknownCollection, Unreadable
from ragstone.domain.job import DocumentError
from ragstone.ingest.estimate import Estimator
from ragstone.ingest.intake import AHEAD_BYTES, Lanes, Ticket
from ragstone.ingest.jobs import JobBoard
from ragstone.ingest.publish import IngestObserver
from ragstone.ingest.retry import Retry
from ragstone.ports import Embedder, Parser, Records

_log = logging.getLogger(__name__)


class Reader:
    """Reads the jobs that `lanes` offers; calls `arrived` after every change of a ticket."""

    def __init__(
        self,
        *,
        records: Records,
        embedder: Embedder,
        parser: Parser,
        retry: Retry,
        board: JobBoard,
        observer: IngestObserver,
        lanes: Lanes,
        estimator: Estimator,
        arrived: Callable[[], None],
    ) -> None:
        self._records = records
        self._embedder = embedder
        self._parser = parser
        self._retry = retry
        self._board = board
        self._observer = observer
        self._lanes = lanes
        self._estimator = estimator
        self._arrived = arrived
        self._tasks: dict[Ticket, asyncio.Task[None]] = {}
        self._stopped = False

    def start(self) -> None:
        """Begin to read every job whose turn it is."""
        while not self._stopped and (ticket := self._lanes.next_to_read()) is not None:
            name = f"ingest-read-{ticket.job_id}"
            self._tasks[ticket] = asyncio.create_task(self._read(ticket), name=name)

    def fail(self, ticket: Ticket, error: RagstoneError) -> None:
        """Fail the job, and read no more of it."""
        ticket.fail(error)
        if (task := self._tasks.get(ticket)) is not None:
            task.cancel()

    async def stop(self) -> None:
        """Leave everything that is being read as it is, for good."""
        self._stopped = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, ticket: Ticket) -> None:
        try:
            source = await self._begin(ticket)
            await self._estimator.check(ticket, source)
            await self._parse(ticket, source)
        except asyncio.CancelledError:
            if ticket.failure is None:
                raise
        except Unreadable as error:
            ticket.unreadable = self._board[ticket.job_id].counts.total == 0
            self.report(ticket, ticket.source_name, error)
        except RagstoneError as error:
            ticket.fail(error)
        except Exception:
            _log.exception("reading %s failed", ticket.job_id)
            ticket.fail(InternalError("The source could not be read for a reason of our own."))
        finally:
            self._tasks.pop(ticket, None)
        ticket.read_to_end = True
        self._arrived()
        self.start()

    async def _begin(self, ticket: Ticket) -> DocumentSource:
        await self._board.begin(ticket.job_id)
        source = self._lanes.take_source(ticket)
        if source is None:
            source = await self._fetched(ticket)
        ticket.describe(source)
        if len(source.content) > AHEAD_BYTES:
            await ticket.first.wait()
        return source

    async def _fetched(self, ticket: Ticket) -> DocumentSource:
        """The source from the records; the settings may have changed since it was submitted."""
        source = await self._retry.call(
            lambda: self._records.job_source(ticket.job_id), what="fetching a source"
        )
        if source is None:
            raise InternalError("The source of this job is no longer kept.")
        collection = await self._retry.call(
            lambda: self._records.collection(*ticket.lane), what="opening a collection"
        )
        if collection is None:
            raise UnknownCollection(f"The collection {ticket.lane[1]!r} has been deleted.")
        if collection.embedder != self._embedder.identity:
            await self._records.ensure_collection(*ticket.lane, self._embedder.identity)
        return source

    async def _parse(self, ticket: Ticket, source: DocumentSource) -> None:
        async with aclosing(self._parser.parse(source)) as items:
            async for item in items:
                self._board.count(ticket.job_id, total=1)
                if isinstance(item, DocumentError):
                    self._board.report(ticket.job_id, item)
                    self._observer.documents("failed", 1)
                else:
                    await ticket.put(item)
                    self._arrived()

    def report(self, ticket: Ticket, external_id: str, error: RagstoneError) -> None:
        """Count a document, or the whole source, as failed, and keep the reason."""
        reason = DocumentError(external_id=external_id, code=error.code, message=str(error))
        self._board.report(ticket.job_id, reason)
        self._observer.documents("failed", 1)
