"""Who is read when: jobs in lanes, a lane for each collection.

Within a lane, documents leave in the order in which their jobs were submitted, so that the later
submission of a document wins, before and after a crash. Jobs behind the first of a lane are read
ahead into bounded buffers. Between lanes the turns go round, so that nobody's bulk load makes
another's single document wait.
"""

import asyncio
import itertools
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Final

from ragstone.domain.document import DocumentSource, Metadata, ParsedDocument
from ragstone.domain.errors import RagstoneError
from ragstone.domain.job import Job
from ragstone.domain.principal import access_token
from ragstone.ingest.funds import payer

MAX_READING: Final = 32
"""Jobs being read at once: bounds the sources held in memory."""
MAX_READING_AHEAD: Final = 8
"""With so many being read, only the first jobs of lanes are begun."""
READ_AHEAD: Final = 64
"""Jobs of one lane being read or waiting to be taken; small files fill a batch together."""
AHEAD_BYTES: Final = 1_000_000
"""A larger source is read only once its job is the first of its lane."""
_KEPT_BYTES: Final = 64_000_000
"""Sources kept in memory from their submission on, in all; others are fetched when read."""
SUSPECT_ATTEMPTS: Final = 2
"""A job that was running in this many crashes runs alone, so that the next one tells."""
_BUFFERED_CHARS: Final = 4_000_000
"""Held back by one job before its reading waits, and by all before only the first of a lane
are begun."""

Lane = tuple[str, str]
"""Tenant and collection."""


class Ticket:
    """A job on its way through; used in one event loop only."""

    def __init__(self, job: Job, order: int) -> None:
        self.job_id = job.id
        self.lane: Lane = (job.tenant, job.collection)
        self.order = order
        """Rises with every submission."""
        self.submitted_at = job.created_at
        self.source_name = job.source_name
        self.access: list[str] = []
        self.metadata: Metadata = {}
        """Of the source, for each of its documents."""
        self.submitter: list[str] | None = []
        self.spender = payer(job.tenant)
        """Who pays."""
        self.ran_before = job.attempts > 0 or job.counts.total > 0
        """It may have published documents already."""
        self.suspect = job.attempts >= SUSPECT_ATTEMPTS
        self.buffer: deque[ParsedDocument] = deque()
        self.active = False
        self.read_to_end = False
        self.passed = False
        """Every document has been taken out of the buffer."""
        self.ended = False
        self.published_chunks = 0
        self.outstanding = 0
        """Documents taken from the buffer and neither published nor given up."""
        self.failure: RagstoneError | None = None
        self.unreadable = False
        """The source as a whole could not be read."""
        self.first = asyncio.Event()
        """Set when no earlier job of the lane is left to be read."""
        self.buffered_chars = 0
        self._room = asyncio.Event()
        self._room.set()

    def describe(self, source: DocumentSource) -> None:
        """What of the source holds for each of its documents."""
        self.access = sorted({access_token(self.lane[0], entry) for entry in source.access})
        self.metadata = source.metadata
        self.submitter = source.submitter
        self.spender = payer(self.lane[0], source.key_id, source.user)

    async def put(self, document: ParsedDocument) -> None:
        """Buffer a document, after waiting for room."""
        await self._room.wait()
        if self.failure is not None:
            return
        self.buffer.append(document)
        self.buffered_chars += len(document.text)
        if self.buffered_chars > _BUFFERED_CHARS:
            self._room.clear()

    def take(self) -> ParsedDocument:
        document = self.buffer.popleft()
        self.buffered_chars -= len(document.text)
        if self.buffered_chars <= _BUFFERED_CHARS:
            self._room.set()
        self.outstanding += 1
        return document

    def fail(self, failure: RagstoneError) -> None:
        """Give up what is buffered; the first failure stays."""
        self.failure = self.failure or failure
        self.buffer.clear()
        self.buffered_chars = 0
        self._room.set()

    def may_replace(self, access: Iterable[str]) -> bool:
        """Whether the submitter may read, and so replace, a document with these tokens."""
        return self.submitter is None or not set(access).isdisjoint(self.submitter)

    @property
    def drained(self) -> bool:
        """Nothing more will come out of the buffer."""
        return self.read_to_end and not self.buffer


class Lanes:
    """The tickets of all unfinished jobs."""

    def __init__(self) -> None:
        self._lanes: dict[Lane, deque[Ticket]] = {}
        self._active: set[Ticket] = set()
        self._sources: dict[Ticket, DocumentSource] = {}
        self._kept_bytes = 0

    def add(self, ticket: Ticket, source: DocumentSource | None = None) -> None:
        """Line up a job; its source saves a look at the records, where there is room for it."""
        if source is not None and self._kept_bytes + len(source.content) <= _KEPT_BYTES:
            self._sources[ticket] = source
            self._kept_bytes += len(source.content)
        lane = self._lanes.setdefault(ticket.lane, deque())
        lane.append(ticket)
        lane[0].first.set()

    def take_source(self, ticket: Ticket) -> DocumentSource | None:
        """The source, if it was kept."""
        source = self._sources.pop(ticket, None)
        if source is not None:
            self._kept_bytes -= len(source.content)
        return source

    def next_to_read(self) -> Ticket | None:
        """Mark and return the next job to read: of the tenant with the fewest, the oldest."""
        reading = [ticket for ticket in self._active if not ticket.read_to_end]
        if len(reading) >= MAX_READING or any(ticket.suspect for ticket in self._active):
            return None
        candidates = list(self._waiting(ahead=len(reading) < MAX_READING_AHEAD))
        if suspects := [ticket for ticket in candidates if ticket.suspect]:
            candidates = [] if self._active else suspects
        if not candidates:
            return None
        busy = Counter(ticket.lane[0] for ticket in reading)
        chosen = min(candidates, key=lambda ticket: (busy[ticket.lane[0]], ticket.order))
        chosen.active = True
        self._active.add(chosen)
        return chosen

    def _waiting(self, *, ahead: bool) -> Iterator[Ticket]:
        """Of each lane the next job, if it may begin."""
        full = sum(ticket.buffered_chars for ticket in self._active) > _BUFFERED_CHARS
        depth = READ_AHEAD if ahead and not full else 1
        for lane in self._lanes.values():
            for ticket in itertools.islice(lane, depth):
                if not ticket.active:
                    yield ticket
                    break

    def take(self) -> tuple[Ticket, ParsedDocument] | None:
        """The next document: of the lane whose turn it is, from its first job."""
        for key in list(self._lanes):
            lane = self._lanes[key]
            if lane and lane[0].buffer:
                self._lanes[key] = self._lanes.pop(key)
                return lane[0], lane[0].take()
        return None

    def advance(self) -> list[Ticket]:
        """Remove and return the jobs that nothing more will come from."""
        passed: list[Ticket] = []
        for key in list(self._lanes):
            lane = self._lanes[key]
            while lane and lane[0].drained:
                ticket = lane.popleft()
                ticket.passed = True
                passed.append(ticket)
            if lane:
                lane[0].first.set()
            else:
                del self._lanes[key]
        return passed

    def finished(self, ticket: Ticket) -> None:
        """The job has ended; another may be read."""
        self._active.discard(ticket)

    def unfinished(self) -> list[Ticket]:
        """Every job not ended: those being read or published, and those in line."""
        waiting = [ticket for lane in self._lanes.values() for ticket in lane]
        return [*self._active, *(ticket for ticket in waiting if not ticket.active)]

    def idle(self, lane: Lane) -> bool:
        """No job of the lane is unfinished."""
        return lane not in self._lanes and all(ticket.lane != lane for ticket in self._active)
