"""Inserts that settle a conflict, in the dialect of the connection."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table
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


def _insert(connection: Connection, table: Table) -> "sqlite.Insert | postgresql.Insert":
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)
