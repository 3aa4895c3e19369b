"""The connection to SQLite or PostgreSQL, and what is asked of it.

SQLite runs with `synchronous=FULL`: in WAL mode that is one fsync for each commit, and a
commit then survives a power cut; `NORMAL` would only survive a killed process. Writing
transactions begin with `BEGIN IMMEDIATE`, because one that first reads and then finds
another writer ahead of it cannot wait, only fail.
"""

import contextlib
import os
import sqlite3
import time
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from ragstone.domain.errors import InvalidSettings, RecordsUnavailable, StartupError

LOCK_SECONDS: Final = 10.0
"""How long a statement waits for another process before it gives up."""
THREADS: Final = 4
"""Connections and threads for reading; PostgreSQL has as many again for writing."""

_WRITES: Final = "ragstone_writes"
_OLDEST_SQLITE: Final = (3, 35, 0)
_WAL_FILE_BYTES: Final = 64 * 1024 * 1024
_CACHE_KIBIBYTES: Final = 16 * 1024


def sqlite_url(file: Path) -> str:
    """The address of the records in a data folder."""
    return URL.create("sqlite", database=str(file.absolute())).render_as_string()


def open_engine(url: str) -> Engine:
    """An engine that has not connected yet. Raises `InvalidSettings`, `StartupError`."""
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed)
    return _open_postgresql(parsed)


def for_writing(engine: Engine) -> Engine:
    """The same engine and pool, whose transactions take the write lock when they begin."""
    return engine.execution_options(**{_WRITES: True})


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise _bad_url("is not a database address") from None
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        if not parsed.database or parsed.database == ":memory:" or parsed.query:
            raise _bad_url("must name an SQLite file, and nothing else")
        return parsed
    if parsed.drivername != "postgresql+psycopg":
        raise _bad_url(f"names {parsed.drivername!r}, which is not a database Ragstone knows")
    return parsed


def _bad_url(problem: str) -> InvalidSettings:
    """The address itself is left out: it may hold a password."""
    return InvalidSettings(
        f"The setting records.url {problem}.",
        remedy="Leave it empty for SQLite in the data folder, or write "
        "postgresql+psycopg://USER:PASSWORD@HOST/DATABASE.",
        field="records.url",
    )


def _open_sqlite(url: URL) -> Engine:
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise StartupError(
            f"Python was built with SQLite {sqlite3.sqlite_version}, which is too old.",
            remedy="Use a Python with SQLite 3.35 or later, or set records.url to PostgreSQL.",
        )
    engine = create_engine(
        url,
        pool_size=THREADS + 1,
        max_overflow=0,
        connect_args={"timeout": LOCK_SECONDS, "isolation_level": None},
    )
    file = Path(str(url.database))
    event.listen(engine, "do_connect", lambda *_: _create_privately(file))
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _open_postgresql(url: URL) -> Engine:
    options = f"-c lock_timeout={int(LOCK_SECONDS * 1000)} -c synchronous_commit=on"
    connect_args: dict[str, Any] = {}
    if "options" not in url.query:
        connect_args["options"] = options
    if "connect_timeout" not in url.query:
        connect_args["connect_timeout"] = int(LOCK_SECONDS)
    try:
        return create_engine(
            url,
            pool_size=2 * THREADS,
            max_overflow=0,
            pool_pre_ping=True,
            connect_args=connect_args,
        )
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise InvalidSettings(
            "The setting records.url names PostgreSQL, whose driver is not installed.",
            remedy="Install it with: pip install 'ragstone[postgres]'",
            field="records.url",
        ) from error


def _create_privately(file: Path) -> None:
    """The write-ahead log takes the mode of the file beside it."""
    # What prevents this also prevents the connection, whose error says more.
    with contextlib.suppress(OSError):
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    mode = _write_ahead(connection)
    if mode != "wal":
        raise RecordsUnavailable(
            f"The file system under the records cannot hold a write-ahead log (got {mode!r}).",
            remedy="Put the data folder on a local disk, or set records.url to PostgreSQL.",
        )
    for pragma in (
        "synchronous=FULL",
        "foreign_keys=ON",
        f"journal_size_limit={_WAL_FILE_BYTES}",
        f"cache_size=-{_CACHE_KIBIBYTES}",
        "temp_store=MEMORY",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _write_ahead(connection: sqlite3.Connection) -> str:
    """Switch to WAL. The first switch of a new file does not wait for locks by itself."""
    give_up = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return str(connection.execute("PRAGMA journal_mode=WAL").fetchone()[0])
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
        time.sleep(0.01)


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
