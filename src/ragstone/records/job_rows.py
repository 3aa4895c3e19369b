"""Jobs and their kept sources. Functions over a connection inside a transaction."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, RowMapping, Select, delete, insert, select, update

from ragstone.domain.document import DocumentSource
from ragstone.domain.job import TERMINAL_STATES, DocumentError, Job, JobCounts, JobState
from ragstone.records.refusals import already_there, collection_deleted, unknown_job
from ragstone.records.storable import storable_errors, storable_metadata
from ragstone.records.tables import job_sources as sources
from ragstone.records.tables import jobs as table

_ended = table.c.state.in_(sorted(TERMINAL_STATES))


def create(connection: Connection, job: Job, source: DocumentSource) -> None:
    """Raises `Conflict` for an id that is taken."""
    if connection.execute(select(table.c.id).where(table.c.id == job.id)).first() is not None:
        raise already_there("job", job.id)
    connection.execute(insert(table), _row(job))
    if job.state in TERMINAL_STATES:
        return
    connection.execute(
        insert(sources),
        {
            "job_id": job.id,
            "name": source.name,
            "collection": source.collection,
            "access": source.access,
            "metadata": storable_metadata(source.metadata),
            "submitter": source.submitter,
            "content": source.content,
            "key_id": source.key_id,
            "user_name": source.user,
        },
    )


def find(connection: Connection, tenant: str, job_id: str) -> Job | None:
    found = _jobs(connection, select(table).where(table.c.tenant == tenant, table.c.id == job_id))
    return found[0] if found else None


def newest(connection: Connection, tenant: str, limit: int) -> list[Job]:
    query = select(table).where(table.c.tenant == tenant)
    order = query.order_by(table.c.created_at.desc(), table.c.id.desc())
    return _jobs(connection, order.limit(max(0, limit)))


def unfinished(connection: Connection) -> list[Job]:
    query = select(table).where(table.c.state.in_(["queued", "running"]))
    return _jobs(connection, query.order_by(table.c.created_at, table.c.id))


def source(connection: Connection, job_id: str) -> DocumentSource | None:
    row = connection.execute(select(sources).where(sources.c.job_id == job_id)).one_or_none()
    if row is None:
        return None
    return DocumentSource(
        name=row.name,
        content=row.content,
        collection=row.collection,
        access=row.access,
        metadata=row.metadata,
        submitter=row.submitter,
        key_id=row.key_id,
        user=row.user_name,
    )


def change(
    connection: Connection,
    job_id: str,
    *,
    state: JobState,
    counts: JobCounts,
    errors: Sequence[DocumentError],
    attempts: int,
    now: float,
) -> None:
    """A job that has ended stays as it ended. Raises `UnknownJob`."""
    result = connection.execute(
        update(table)
        .where(table.c.id == job_id, ~_ended)
        .values(
            state=state,
            counts=msgspec.to_builtins(counts),
            errors=msgspec.to_builtins(storable_errors(errors)),
            attempts=attempts,
            updated_at=now,
        )
    )
    if result.rowcount == 0:
        if connection.execute(select(table.c.id).where(table.c.id == job_id)).first() is None:
            raise unknown_job(job_id)
    elif state in TERMINAL_STATES:
        connection.execute(delete(sources).where(sources.c.job_id == job_id))


def end_all(connection: Connection, tenant: str, collection: str, *, now: float) -> None:
    """For a deleted collection: ended jobs are removed, the others fail with the reason."""
    of_collection = (table.c.tenant == tenant) & (table.c.collection == collection)
    connection.execute(delete(table).where(of_collection, _ended))
    reason = collection_deleted(collection)
    for job in _jobs(connection, select(table).where(of_collection)):
        change(
            connection,
            job.id,
            state="failed",
            counts=job.counts,
            errors=[*job.errors, reason],
            attempts=job.attempts,
            now=now,
        )


def _jobs(connection: Connection, query: "Select[Any]") -> list[Job]:
    return [_job(row) for row in connection.execute(query).mappings()]


def _row(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "tenant": job.tenant,
        "collection": job.collection,
        "source_name": job.source_name,
        "state": job.state,
        "counts": msgspec.to_builtins(job.counts),
        "errors": msgspec.to_builtins(storable_errors(job.errors)),
        "attempts": job.attempts,
        "created_at": job.created_at,
        "updated_at": job.updated_at,
    }


def _job(row: RowMapping) -> Job:
    return Job(
        id=row["id"],
        tenant=row["tenant"],
        collection=row["collection"],
        source_name=row["source_name"],
        state=row["state"],
        counts=msgspec.convert(row["counts"], JobCounts),
        errors=msgspec.convert(row["errors"], list[DocumentError]),
        attempts=row["attempts"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
