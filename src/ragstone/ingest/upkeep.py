"""What ingestion owes to the index besides new documents: deletions and optimisation."""

import asyncio
import functools
import logging
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Final
from weakref import WeakValueDictionary

import msgspec

from ragstone.domain.document import Document
from ragstone.domain.errors import RagstoneError, UnknownCollection
from ragstone.ingest.intake import Lane, Ticket
from ragstone.ingest.publish import Publisher
from ragstone.ingest.retry import Retry
from ragstone.ports import Index, Records, Tombstone

_FOREVER: Final = float("inf")
_RETRY_SECONDS: Final = 10.0
_log = logging.getLogger(__name__)


class UpkeepSettings(msgspec.Struct, frozen=True, kw_only=True):
    """When a collection is brought into its fastest form."""

    optimize_chunks: int = 1_000
    """After as many new chunks, once no job of the collection is left."""
    optimize_delay: float = 2.0
    """Seconds without a job before that."""


class Upkeep:
    """Deletes documents for good, and optimises collections that have come to rest.

    `unfinished` gives the tickets of all jobs that have not ended.
    """

    def __init__(
        self,
        *,
        records: Records,
        index: Index,
        publisher: Publisher,
        retry: Retry,
        settings: UpkeepSettings,
        unfinished: Callable[[], Iterable[Ticket]],
    ) -> None:
        self._records = records
        self._index = index
        self._publisher = publisher
        self._retry = retry
        self._settings = settings
        self._unfinished = unfinished
        self._undeleted: set[Tombstone] = set()
        self._undropped: dict[Lane, int] = {}
        """Deleted collections that the index still has; the order of their deletion."""
        self._doors: WeakValueDictionary[Lane, asyncio.Lock] = WeakValueDictionary()
        self._new_chunks: Counter[Lane] = Counter()
        self._optimizing: set[Lane] = set()
        self._chores: set[asyncio.Task[None]] = set()
        self._forgetting: set[asyncio.Task[None]] = set()

    async def stop(self) -> None:
        """Leave the rest to the next `take_up`; a deletion that is carried out is not left, since
        to forget it takes one write."""
        chores = list(self._chores)
        for chore in chores:
            chore.cancel()
        await asyncio.gather(*chores, *self._forgetting, return_exceptions=True)
        self._optimizing.clear()

    async def delete(self, tenant: str, document_id: str, *, order: int) -> Document | None:
        """Out of the records and the index; None if it was absent.

        Jobs with an order of at most `order` do not bring it back. When the index cannot be
        reached it raises, and goes on trying.
        """
        found = await self._records.document(tenant, document_id)
        if found is None:
            return None
        lane = (tenant, found.collection)
        async with self._publisher.lock(lane):
            deleted = await self._records.delete_document(tenant, document_id)
            if deleted is None:
                return None
            tombstone = Tombstone(
                tenant=tenant, collection=deleted.collection, document_id=document_id
            )
            self._publisher.bury(tombstone, order)
            try:
                await self._index.delete(*lane, [document_id])
                await self._records.raise_generation(*lane)
            except Exception:
                self._undeleted.add(tombstone)
                self._spawn(self._delete_later(tombstone))
                raise
        await self._forget(lane)
        return deleted

    async def delete_collection(self, lane: Lane, *, order: int) -> bool:
        """All of its documents, out of the records and the index; False if it was absent.

        Unfinished jobs of it fail. When the index cannot be reached it raises, goes on trying,
        and does not let the collection be made again before. A crash in the middle is made
        good by `take_up`, since the records leave a tombstone for each document.
        """
        async with self._door(lane), self._publisher.lock(lane):
            if not await self._records.delete_collection(*lane) and lane not in self._undropped:
                return False
            for ticket in self._unfinished():
                if ticket.lane == lane and ticket.order <= order:
                    ticket.fail(UnknownCollection(f"The collection {lane[1]!r} was deleted."))
            known = lane in self._undropped
            self._undropped[lane] = order
            try:
                await self._drop(lane)
            except Exception:
                if not known:
                    self._spawn(self._drop_later(lane))
                raise
        return True

    @asynccontextmanager
    async def opened(self, lane: Lane) -> AsyncIterator[None]:
        """While the collection may be made: it is not being deleted, and nothing is left of it.

        Not the publisher's lock: a submission need not wait until documents are published.
        Raises `IndexUnavailable` where an earlier deletion cannot be brought to its end.
        """
        async with self._door(lane):
            if lane in self._undropped:
                async with self._publisher.lock(lane):
                    await self._drop(lane)
            yield

    def _door(self, lane: Lane) -> asyncio.Lock:
        return self._doors.setdefault(lane, asyncio.Lock())

    async def _drop(self, lane: Lane) -> None:
        """The rest of a collection's deletion; door and lock are held."""
        order = self._undropped[lane]
        for tombstone in await self._records.tombstones():
            if (tombstone.tenant, tombstone.collection) == lane:
                self._publisher.bury(tombstone, order)
        await self._index.drop(*lane)
        del self._undropped[lane]
        self._new_chunks.pop(lane, None)
        self._forget_soon(lane)

    async def _drop_later(self, lane: Lane) -> None:
        while lane in self._undropped:
            await self._retry.sleep(_RETRY_SECONDS)
            async with self._door(lane), self._publisher.lock(lane):
                if lane not in self._undropped:
                    return
                try:
                    await self._drop(lane)
                except RagstoneError as error:
                    _log.warning("a deleted collection is still in the index: %s", error)

    async def take_up(self, tombstones: Iterable[Tombstone], tickets: Iterable[Ticket]) -> None:
        """After a crash: bring every recorded deletion to its end."""
        by_lane: dict[Lane, list[Tombstone]] = defaultdict(list)
        for tombstone in tombstones:
            by_lane[tombstone.tenant, tombstone.collection].append(tombstone)
        orders: dict[Lane, list[Ticket]] = defaultdict(list)
        for ticket in tickets:
            orders[ticket.lane].append(ticket)
        for lane, graves in by_lane.items():
            ids = [grave.document_id for grave in graves]
            alive = await self._records.documents_by_id(lane[0], ids)
            gone = [id_ for id_ in ids if id_ not in alive]
            await self._retry.call(
                functools.partial(self._index.delete, *lane, gone), what="deleting"
            )
            await self._records.raise_generation(*lane)
            self._undropped.pop(lane, None)
            for grave in graves:
                earlier = [t.order for t in orders[lane] if t.submitted_at <= grave.deleted_at]
                self._publisher.bury(grave, max(earlier, default=0))
            await self._forget(lane)

    def job_ended(self, ticket: Ticket) -> None:
        """Tidy up behind a job."""
        self._new_chunks[ticket.lane] += ticket.published_chunks
        self._forget_soon(ticket.lane)
        if (
            self._new_chunks[ticket.lane] >= self._settings.optimize_chunks
            and ticket.lane not in self._optimizing
        ):
            self._optimizing.add(ticket.lane)
            self._spawn(self._optimize(ticket.lane))

    def _forget_soon(self, lane: Lane) -> None:
        task = asyncio.create_task(self._forget(lane), name="ingest-forget")
        self._forgetting.add(task)
        task.add_done_callback(self._forgetting.discard)

    async def _forget(self, lane: Lane) -> None:
        """Drop the tombstones that no unfinished job could undo any more."""
        if lane in self._undropped or not self._publisher.has_graves(lane):
            return
        orders = [ticket.order for ticket in self._unfinished() if ticket.lane == lane]
        for tombstone in self._publisher.graves_before(lane, min(orders, default=_FOREVER)):
            if tombstone in self._undeleted:
                continue  # `_delete_later` forgets it
            try:
                await self._records.forget_tombstone(tombstone)
            except RagstoneError as error:
                _log.warning("a tombstone stays until the next start: %s", error)

    async def _delete_later(self, tombstone: Tombstone) -> None:
        lane = (tombstone.tenant, tombstone.collection)
        while True:
            await self._retry.sleep(_RETRY_SECONDS)
            try:
                async with self._publisher.lock(lane):
                    if await self._records.document(lane[0], tombstone.document_id) is None:
                        await self._index.delete(*lane, [tombstone.document_id])
                        await self._records.raise_generation(*lane)
                break
            except RagstoneError as error:
                _log.warning("a deleted document is still in the index: %s", error)
        self._undeleted.discard(tombstone)
        if not self._publisher.is_grave(tombstone):
            self._publisher.bury(tombstone, 0)
        await self._forget(lane)

    async def _optimize(self, lane: Lane) -> None:
        try:
            await self._retry.sleep(self._settings.optimize_delay)
            if any(ticket.lane == lane for ticket in self._unfinished()):
                return  # the end of that job brings us here again
            self._new_chunks.pop(lane, None)
            await self._index.optimize(*lane)
        except RagstoneError as error:
            _log.warning("collection %s is not optimised: %s", lane[1], error)
        finally:
            self._optimizing.discard(lane)

    def _spawn(self, chore: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(chore, name="ingest-upkeep")
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)
