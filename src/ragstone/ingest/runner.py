"""The path of documents through parser, embedder and publisher, all three busy at once.

    job --parse--> buffer of its ticket          several jobs at once (`reader`)
    buffers --skip unchanged, cut--> chunks      in the order of submission (`intake`)
    chunks --batches of many documents--> embedder   two batches at its door
    whole documents --> index, records           (`publish`)

Every queue is bounded, and each stage waits for the one after it.
"""

import asyncio
import functools
import logging
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Final

import msgspec

from ragstone.domain.budget import Spender
from ragstone.domain.document import DocumentSource, ParsedDocument
from ragstone.domain.errors import (
    BudgetExhausted,
    Conflict,
    EmptyDocument,
    InternalError,
    NotFound,
    RagstoneError,
)
from ragstone.domain.job import DocumentError
from ragstone.ingest.chunk import Chunker
from ragstone.ingest.estimate import Estimator
from ragstone.ingest.funds import Funds
from ragstone.ingest.intake import Lane, Lanes, Ticket
from ragstone.ingest.jobs import JobBoard
from ragstone.ingest.prepare import cut, identified, same
from ragstone.ingest.publish import (
    IngestObserver,
    Prepared,
    Published,
    Publisher,
    Unrecorded,
    by_lane,
    forbidden,
)
from ragstone.ingest.reader import Reader
from ragstone.ingest.retry import Retry
from ragstone.ingest.validate import not_yours
from ragstone.ports import Clock, Embedder, Parser, Records

_IN_FLIGHT: Final = 2
"""Batches at the embedder: one being computed, one at its door."""
_LOOKED_UP: Final = 64
"""Documents compared with the records at once."""
_log = logging.getLogger(__name__)


class _Batch(msgspec.Struct, eq=False):
    chunks: list[tuple[Prepared, int]]
    """Of one or many documents: the document and the number of its chunk."""
    vectors: "asyncio.Task[list[list[float]]]"


