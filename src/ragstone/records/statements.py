"""Inserts that settle a conflict, in the dialect of the connection."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, Table
from sqlalchemy.dialects import postgresql, sqlite

Row = Mapping[str, Any]
BATCH = 500
"""Values in one `IN (...)`; SQLite allows 32,766 parameters, and short statements cache."""


def insert_or_replace(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert the rows, overwriting those with the same primary key. One executemany."""
    keys = [column.name for column in table.primary_key]
    insert = _insert(connection, table)
    others = {column.name: insert.excluded[column.name] for column in table.columns}
    for key in keys:
        del others[key]
    connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=others), rows)


def insert_or_ignore(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert the rows, leaving those with the same primary key as they are."""
    connection.execute(_insert(connection, table).on_conflict_do_nothing(), rows)


def insert_or_add(
    connection: Connection, table: Table, rows: Sequence[Row], *, flags: Sequence[str] = ()
) -> None:
    """Insert the rows, or add their values to those with the same primary key; of `flags`, which
    are 0 or 1, a 1 stays."""
    keys = [column.name for column in table.primary_key]
    insert = _insert(connection, table)
    changed = {}
    for column in table.columns:
        more = insert.excluded[column.name]
        changed[column.name] = column.bitwise_or(more) if column.name in flags else column + more
    for key in keys:
        del changed[key]
    connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=changed), rows)


def insert_or_change(
    connection: Connection, table: Table, row: Row, *, same: Sequence[str], changing: Sequence[str]
) -> RowMapping:
    """Insert the row, or change those columns of the one that is the `same` (a unique index);
    returns what is there then."""
    insert = _insert(connection, table)
    changed = {name: insert.excluded[name] for name in changing}
    statement = insert.on_conflict_do_update(index_elements=list(same), set_=changed)
    return connection.execute(statement.returning(*table.c), row).mappings().one()


def _insert(connection: Connection, table: Table) -> "sqlite.Insert | postgresql.Insert":
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)
