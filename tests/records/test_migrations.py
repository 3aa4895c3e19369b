"""The tables of a database are brought to this version's form, or left alone."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from ragstone.domain.errors import HomeTooNew
from ragstone.records.engine import for_writing, open_engine, sqlite_url
from ragstone.records.migrate import HEAD, alembic_config, migrate
from ragstone.records.sql_records import SqlRecords
from ragstone.records.tables import metadata
from tests.clock import VirtualClock
from tests.records.samples import a_key

MIGRATE = """
import sys
from ragstone.domain.clock import SystemClock
from ragstone.records.sql_records import SqlRecords
print("ready", flush=True)
sys.stdin.readline()
SqlRecords.open(sys.argv[1], SystemClock())
print("done", flush=True)
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database without any table."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "new.sqlite3")
    new: Callable[[], str] = request.getfixturevalue("new_postgresql_database")
    return new()


def test_migrations_lead_to_the_tables_that_the_code_uses(empty_url: str) -> None:
    engine = open_engine(empty_url)
    migrate(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        inspector = inspect(connection)
        for table in metadata.sorted_tables:
            keys = {tuple(k["constrained_columns"]) for k in inspector.get_foreign_keys(table.name)}
            assert keys == {tuple(k.column_keys) for k in table.foreign_key_constraints}
            primary = inspector.get_pk_constraint(table.name)
            assert primary["constrained_columns"] == [c.name for c in table.primary_key]
    engine.dispose()


def test_the_named_head_is_the_newest_revision(tmp_path: Path) -> None:
    engine = open_engine(sqlite_url(tmp_path / "new.sqlite3"))
    with engine.connect() as connection:
        scripts = ScriptDirectory.from_config(alembic_config(connection))
    assert scripts.get_heads() == [HEAD]
    engine.dispose()


def test_migrating_again_changes_nothing(empty_url: str) -> None:
    engine = open_engine(empty_url)
    for _ in range(2):
        migrate(engine)
        with engine.connect() as connection:
            assert connection.execute(text("SELECT version_num FROM alembic_version")).all() == [
                (HEAD,)
            ]
    engine.dispose()


def test_records_of_a_later_version_are_refused_and_left_alone(
    empty_url: str, clock: VirtualClock
) -> None:
    engine = open_engine(empty_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('9999')"))
    with pytest.raises(HomeTooNew, match="later version") as caught:
        SqlRecords.open(empty_url, clock)
    assert "9999" in caught.value.message
    assert "Upgrade Ragstone" in (caught.value.remedy or "")
    with engine.connect() as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]
    engine.dispose()


async def test_keys_of_the_first_version_keep_working_and_have_no_numbers_of_their_own(
    empty_url: str, clock: VirtualClock
) -> None:
    engine = open_engine(empty_url)
    with for_writing(engine).begin() as connection:
        command.upgrade(alembic_config(connection), "0001")
        connection.execute(
            text(
                "INSERT INTO api_keys (id, sha256, tenant, groups, scopes, label, created_at)"
                " VALUES ('key_old', 'ab', 'acme', '[\"staff\"]', '[\"ask\"]', 'till', 5.0)"
            )
        )
    records = SqlRecords.open(empty_url, clock)
    try:
        old = await records.key_by_hash("ab")
        assert old is not None
        assert (old.id, old.groups, old.priority) == ("key_old", ["staff"], None)
        assert old.requests_per_minute is old.tokens_per_minute is None
        await records.create_key(a_key())
        assert await records.key_by_hash(a_key().sha256) == a_key()
    finally:
        await records.close()
        engine.dispose()


_DOCUMENT = """
INSERT INTO documents (tenant, id, collection, external_id, title, version, content_hash, access,
    metadata, chunk_count, character_count, source_name, created_at, updated_at)
VALUES ('acme', 'd', 'help', 'd', 'D', 1, 'h', '[]', '{}', 1, 1, '', 5.0, 5.0)
"""
_COLLECTION = """
INSERT INTO collections (tenant, name, embedder, generation, next_version, document_count,
    chunk_count, created_at)
VALUES ('acme', 'help', '{"name": "e", "dimensions": 2, "digest": "x"}', 3, 2, 1, 1, 5.0)
"""


async def test_collections_with_documents_are_upgraded(empty_url: str, clock: VirtualClock) -> None:
    engine = open_engine(empty_url)
    with for_writing(engine).begin() as connection:
        command.upgrade(alembic_config(connection), "0001")
        connection.execute(text(_COLLECTION))
        connection.execute(text(_DOCUMENT))
    records = SqlRecords.open(empty_url, clock)
    try:
        collection = await records.collection("acme", "help")
        assert collection is not None
        assert (collection.generation, collection.cache_epoch) == (3, 0)
    finally:
        await records.close()
        engine.dispose()


def test_the_newest_revision_can_be_taken_back(empty_url: str) -> None:
    engine = open_engine(empty_url)
    migrate(engine)
    with for_writing(engine).begin() as connection:
        command.downgrade(alembic_config(connection), "0001")
        names = {column["name"] for column in inspect(connection).get_columns("api_keys")}
        assert not {"priority", "requests_per_minute", "tokens_per_minute"} & names
        assert "sha256" in names
    migrate(engine)
    engine.dispose()


def test_processes_that_migrate_at_once_all_succeed(empty_url: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", MIGRATE, empty_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            out, err = process.communicate()
            assert out == "done\n", err
    finally:
        for process in processes:
            process.kill()
            process.communicate()
