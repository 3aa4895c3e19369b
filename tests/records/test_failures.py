"""A database that fails is one clear sentence, with what to do about it."""

import asyncio
import sqlite3
import stat
import threading
from pathlib import Path

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from ragstone.domain.errors import InvalidSettings, RecordsUnavailable
from ragstone.records import engine as engine_module
from ragstone.records.engine import open_engine, sqlite_url
from ragstone.records.failures import translated
from ragstone.records.sql_records import SqlRecords
from tests.clock import VirtualClock
from tests.records.samples import MINILM, a_document, a_job, a_key, a_source, with_text


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("nonsense", "is not a database address"),
        ("sqlite://", "must name an SQLite file"),
        ("sqlite:///:memory:", "must name an SQLite file"),
        ("mysql://root:secret@localhost/x", "'mysql'"),
        ("postgresql+asyncpg://u:secret@h/x", "'postgresql\\+asyncpg'"),
    ],
)
def test_an_address_that_cannot_be_used_names_the_setting_and_no_password(
    url: str, problem: str
) -> None:
    with pytest.raises(InvalidSettings, match=problem) as caught:
        open_engine(url)
    assert caught.value.field == "records.url"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["postgres://u@h/d", "postgresql://u@h/d", "postgresql+psycopg://u@h/d"]
)
def test_every_way_to_write_postgresql_means_psycopg(url: str) -> None:
    engine = open_engine(url)
    assert engine.dialect.driver == "psycopg"
    engine.dispose()


def test_a_file_that_is_no_database_is_named_as_such(tmp_path: Path, clock: VirtualClock) -> None:
    (tmp_path / "records.sqlite3").write_bytes(b"not a database " * 1000)
    with pytest.raises(RecordsUnavailable, match="not an SQLite database") as caught:
        SqlRecords.open(sqlite_url(tmp_path / "records.sqlite3"), clock)
    assert caught.value.remedy


def test_a_file_in_a_folder_that_is_not_there_cannot_be_opened(
    tmp_path: Path, clock: VirtualClock
) -> None:
    with pytest.raises(RecordsUnavailable, match="cannot be opened"):
        SqlRecords.open(sqlite_url(tmp_path / "none" / "records.sqlite3"), clock)


def test_the_file_is_private(tmp_path: Path, clock: VirtualClock) -> None:
    file = tmp_path / "records.sqlite3"
    records = SqlRecords.open(sqlite_url(file), clock)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    asyncio.run(records.close())


async def test_a_full_disk_is_said_and_nothing_is_half_written(
    sqlite_file: Path, clock: VirtualClock
) -> None:
    engine = open_engine(sqlite_url(sqlite_file))
    records = SqlRecords(engine, clock)
    await records.ensure_collection("acme", "default", MINILM)
    with engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    # The limit is the connection's own, so every connection gets it.
    held = [engine.connect() for _ in range(engine_module.THREADS + 1)]
    for connection in held:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 8}")
        connection.close()
    with pytest.raises(RecordsUnavailable, match="disk is full") as caught:
        await records.create_job(a_job(), a_source(content=bytes(1_000_000)))
    assert caught.value.remedy == "Free some space on it."
    assert await records.job("acme", "job_1") is None
    await records.create_key(a_key())
    assert len(await records.keys()) == 1
    await records.close()


async def test_a_read_only_database_is_still_read(sqlite_file: Path, clock: VirtualClock) -> None:
    engine = open_engine(sqlite_url(sqlite_file))
    records = SqlRecords(engine, clock)
    await records.create_key(a_key())
    held = [engine.connect() for _ in range(engine_module.THREADS + 1)]
    for connection in held:
        connection.exec_driver_sql("PRAGMA query_only=ON")
        connection.close()
    with pytest.raises(RecordsUnavailable, match="read-only"):
        await records.revoke_key("key_1")
    assert await records.key_by_hash(a_key().sha256) == a_key()
    await records.close()


