"""API keys. Functions over a connection inside a transaction."""

from sqlalchemy import Connection, RowMapping, insert, or_, select, update

from ragstone.ports import ApiKey
from ragstone.records.refusals import already_there
from ragstone.records.tables import api_keys as table


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


def all_keys(connection: Connection) -> list[ApiKey]:
    rows = connection.execute(select(table).order_by(table.c.created_at, table.c.id))
    return [_key(row) for row in rows.mappings()]


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
