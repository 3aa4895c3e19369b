"""API keys. Functions over a connection inside a transaction."""

from typing import Final

from sqlalchemy import (
    Connection,
    Double,
    RowMapping,
    insert,
    literal,
    or_,
    select,
    tuple_,
    update,
)

from ragstone.ports import ApiKey, KeyPlace
from ragstone.records.refusals import already_there
from ragstone.records.tables import Name
from ragstone.records.tables import api_keys as table

_ORDER: Final = (table.c.created_at, table.c.id)


def create(connection: Connection, key: ApiKey) -> None:
    """Raises `Conflict` for an id or a hash that is taken."""
    taken = select(table.c.id).where(or_(table.c.id == key.id, table.c.sha256 == key.sha256))
    if connection.execute(taken).first() is not None:
        raise already_there("key", key.id)
    connection.execute(
        insert(table),
        {
            "id": key.id,
            "sha256": key.sha256,
            "tenant": key.tenant,
            "user_name": key.user,
            "groups": key.groups,
            "scopes": key.scopes,
            "label": key.label,
            "created_at": key.created_at,
            "revoked_at": key.revoked_at,
            "priority": key.priority,
            "requests_per_minute": key.requests_per_minute,
            "tokens_per_minute": key.tokens_per_minute,
        },
    )


def find_active(connection: Connection, sha256: str) -> ApiKey | None:
    rows = connection.execute(
        select(table).where(table.c.sha256 == sha256, table.c.revoked_at.is_(None))
    )
    row = rows.mappings().one_or_none()
    return None if row is None else _key(row)


def listed(
    connection: Connection, tenant: str | None, *, limit: int | None, after: KeyPlace | None
) -> list[ApiKey]:
    query = select(table).order_by(*_ORDER).limit(limit)
    if tenant is not None:
        query = query.where(table.c.tenant == tenant)
    if after is not None:
        place = (literal(after.created_at, Double), literal(after.id, Name))
        query = query.where(tuple_(*_ORDER) > tuple_(*place))
    return [_key(row) for row in connection.execute(query).mappings()]


def revoke(connection: Connection, key_id: str, *, now: float) -> bool:
    """False if there is none, or it had been revoked before."""
    result = connection.execute(
        update(table)
        .where(table.c.id == key_id, table.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    return result.rowcount == 1


def _key(row: RowMapping) -> ApiKey:
    return ApiKey(
        id=row["id"],
        sha256=row["sha256"],
        tenant=row["tenant"],
        user=row["user_name"],
        groups=row["groups"],
        scopes=row["scopes"],
        label=row["label"],
        created_at=row["created_at"],
        revoked_at=row["revoked_at"],
        priority=row["priority"],
        requests_per_minute=row["requests_per_minute"],
        tokens_per_minute=row["tokens_per_minute"],
    )