async def test_a_lock_that_is_never_let_go_is_said_and_reads_go_on(
    sqlite_file: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "LOCK_SECONDS", 0.0)
    records = SqlRecords.open(sqlite_url(sqlite_file), clock)
    other = sqlite3.connect(sqlite_file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(RecordsUnavailable, match="lock") as caught:
        await records.create_key(a_key())
    assert caught.value.retriable
    assert caught.value.retry_after is not None
    assert await records.keys() == []
    other.execute("ROLLBACK")
    other.close()
    await records.create_key(a_key())
    await records.close()


async def test_reads_pass_a_write_that_takes_long(sqlite_file: Path, clock: VirtualClock) -> None:
    records = SqlRecords.open(sqlite_url(sqlite_file), clock)
    go_on = threading.Event()
    slow = asyncio.ensure_future(records._write(lambda _: go_on.wait(30)))
    assert await records.keys() == []
    assert not slow.done()
    go_on.set()
    assert await slow
    await records.close()


async def test_records_that_were_closed_say_so(sqlite_file: Path, clock: VirtualClock) -> None:
    records = SqlRecords.open(sqlite_url(sqlite_file), clock)
    await records.close()
    await records.close()
    with pytest.raises(RecordsUnavailable, match="closed"):
        await records.keys()


async def test_closing_waits_for_what_is_being_written(
    sqlite_file: Path, clock: VirtualClock
) -> None:
    records = SqlRecords.open(sqlite_url(sqlite_file), clock)
    await records.ensure_collection("acme", "default", MINILM)
    document = a_document()
    put = asyncio.ensure_future(records.put_documents("acme", "default", [with_text(document)]))
    await asyncio.sleep(0)
    await records.close()
    await put
    again = SqlRecords.open(sqlite_url(sqlite_file), clock)
    assert await again.document("acme", document.id) == document
    await again.close()


def test_a_postgresql_server_that_is_not_there_is_said(tmp_path: Path, clock: VirtualClock) -> None:
    with pytest.raises(RecordsUnavailable, match="cannot be reached") as caught:
        SqlRecords.open(f"postgresql+psycopg://u:secret@/d?host={tmp_path}", clock)
    assert "secret" not in str(caught.value)
    assert caught.value.retriable


def test_an_absent_postgresql_database_is_said(postgresql: str, clock: VirtualClock) -> None:
    url = make_url(postgresql).set(database="absent").render_as_string(hide_password=False)
    with pytest.raises(RecordsUnavailable) as caught:
        SqlRecords.open(url, clock)
    assert caught.value.remedy


async def test_a_postgresql_connection_that_broke_is_replaced(
    postgresql_url: str, clock: VirtualClock
) -> None:
    records = SqlRecords.open(postgresql_url, clock)
    await records.create_key(a_key())
    engine = open_engine(postgresql_url)
    with engine.begin() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )
        )
    engine.dispose()
    assert len(await records.keys()) == 1
    await records.close()


async def test_a_postgresql_lock_that_is_never_let_go_is_said(
    postgresql_url: str, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "LOCK_SECONDS", 1.0)
    records = SqlRecords.open(postgresql_url, clock)
    await records.ensure_collection("acme", "default", MINILM)
    engine = open_engine(postgresql_url)
    with engine.connect() as other:
        other.execute(text("SELECT * FROM collections FOR UPDATE"))
        with pytest.raises(RecordsUnavailable, match="lock"):
            await records.next_versions("acme", "default", 1)
    engine.dispose()
    assert await records.next_versions("acme", "default", 1) == 1
    await records.close()


@pytest.mark.parametrize(
    ("state", "sentence", "waits"),
    [
        ("53100", "disk is full", False),
        ("53300", "no connection left", True),
        ("25006", "read-only", False),
        ("28P01", "refused the credentials", False),
        ("40P01", "another transaction", True),
        ("57P01", "stopping", True),
        ("08006", "connection", True),
        ("XX000", "SQLSTATE XX000", False),
    ],
)
def test_postgresql_errors_are_told_apart_by_their_code(
    state: str, sentence: str, waits: bool
) -> None:
    class DriverError(Exception):
        sqlstate = state

    with pytest.raises(RecordsUnavailable, match=sentence) as caught, translated():
        raise DBAPIError("SELECT 1", {}, DriverError("whatever it says"))
    assert (caught.value.retry_after is not None) is waits
    assert caught.value.remedy
