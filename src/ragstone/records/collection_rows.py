"""Collections and their counters. Functions over a connection inside a transaction.

Whatever changes a collection updates its row first. On PostgreSQL that row's lock puts the
writers of one collection in a line, so counters are exact and there is no deadlock.

Generations and epochs are raised to the time at least, in milliseconds: records that were restored
from a backup go on at later numbers than those they had after it, under which a shared cache may
still keep answers.
"""

import msgspec
from sqlalchemy import (
    BigInteger,
    Case,
    Column,
    Connection,
    RowMapping,
    Update,
    case,
    literal,
    select,
    update,
)

from ragstone.domain.collection import Collection, EmbedderIdentity
from ragstone.domain.errors import UnknownCollection
from ragstone.records.refusals import require_embedder, unknown_collection
from ragstone.records.statements import insert_or_ignore
from ragstone.records.tables import collections as table

_alive = table.c.deleted_at.is_(None)


def find(connection: Connection, tenant: str, name: str) -> Collection | None:
    row = connection.execute(
        select(table).where(table.c.tenant == tenant, table.c.name == name, _alive)
    )
    found = row.mappings().one_or_none()
    return None if found is None else _collection(found)


def generation(connection: Connection, tenant: str, name: str) -> int | None:
    return connection.execute(
        select(table.c.generation).where(table.c.tenant == tenant, table.c.name == name, _alive)
    ).scalar_one_or_none()


def of_tenant(connection: Connection, tenant: str) -> list[Collection]:
    rows = connection.execute(
        select(table).where(table.c.tenant == tenant, _alive).order_by(table.c.name)
    )
    return [_collection(row) for row in rows.mappings()]


def everywhere(connection: Connection) -> list[Collection]:
    rows = connection.execute(select(table).where(_alive).order_by(table.c.tenant, table.c.name))
    return [_collection(row) for row in rows.mappings()]


def ensure(
    connection: Connection, tenant: str, name: str, embedder: EmbedderIdentity, *, now: float
) -> Collection:
    """Raises `EmbedderMismatch`."""
    insert_or_ignore(
        connection,
        table,
        [
            {
                "tenant": tenant,
                "name": name,
                "embedder": msgspec.to_builtins(embedder),
                "generation": 0,
                "cache_epoch": 0,
                "next_version": 1,
                "document_count": 0,
                "chunk_count": 0,
                "created_at": now,
                "deleted_at": None,
            }
        ],
    )
    connection.execute(
        _row(tenant, name)
        .where(table.c.deleted_at.is_not(None))
        .values(embedder=msgspec.to_builtins(embedder), created_at=now, deleted_at=None)
    )
    found = find(connection, tenant, name)
    if found is None:  # deleted by another process between two statements
        raise unknown(connection, tenant, name)
    require_embedder(found, embedder)
    return found


def mark_deleted(connection: Connection, tenant: str, name: str, *, now: float) -> bool:
    """Hide the collection and raise its generation; False if there is none."""
    result = connection.execute(
        _row(tenant, name)
        .where(_alive)
        .values(
            deleted_at=now,
            generation=_raised(table.c.generation, now),
            document_count=0,
            chunk_count=0,
        )
    )
    return result.rowcount == 1


def take_versions(connection: Connection, tenant: str, name: str, count: int) -> int:
    """The first of `count` numbers. Raises `UnknownCollection`."""
    following: int | None = connection.execute(
        _row(tenant, name)
        .where(_alive)
        .values(next_version=table.c.next_version + count)
        .returning(table.c.next_version)
    ).scalar_one_or_none()
    if following is None:
        raise unknown(connection, tenant, name)
    return following - count


def raise_generation(connection: Connection, tenant: str, name: str, *, now: float) -> bool:
    """Also locks the collection's row. False if there is none."""
    result = connection.execute(
        _row(tenant, name).where(_alive).values(generation=_raised(table.c.generation, now))
    )
    return result.rowcount == 1


def raise_cache_epoch(
    connection: Connection, tenant: str, name: str | None, *, now: float
) -> list[str]:
    """Of one, or of all the tenant has; their names."""
    which = (table.c.tenant == tenant) & _alive
    if name is not None:
        which &= table.c.name == name
    # In one order, so that two of these cannot wait for each other.
    names = connection.scalars(select(table.c.name).where(which).order_by(table.c.name)).all()
    return [name for name in names if _raise_epoch(connection, tenant, name, now)]


def _raise_epoch(connection: Connection, tenant: str, name: str, now: float) -> bool:
    result = connection.execute(
        _row(tenant, name)
        .where(_alive)
        .values(
            cache_epoch=_raised(table.c.cache_epoch, now),
            generation=_raised(table.c.generation, now),
        )
    )
    return result.rowcount == 1


def add_counts(
    connection: Connection, tenant: str, name: str, *, documents: int, chunks: int
) -> Collection:
    """The collection after adding (or, below zero, subtracting)."""
    row = connection.execute(
        _row(tenant, name)
        .values(
            document_count=table.c.document_count + documents,
            chunk_count=table.c.chunk_count + chunks,
        )
        .returning(*table.c)
    )
    return _collection(row.mappings().one())


def unknown(connection: Connection, tenant: str, name: str) -> UnknownCollection:
    """The error for a name that the tenant has no collection of."""
    known = [collection.name for collection in of_tenant(connection, tenant)]
    return unknown_collection(name, known)


def _raised(counter: "Column[int]", now: float) -> "Case[int]":
    following, time = counter + 1, literal(int(now * 1000), BigInteger)
    return case((following > time, following), else_=time)


def _row(tenant: str, name: str) -> Update:
    return update(table).where(table.c.tenant == tenant, table.c.name == name)


def _collection(row: RowMapping) -> Collection:
    return Collection(
        tenant=row["tenant"],
        name=row["name"],
        embedder=msgspec.convert(row["embedder"], EmbedderIdentity),
        generation=row["generation"],
        cache_epoch=row["cache_epoch"],
        document_count=row["document_count"],
        chunk_count=row["chunk_count"],
        created_at=row["created_at"],
    )
