"""The state machine of an ingestion.

    queued --> running --> done | done_with_errors | failed
                  |  ^
                  +--+  killed: run again from the kept source, skipping what was published

A job is one source (a file or an upload) and yields one or many documents.
"""

from typing import Literal

import msgspec

JobState = Literal["queued", "running", "done", "done_with_errors", "failed"]

TERMINAL_STATES: frozenset[JobState] = frozenset({"done", "done_with_errors", "failed"})


class DocumentError(msgspec.Struct, frozen=True, kw_only=True):
    """Why one document, or the whole source, could not be read."""

    external_id: str
    code: str
    message: str


class JobCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How far a job has come, in documents (chunks where said)."""

    total: int = 0
    """Documents found so far."""
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    failed: int = 0
    chunks: int = 0
    """Chunks embedded and published."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One ingestion, as acknowledged to the caller and kept until it ends."""

    id: str
    tenant: str
    collection: str
    source_name: str
    state: JobState
    counts: JobCounts = JobCounts()
    errors: list[DocumentError] = []
    attempts: int = 0
    """How often it was started; more than one after a crash."""
    created_at: float
    """Unix seconds."""
    updated_at: float
