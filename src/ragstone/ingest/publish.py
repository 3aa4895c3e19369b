"""Embedded documents to their readers: index first, then records.

In that order a crash in between is harmless: the records still hold the old content hash, so the
job, which runs again, does the document again.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal, Protocol
from weakref import WeakValueDictionary

import msgspec

from ragstone.domain.document import (
    Chunk,
    Document,
    IndexedChunk,
    Metadata,
    ParsedDocument,
    chunk_id,
)
from ragstone.domain.errors import NotFound, RagstoneError
from ragstone.ingest.intake import Lane, Ticket
from ragstone.ingest.retry import Retry
from ragstone.ports import Clock, DocumentChunks, Index, Records, Tombstone

Outcome = Literal["added", "changed", "unchanged", "failed", "deleted"]
_log = logging.getLogger(__name__)


class IngestObserver(Protocol):
    """Told what happened; must not raise or block."""

    def documents(self, outcome: Outcome, count: int) -> None: ...

    def chunks(self, count: int) -> None:
        """Chunks published."""
        ...

    def visible(self, seconds: float) -> None:
        """From a document's acknowledgement to its being found."""
        ...


class Unobserved:
    """Implements `IngestObserver`: nobody listens."""

    def documents(self, outcome: Outcome, count: int) -> None:
        pass

    def chunks(self, count: int) -> None:
        pass

    def visible(self, seconds: float) -> None:
        pass


class Prepared(msgspec.Struct, kw_only=True, eq=False):
    """A document cut into chunks, collecting their vectors."""

    ticket: Ticket
    document_id: str
    parsed: ParsedDocument
    metadata: Metadata
    access: list[str]
    """Access tokens."""
    content_hash: str
    chunks: list[Chunk]
    embedding_texts: list[str]
    lexical_texts: list[str]
    vectors: list[list[float]]
    missing: int
    """Vectors not there yet."""
    in_work: bool = False
    released: bool = False
    """Published, refused or given up."""


class Unrecorded(Exception):
    """The index has new versions of documents, and the records, which failed, the old ones.

    Only publishing them again puts both right, so their jobs have to run again.
    """


class Published(msgspec.Struct, frozen=True):
    """What became of one document."""

    item: Prepared
    outcome: Outcome
    """`failed`: the submitter may not replace the document that is there."""


