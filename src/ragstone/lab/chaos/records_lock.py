"""The records' database, locked by somebody else."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ragstone.domain.errors import InvalidExperiment


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Holds the one lock that a writer of SQLite needs."""
    connection = sqlite3.connect(_database(home), isolation_level=None)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


def _database(home: Path) -> Path:
    found = sorted(home.glob("*.db")) + sorted(home.glob("*.sqlite*"))
    if not found:
        raise InvalidExperiment("The records are not in SQLite here.")
    return found[0]