class Runner:
    """Runs the jobs added to it; calls `ended` when one has come to its end."""

    def __init__(
        self,
        *,
        records: Records,
        embedder: Embedder,
        parser: Parser,
        clock: Clock,
        retry: Retry,
        chunker: Chunker,
        board: JobBoard,
        publisher: Publisher,
        observer: IngestObserver,
        funds: Funds | None,
        estimator: Estimator,
        batch_chunks: int,
        ended: Callable[[Ticket], None],
    ) -> None:
        self._records = records
        self._embedder = embedder
        self._clock = clock
        self._retry = retry
        self._chunker = chunker
        self._board = board
        self._publisher = publisher
        self._observer = observer
        self._funds = funds
        self._batch_chunks = batch_chunks
        self._ended = ended
        self.lanes = Lanes()
        self._running = False
        self._wake = asyncio.Event()
        self._reader = Reader(
            records=records,
            embedder=embedder,
            parser=parser,
            retry=retry,
            board=board,
            observer=observer,
            lanes=self.lanes,
            estimator=estimator,
            arrived=self._wake.set,
        )
        self._cut: deque[tuple[Prepared, int]] = deque()
        self._in_work: Counter[str] = Counter()
        """Documents past the comparison with the records and not yet published."""
        self._at_rest: set[Ticket] = set()
        """Jobs with no document on its way, perhaps at their end."""
        self._slots = asyncio.Semaphore(_IN_FLIGHT)
        self._batches: asyncio.Queue[_Batch] = asyncio.Queue(maxsize=_IN_FLIGHT)
        self._embedding: set[asyncio.Task[list[list[float]]]] = set()
        self._publishing = asyncio.Lock()

    def add(self, ticket: Ticket, source: DocumentSource | None = None) -> None:
        """Line up a job, with its source where it is at hand."""
        self.lanes.add(ticket, source)
        if self._running:
            self._reader.start()

    async def run(self) -> None:
        """Until cancelled; a publication under way then is brought to its end.

        Raises `Unrecorded` and what is a bug of ours: then the jobs have to begin again.
        """
        self._running = True
        stages = [
            asyncio.create_task(self._feed(), name="ingest-feed"),
            asyncio.create_task(self._finish(), name="ingest-finish"),
        ]
        try:
            await asyncio.gather(*stages)
        finally:
            self._running = False
            async with self._publishing:
                tasks = [*stages, *self._embedding]
                for task in tasks:
                    task.cancel()
            await self._reader.stop()
            await asyncio.gather(*tasks, return_exceptions=True)

    # From the buffers to the embedder

    async def _feed(self) -> None:
        while True:
            await self._slots.acquire()
            await self._fill()
            await self._send()

    async def _fill(self) -> None:
        """A whole batch of chunks, or what there is when nothing more is at hand."""
        while True:
            self._wake.clear()
            self._reader.start()
            await self._settle()
            more = await self._cut_more()
            if len(self._cut) >= self._batch_chunks or (self._cut and not more):
                return
            if not more:
                await self._wake.wait()

    async def _cut_more(self) -> bool:
        """Cut some of the documents in the buffers; False when there are none."""
        taken: list[tuple[Ticket, ParsedDocument]] = []
        while len(taken) < _LOOKED_UP and (found := self.lanes.take()) is not None:
            taken.append(found)
            if not found[0].buffer:
                await self._settle()
        if not taken:
            return False
        for item in await self._changed(self._identified(taken)):
            try:
                await cut(self._chunker, item)
            except Exception:
                _log.exception("a document of %s cannot be cut", item.ticket.job_id)
                self._refuse(item, InternalError("The document could not be cut."))
                continue
            if not item.chunks:
                self._refuse(item, EmptyDocument("The document has no text."))
            self._cut.extend((item, number) for number in range(len(item.chunks)))
        return True

    def _identified(self, taken: Iterable[tuple[Ticket, ParsedDocument]]) -> list[Prepared]:
        items = []
        for ticket, parsed in taken:
            try:
                items.append(identified(ticket, parsed))
                continue
            except RagstoneError as error:
                refusal = error
            except Exception:
                _log.exception("a document of %s cannot be prepared", ticket.job_id)
                refusal = InternalError("The document could not be prepared.")
            self._reader.report(ticket, parsed.external_id, refusal)
            self._count_down(ticket)
        return items

    async def _changed(self, items: Sequence[Prepared]) -> list[Prepared]:
        """Those that differ from what the records hold, or may soon hold."""
        changed: list[Prepared] = []
        for lane, group in by_lane(items).items():
            ids = [item.document_id for item in group]
            try:
                known = await self._retry.call(
                    functools.partial(self._records.documents_by_id, lane[0], ids),
                    what="comparing documents",
                )
            except RagstoneError as error:
                self._fail(group, error)
                continue
            for item in group:
                if (
                    forbidden(item, known.get(item.document_id))
                    and not self._in_work[item.document_id]
                ):
                    self._refuse(item, not_yours())
                elif same(item, known) and not self._in_work[item.document_id]:
                    self._board.count(item.ticket.job_id, unchanged=1)
                    self._observer.documents("unchanged", 1)
                    self._release(item)
                else:
                    self._in_work[item.document_id] += 1
                    item.in_work = True
                    changed.append(item)
        return changed

    async def _send(self) -> None:
        chunks: list[tuple[Prepared, int]] = []
        spender = self._cut[0][0].ticket.spender
        while self._cut and len(chunks) < self._batch_chunks:
            if self._funds is not None and self._cut[0][0].ticket.spender != spender:
                break  # each pays for itself
            chunks.append(self._cut.popleft())
        texts = [item.embedding_texts[number] for item, number in chunks]
        task = asyncio.create_task(self._embed(spender, texts), name="ingest-embed")
        self._embedding.add(task)
        task.add_done_callback(self._embedding.discard)
        await self._batches.put(_Batch(chunks, task))

    async def _embed(self, spender: Spender, texts: Sequence[str]) -> list[list[float]]:
        try:
            return await self._retry.call(lambda: self._paid(spender, texts), what="embedding")
        finally:
            self._slots.release()

    async def _paid(self, spender: Spender, texts: Sequence[str]) -> list[list[float]]:
        """Each attempt is paid for by itself."""
        if self._funds is None:
            return await self._embedder.embed_documents(texts)
        async with self._funds.paying(spender, texts):
            return await self._embedder.embed_documents(texts)

    # From the embedder to index and records

    async def _finish(self) -> None:
        while True:
            batch = await self._batches.get()
            whole = await self._embedded(batch)
            async with self._publishing:
                for lane, items in by_lane(whole).items():
                    await self._publish(lane, items)
            for ticket in {item.ticket for item, _ in batch.chunks}:
                if not ticket.ended:
                    await self._board.save_progress(ticket.job_id)
            await self._settle()

    async def _embedded(self, batch: _Batch) -> list[Prepared]:
        """Hand the vectors out; the documents that are complete now."""
        try:
            vectors: Sequence[list[float] | None] = await batch.vectors
        except RagstoneError as error:
            if error.retriable or isinstance(error, BudgetExhausted):
                self._fail([item for item, _ in batch.chunks], error)
                return []
            vectors = await self._one_by_one(batch.chunks)
        except Exception:
            _log.exception("embedding failed")
            vectors = await self._one_by_one(batch.chunks)
        whole: list[Prepared] = []
        for (item, number), vector in zip(batch.chunks, vectors, strict=True):
            if item.ticket.failure is not None:
                self._release(item)
            elif vector is not None and not item.released:
                item.vectors[number] = vector
                item.missing -= 1
                if not item.missing:
                    whole.append(item)
        return whole

    async def _one_by_one(self, chunks: Sequence[tuple[Prepared, int]]) -> list[list[float] | None]:
        """Find the text that the embedder cannot take: only its document is refused."""
        vectors: list[list[float] | None] = []
        for item, number in chunks:
            vector: list[float] | None = None
            if not item.released:
                text = item.embedding_texts[number]
                try:
                    vector = (await self._paid(item.ticket.spender, [text]))[0]
                except BudgetExhausted as error:
                    self._fail([item], error)
                except RagstoneError as error:
                    self._refuse(item, error)
                except Exception:
                    _log.exception("embedding a chunk of %s failed", item.ticket.job_id)
                    self._refuse(item, InternalError("The document could not be embedded."))
            vectors.append(vector)
        return vectors

    async def _publish(self, lane: Lane, items: Sequence[Prepared]) -> None:
        try:
            published = await self._publisher.publish(lane, items)
        except Unrecorded:
            raise  # and breaks this runner off: every unfinished job begins again
        except (NotFound, Conflict) as error:
            self._fail(items, error)
            return
        except RagstoneError as error:
            if error.retriable:
                self._fail(items, error)
                return
            refusal = error
        except Exception:
            _log.exception("publishing failed")
            refusal = InternalError("The document could not be published.")
        else:
            for result in published:
                self._record(result)
            return
        if len(items) == 1:
            self._refuse(items[0], refusal)
            return
        for item in items:
            await self._publish(lane, [item])

    def _record(self, result: Published) -> None:
        item, outcome = result.item, result.outcome
        if outcome == "failed":
            self._refuse(item, not_yours())
            return
        visible = outcome in ("added", "changed")
        self._board.count(
            item.ticket.job_id,
            added=outcome == "added",
            changed=outcome == "changed",
            unchanged=not visible,
            chunks=len(item.chunks) if visible else 0,
        )
        self._observer.documents(outcome, 1)
        if visible:
            item.ticket.published_chunks += len(item.chunks)
            self._observer.chunks(len(item.chunks))
            self._observer.visible(max(0.0, self._clock.time() - item.ticket.submitted_at))
        self._release(item)

    # Ends

    def _fail(self, items: Iterable[Prepared], error: RagstoneError) -> None:
        """A dependency did not heal in time: the jobs of these documents fail."""
        for item in items:
            self._reader.fail(item.ticket, error)
            self._release(item)

    def _refuse(self, item: Prepared, error: RagstoneError) -> None:
        """This document cannot be ingested; the job goes on."""
        if not item.released:
            self._reader.report(item.ticket, item.parsed.external_id, error)
            self._release(item)

    def _release(self, item: Prepared) -> None:
        if item.released:
            return
        item.released = True
        if item.in_work:
            self._in_work[item.document_id] -= 1
            if not self._in_work[item.document_id]:
                del self._in_work[item.document_id]
        self._count_down(item.ticket)

    def _count_down(self, ticket: Ticket) -> None:
        ticket.outstanding -= 1
        if not ticket.outstanding:
            self._at_rest.add(ticket)
            self._wake.set()

    async def _settle(self) -> None:
        """End the jobs that have nothing left to do."""
        self._at_rest.update(self.lanes.advance())
        while self._at_rest:
            ticket = self._at_rest.pop()
            if ticket.ended or not ticket.passed or ticket.outstanding:
                continue
            ticket.ended = True
            await _unbroken(self._end_and_tell(ticket))

    async def _end_and_tell(self, ticket: Ticket) -> None:
        await self._end(ticket)
        self.lanes.finished(ticket)
        self._wake.set()
        self._ended(ticket)

    async def _end(self, ticket: Ticket) -> None:
        if (failure := ticket.failure) is not None:
            again = ""
            if failure.retriable or isinstance(failure, BudgetExhausted):
                again = " Submit it again later: what is there already is not done again."
            reason = DocumentError(
                external_id=ticket.source_name,
                code=failure.code,
                message=f"{failure}{again}",
            )
            await self._board.end(ticket.job_id, "failed", reason)
        elif ticket.unreadable:
            await self._board.end(ticket.job_id, "failed")
        elif self._board[ticket.job_id].counts.failed:
            await self._board.end(ticket.job_id, "done_with_errors")
        else:
            await self._board.end(ticket.job_id, "done")


async def _unbroken(work: Coroutine[None, None, None]) -> None:
    """To its end, also when cancelled meanwhile: a job whose end the records have has ended here
    too, and what is to be tidied up behind it is known."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        raise