class Publisher:
    """Puts documents into index and records, one collection at a time."""

    def __init__(self, records: Records, index: Index, clock: Clock, retry: Retry) -> None:
        self._records = records
        self._index = index
        self._clock = clock
        self._retry = retry
        self._locks: WeakValueDictionary[Lane, asyncio.Lock] = WeakValueDictionary()
        self._graves: dict[Lane, dict[str, tuple[int, Tombstone]]] = defaultdict(dict)

    def lock(self, lane: Lane) -> asyncio.Lock:
        """Held while documents of the collection change; kept for as long as somebody has it."""
        return self._locks.setdefault(lane, asyncio.Lock())

    def bury(self, tombstone: Tombstone, order: int) -> None:
        """Jobs of its collection with an order of at most `order` cannot bring it back."""
        lane = (tombstone.tenant, tombstone.collection)
        self._graves[lane][tombstone.document_id] = (order, tombstone)

    def has_graves(self, lane: Lane) -> bool:
        return lane in self._graves

    def is_grave(self, tombstone: Tombstone) -> bool:
        lane = (tombstone.tenant, tombstone.collection)
        return tombstone.document_id in self._graves.get(lane, {})

    def graves_before(self, lane: Lane, order: float) -> list[Tombstone]:
        """Remove and return the graves that no job from `order` on can disturb."""
        graves = self._graves.get(lane, {})
        over = [document for document, (until, _) in graves.items() if until < order]
        tombstones = [graves.pop(document)[1] for document in over]
        if not graves:
            self._graves.pop(lane, None)
        return tombstones

    def buried(self, item: Prepared) -> bool:
        """Deleted, itself or with its whole collection, after its job was submitted."""
        if item.ticket.failure is not None:
            return True
        grave = self._graves.get(item.ticket.lane, {}).get(item.document_id)
        return grave is not None and grave[0] >= item.ticket.order

    async def publish(self, lane: Lane, items: Sequence[Prepared]) -> list[Published]:
        """Make the items visible, all of one collection and in the order of submission.

        An item that is the same as what is published, deleted since, or overtaken by a later
        item of the same document is left out, and so is one whose submitter may not replace
        the document. Raises `RagstoneError`s after retries, and `Unrecorded`.
        """
        async with self.lock(lane):
            ids = list({item.document_id for item in items})
            existing = await self._retry.call(
                lambda: self._records.documents_by_id(lane[0], ids), what="reading records"
            )
            latest, refused = self._last_allowed(items, existing)
            fresh = [item for item in latest.values() if _differs(item, existing)]
            if fresh:
                await self._write(lane, fresh, existing)
            published = []
            for item in items:
                outcome: Outcome = "changed" if item.document_id in existing else "added"
                if self.buried(item):
                    outcome = "deleted"
                elif item in refused:
                    outcome = "failed"
                elif latest.get(item.document_id) is item and item not in fresh:
                    outcome = "unchanged"
                published.append(Published(item, outcome))
            return published

    def _last_allowed(
        self, items: Sequence[Prepared], existing: dict[str, Document]
    ) -> tuple[dict[str, Prepared], list[Prepared]]:
        """As if they came one after the other: who has the last word, and who may not speak."""
        latest: dict[str, Prepared] = {}
        refused: list[Prepared] = []
        for item in items:
            earlier = latest.get(item.document_id)
            if self.buried(item):
                continue
            if earlier is not None:
                allowed = item.ticket.may_replace(earlier.access)
            else:
                allowed = not forbidden(item, existing.get(item.document_id))
            if allowed:
                latest[item.document_id] = item
            else:
                refused.append(item)
        return latest, refused

    async def _write(
        self, lane: Lane, items: Sequence[Prepared], existing: dict[str, Document]
    ) -> None:
        first = await self._retry.call(
            lambda: self._records.next_versions(*lane, len(items)), what="numbering versions"
        )
        versions = [
            DocumentChunks(
                document_id=item.document_id,
                version=first + place,
                chunks=_indexed(item, first + place),
            )
            for place, item in enumerate(items)
        ]
        now = self._clock.time()
        rows = [
            (_recorded(item, first + place, existing.get(item.document_id), now), item.parsed.text)
            for place, item in enumerate(items)
        ]
        await self._retry.call(
            lambda: self._index.replace(*lane, versions), what="writing to the index"
        )
        try:
            await self._retry.call(
                lambda: self._records.put_documents(*lane, rows), what="recording documents"
            )
        except Exception as error:
            added = [item.document_id for item in items if item.document_id not in existing]
            if isinstance(error, NotFound):  # the collection is gone, with all it had
                added = [item.document_id for item in items]
            await self._take_back(lane, added)
            if len(added) == len(items):
                raise
            # The old versions are gone from the index: no answer made of them may be kept.
            await self._raise_generation(lane)
            if isinstance(error, RagstoneError) and not error.retriable:
                raise
            raise Unrecorded(f"{len(items) - len(added)} changed documents") from error

    async def _take_back(self, lane: Lane, document_ids: Sequence[str]) -> None:
        """Out of the index what the records could not be told of."""
        try:
            await self._index.delete(*lane, document_ids)
        except RagstoneError:
            _log.exception("%d documents are findable but not recorded", len(document_ids))

    async def _raise_generation(self, lane: Lane) -> None:
        try:
            await self._retry.call(
                lambda: self._records.raise_generation(*lane), what="raising the generation"
            )
        except RagstoneError as error:
            _log.warning("answers of changed documents are kept until the next try: %s", error)


def by_lane(items: Iterable[Prepared]) -> dict[Lane, list[Prepared]]:
    groups: dict[Lane, list[Prepared]] = {}
    for item in items:
        groups.setdefault(item.ticket.lane, []).append(item)
    return groups


def forbidden(item: Prepared, existing: Document | None) -> bool:
    """Whether the document is there, and its submitter may not replace it.

    A job that runs again meets what it has published itself, which its submitter need not be
    able to read: the same content from the same source, published since the submission.
    """
    if existing is None or item.ticket.may_replace(existing.access):
        return False
    own = (
        item.ticket.ran_before
        and existing.updated_at >= item.ticket.submitted_at
        and existing.source_name == item.ticket.source_name
        and existing.content_hash == item.content_hash
    )
    return not own


def _differs(item: Prepared, existing: dict[str, Document]) -> bool:
    found = existing.get(item.document_id)
    return found is None or found.content_hash != item.content_hash


def _indexed(item: Prepared, version: int) -> list[IndexedChunk]:
    tenant, collection = item.ticket.lane
    return [
        IndexedChunk(
            id=chunk_id(item.document_id, version, piece.ordinal),
            tenant=tenant,
            collection=collection,
            document_id=item.document_id,
            external_id=item.parsed.external_id,
            version=version,
            chunk=piece,
            title=item.parsed.title,
            access=item.access,
            metadata=item.metadata,
            vector=vector,
            lexical_text=lexical,
        )
        for piece, vector, lexical in zip(
            item.chunks, item.vectors, item.lexical_texts, strict=True
        )
    ]


def _recorded(item: Prepared, version: int, existing: Document | None, now: float) -> Document:
    tenant, collection = item.ticket.lane
    return Document(
        id=item.document_id,
        tenant=tenant,
        collection=collection,
        external_id=item.parsed.external_id,
        title=item.parsed.title,
        version=version,
        content_hash=item.content_hash,
        access=item.access,
        metadata=item.metadata,
        chunk_count=len(item.chunks),
        character_count=len(item.parsed.text),
        source_name=item.ticket.source_name,
        created_at=existing.created_at if existing is not None else now,
        updated_at=now,
    )
