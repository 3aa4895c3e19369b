"""What the drivers raise, as errors of ours: by their codes, never by their words."""

import contextlib
import sqlite3
from collections.abc import Iterator

from sqlalchemy.exc import (
    DBAPIError,
    IntegrityError,
    SQLAlchemyError,
    StatementError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ragstone.domain.errors import Conflict, InvalidRequest, RagstoneError, RecordsUnavailable

_SQLITE = {
    sqlite3.SQLITE_BUSY: ("another process holds their lock", "Try again in a moment."),
    sqlite3.SQLITE_LOCKED: ("another process holds their lock", "Try again in a moment."),
    sqlite3.SQLITE_FULL: ("the disk is full", "Free some space on it."),
    sqlite3.SQLITE_READONLY: (
        "the file is read-only",
        "Let this user write the data folder and everything in it.",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "the file cannot be opened",
        "Check that the data folder is there and that this user may write it.",
    ),
    sqlite3.SQLITE_IOERR: ("the disk reported an error", "Check the disk and the system's log."),
    sqlite3.SQLITE_CORRUPT: ("the file is damaged", "Restore the data folder from a backup."),
    sqlite3.SQLITE_NOTADB: (
        "the file is not an SQLite database",
        "Restore the data folder from a backup, or give --home another folder.",
    ),
}
_SQLITE_WAITS = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}

# Prefixes of SQLSTATE, the longest match first:
# https://www.postgresql.org/docs/18/errcodes-appendix.html
_POSTGRESQL = (
    ("53100", "the database server's disk is full", "Free some space on it."),
    ("53300", "the database server has no connection left", "Raise its max_connections."),
    ("25006", "the database is read-only", "Point records.url at the primary server."),
    ("55P03", "another process holds their lock", "Try again in a moment."),
    ("3D000", "the database does not exist", "Create it, or correct records.url."),
    ("42501", "the database user lacks a privilege", "Grant it on the database and its schema."),
    ("28", "the database refused the credentials", "Correct the user and password in records.url."),
    ("40", "another transaction was in the way", "Try again in a moment."),
    ("57", "the database server is stopping", "Try again when it has started."),
    ("08", "the connection to the database broke", "Check that its server runs."),
)
_POSTGRESQL_WAITS = ("55P03", "40", "53300", "57", "08")
_WAIT_SECONDS = 1.0


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Raises `RecordsUnavailable`, `Conflict` or `InvalidRequest` in a driver error's place."""
    try:
        yield
    except StatementError as error:
        raise _translate(error) from error
    except sqlite3.Error as error:  # raised while a new connection was prepared
        raise _of_sqlite(error) from error
    except PoolTimeout as error:
        raise _unavailable(
            "every connection is in use", "Try again in a moment.", waits=True
        ) from error
    except SQLAlchemyError as error:
        raise _unavailable(
            f"of {type(error).__name__}", "The log has the details.", waits=False
        ) from error


def _translate(error: StatementError) -> RagstoneError:
    cause = error.orig
    if isinstance(cause, RagstoneError):
        return cause
    if isinstance(error, IntegrityError):
        return Conflict(
            "The records already hold something of this name.", remedy="Choose another id."
        )
    if isinstance(cause, UnicodeError | OverflowError):
        return InvalidRequest(
            "A value holds a character or a number that cannot be stored.",
            remedy="Leave unpaired surrogates and numbers beyond 64 bits out.",
        )
    if isinstance(cause, sqlite3.Error):
        return _of_sqlite(cause)
    if isinstance(error, DBAPIError):
        return _of_postgresql(error)
    return _unavailable(f"of {type(cause).__name__}", "The log has the details.", waits=False)


def _of_sqlite(cause: sqlite3.Error) -> RecordsUnavailable:
    # Absent where the sqlite3 module itself refused, as for a closed connection.
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    reason, remedy = _SQLITE.get(code, (f"SQLite failed ({cause})", "The log has the details."))
    return _unavailable(reason, remedy, waits=code in _SQLITE_WAITS)


def _of_postgresql(error: DBAPIError) -> RecordsUnavailable:
    state = getattr(error.orig, "sqlstate", None)
    if state is None:  # no answer at all
        return _unavailable(
            "the database server cannot be reached, or refused the connection",
            "Check that it runs, and the host, user, password and database in records.url.",
            waits=True,
        )
    for prefix, reason, remedy in _POSTGRESQL:
        if state.startswith(prefix):
            return _unavailable(reason, remedy, waits=state.startswith(_POSTGRESQL_WAITS))
    return _unavailable(
        f"the database failed with SQLSTATE {state}", "The log has the details.", waits=False
    )


def _unavailable(reason: str, remedy: str, *, waits: bool) -> RecordsUnavailable:
    return RecordsUnavailable(
        f"The records cannot be used because {reason}.",
        remedy=remedy,
        retry_after=_WAIT_SECONDS if waits else None,
    )
