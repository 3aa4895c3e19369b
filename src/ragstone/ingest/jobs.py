"""The live state of unfinished jobs, and its way into the records."""

import asyncio
import logging
from collections.abc import AsyncIterator

import msgspec

from ragstone.domain.errors import RagstoneError, UnknownJob
from ragstone.domain.job import TERMINAL_STATES, DocumentError, Job, JobCounts, JobState
from ragstone.ingest.retry import Retry
from ragstone.ports import Clock, Records

MAX_ERRORS = 1_000
"""Errors kept with a job; all are counted."""

_SAVE_SECONDS = 1.0
_log = logging.getLogger(__name__)


class JobBoard:
    """Every unfinished job as it stands now; progress reaches the records once a second."""

    def __init__(self, records: Records, clock: Clock, retry: Retry) -> None:
        self._records = records
        self._clock = clock
        self._retry = retry
        self._jobs: dict[str, Job] = {}
        self._saved: dict[str, float] = {}
        self._furthest: dict[str, JobCounts] = {}
        """Of jobs that run again: how far they had come. Kept in the records until passed."""
        self._writing = asyncio.Lock()
        self._changes: dict[str, asyncio.Event] = {}

    def add(self, job: Job) -> None:
        self._jobs[job.id] = job

    def __getitem__(self, job_id: str) -> Job:
        return self._jobs[job_id]

    async def find(self, tenant: str, job_id: str) -> Job:
        """The job as it stands. Raises `UnknownJob`, also for another tenant's."""
        job = self._jobs.get(job_id) or await self._records.job(tenant, job_id)
        if job is None or job.tenant != tenant:
            raise UnknownJob(f"There is no job {job_id!r}.", remedy="See the list of jobs.")
        return job

    async def watch(self, tenant: str, job_id: str) -> AsyncIterator[Job]:
        """The job now and after every change, up to its end. Raises `UnknownJob`."""
        while True:
            change = self._changes.setdefault(job_id, asyncio.Event())
            try:
                job = await self.find(tenant, job_id)
            except RagstoneError:
                self._changes.pop(job_id, None)
                raise
            if job.state in TERMINAL_STATES:
                self._changes.pop(job_id, None)
            yield job
            if job.state in TERMINAL_STATES:
                return
            await change.wait()

    def count(
        self,
        job_id: str,
        *,
        total: int = 0,
        added: int = 0,
        changed: int = 0,
        unchanged: int = 0,
        chunks: int = 0,
    ) -> None:
        """Add to the counts."""
        counts = self._jobs[job_id].counts
        self._set(
            job_id,
            counts=JobCounts(
                total=counts.total + total,
                added=counts.added + added,
                changed=counts.changed + changed,
                unchanged=counts.unchanged + unchanged,
                failed=counts.failed,
                chunks=counts.chunks + chunks,
            ),
        )

    def report(self, job_id: str, error: DocumentError) -> None:
        """Count a document that could not be read, and keep why."""
        job = self._jobs[job_id]
        counts = msgspec.structs.replace(job.counts, failed=job.counts.failed + 1)
        errors = [*job.errors, error] if len(job.errors) < MAX_ERRORS else job.errors
        self._set(job_id, counts=counts, errors=errors)

    async def begin(self, job_id: str) -> None:
        """From the beginning: counted anew, one attempt more, durably so."""
        job = self._jobs[job_id]
        if _passed(job.counts):
            self._furthest[job_id] = job.counts
        self._set(job_id, state="running", counts=JobCounts(), errors=[], attempts=job.attempts + 1)
        await self._save(job_id)

    async def give_back(self, job_id: str) -> None:
        """To the queue: stopped on purpose, which is not an attempt that failed."""
        job = self._jobs[job_id]
        if job.state == "running":
            self._set(job_id, state="queued", attempts=max(0, job.attempts - 1))
            await self._save(job_id)

    async def save_progress(self, job_id: str) -> None:
        """Write the counts if the last writing is long enough ago; a failure waits for the next.

        A job that has come further than in all of its earlier attempts did not cause their
        ends: from here on it counts as started once, which is written at once.
        """
        job = self._jobs[job_id]
        further = job.attempts > 1 and _passed(job.counts) > _passed(self._furthest.get(job_id))
        if further:
            self._set(job_id, attempts=1)
        elif self._clock.monotonic() - self._saved.get(job_id, 0.0) < _SAVE_SECONDS:
            return
        try:
            await self._write(job_id)
        except RagstoneError as error:
            _log.warning("progress of %s not saved: %s", job_id, error)

    async def end(self, job_id: str, state: JobState, reason: DocumentError | None = None) -> None:
        """Into a terminal state, durably so.

        While the records cannot be written, the end is known here only, and the job runs again
        after a restart.
        """
        job = self._jobs[job_id]
        errors = job.errors if reason is None else [*job.errors[: MAX_ERRORS - 1], reason]
        ended = msgspec.structs.replace(
            job, state=state, errors=errors, updated_at=self._clock.time()
        )
        try:
            await self._save(job_id, ended)
        except RagstoneError:
            _log.exception("the end of %s could not be recorded", job_id)
            self._jobs[job_id] = ended
        else:
            self._jobs.pop(job_id, None)
        self._saved.pop(job_id, None)
        self._furthest.pop(job_id, None)
        self._announce(job_id)

    def _set(
        self,
        job_id: str,
        *,
        state: JobState | None = None,
        counts: JobCounts | None = None,
        errors: list[DocumentError] | None = None,
        attempts: int | None = None,
    ) -> None:
        job = self._jobs[job_id]
        self._jobs[job_id] = msgspec.structs.replace(
            job,
            state=job.state if state is None else state,
            counts=job.counts if counts is None else counts,
            errors=job.errors if errors is None else errors,
            attempts=job.attempts if attempts is None else attempts,
            updated_at=self._clock.time(),
        )
        self._announce(job_id)

    async def _save(self, job_id: str, job: Job | None = None) -> None:
        await self._retry.call(lambda: self._write(job_id, job), what="saving a job")

    async def _write(self, job_id: str, job: Job | None = None) -> None:
        async with self._writing:  # an earlier state must never overwrite a later one
            job = job or self._jobs[job_id]
            self._saved[job_id] = self._clock.monotonic()
            counts = job.counts
            if job.state not in TERMINAL_STATES:
                counts = max(counts, self._furthest.get(job_id, counts), key=_passed)
            await self._records.update_job(
                job_id,
                state=job.state,
                counts=counts,
                errors=job.errors,
                attempts=job.attempts,
            )

    def _announce(self, job_id: str) -> None:
        if (change := self._changes.pop(job_id, None)) is not None:
            change.set()


def _passed(counts: JobCounts | None) -> int:
    """Documents that are published."""
    return 0 if counts is None else counts.added + counts.changed + counts.unchanged
