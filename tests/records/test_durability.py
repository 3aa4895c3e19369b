"""What was acknowledged is there after `kill -9`, and nothing by halves."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from ragstone.records.engine import open_engine, sqlite_url
from ragstone.records.sql_records import SqlRecords
from tests.clock import VirtualClock
from tests.records.samples import MINILM, a_document, with_text

WRITER = """
import asyncio, sys
from ragstone.records.sql_records import SqlRecords
from tests.clock import VirtualClock
from tests.records.samples import MINILM, NO_COUNTS, a_document, a_job, a_source, with_text

async def main():
    records = SqlRecords.open(sys.argv[1], VirtualClock())
    await records.ensure_collection("acme", "default", MINILM)
    for n in range(100_000):
        job = a_job(f"job_{n}", created=float(n))
        await records.create_job(job, a_source(content=b"x" * 20_000))
        print("job", n, flush=True)
        version = await records.next_versions("acme", "default", 3)
        documents = [a_document(f"{n}/{k}", version=version + k) for k in range(3)]
        await records.put_documents("acme", "default", [with_text(d) for d in documents])
        print("put", n, flush=True)
        if n % 2:
            await records.delete_document("acme", documents[0].id)
            print("deleted", n, flush=True)
        await records.update_job(
            job.id, state="done", counts=NO_COUNTS, errors=[], attempts=1
        )
        print("done", n, flush=True)

asyncio.run(main())
"""


def acknowledged_before_kill(url: str, after: int) -> dict[str, set[int]]:
    """What a writer said it had written, until it was killed after `after` lines."""
    root = Path(__file__).resolve().parents[2]
    seen: dict[str, set[int]] = {"job": set(), "put": set(), "deleted": set(), "done": set()}
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True, cwd=root
    ) as writer:
        assert writer.stdout is not None
        for count, line in enumerate(writer.stdout, start=1):
            kind, number = line.split()
            seen[kind].add(int(number))
            if count == after:
                writer.send_signal(signal.SIGKILL)
        assert writer.wait() == -signal.SIGKILL
    return seen


@pytest.mark.parametrize("after", [30, 101])
async def test_every_acknowledged_write_is_there_after_a_kill(
    database_url: str, clock: VirtualClock, after: int
) -> None:
    seen = await asyncio.to_thread(acknowledged_before_kill, database_url, after)
    records = SqlRecords.open(database_url, clock)
    collection = await records.ensure_collection("acme", "default", MINILM)
    for n in seen["job"]:
        job = await records.job("acme", f"job_{n}")
        assert job is not None
        if n in seen["done"]:
            assert job.state == "done"
            assert await records.job_source(job.id) is None
        elif job.state == "queued":
            assert await records.job_source(job.id) is not None
    buried = {tombstone.document_id for tombstone in await records.tombstones()}
    for n in seen["put"]:
        ids = [a_document(f"{n}/{k}").id for k in range(3)]
        found = await records.documents_by_id("acme", ids)
        gone = set(ids) - set(found)
        assert gone <= {ids[0]}
        assert gone <= buried
        if n in seen["deleted"]:
            assert gone == {ids[0]}
        for id_ in found:
            assert await records.document_text("acme", id_) is not None
    documents = await records.documents("acme", "default", limit=10_000)
    assert collection.document_count == len(documents)
    assert collection.chunk_count == sum(document.chunk_count for document in documents)
    newest = max((document.version for document in documents), default=0)
    assert await records.next_versions("acme", "default", 1) > newest
    await records.close()


def test_every_connection_flushes_at_commit_and_checks_references(sqlite_file: Path) -> None:
    engine = open_engine(sqlite_url(sqlite_file))
    with engine.connect() as one, engine.connect() as two:
        for connection in (one, two):
            pragmas = [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            ]
            assert pragmas == ["wal", 2, 1, 10_000]
    engine.dispose()


def test_postgresql_flushes_at_commit(postgresql_url: str) -> None:
    engine = open_engine(postgresql_url)
    with engine.connect() as connection:
        assert connection.execute(text("SHOW synchronous_commit")).scalar_one() == "on"
    engine.dispose()


async def test_a_closed_database_is_one_file(sqlite_file: Path, clock: VirtualClock) -> None:
    records = SqlRecords.open(sqlite_url(sqlite_file), clock)
    await records.ensure_collection("acme", "default", MINILM)
    await records.close()
    assert [file.name for file in sqlite_file.parent.iterdir()] == [sqlite_file.name]
    plain = sqlite3.connect(sqlite_file)
    assert plain.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    plain.close()


async def test_records_restored_from_a_backup_never_count_to_a_number_they_had(
    tmp_path: Path,
) -> None:
    file, backup = tmp_path / "records.sqlite3", tmp_path / "backup.sqlite3"
    clock = VirtualClock()

    async def told(changes: int) -> set[int]:
        records = SqlRecords.open(sqlite_url(file), clock)
        await records.ensure_collection("acme", "default", MINILM)
        seen = set()
        for number in range(changes):
            clock.advance(0.5)
            if number % 2:
                await records.raise_cache_epoch("acme", None)
            else:
                await records.put_documents("acme", "default", [with_text(a_document("a"))])
            found = await records.collection("acme", "default")
            assert found is not None
            seen.add(found.cache_epoch if number % 2 else found.generation)
        await records.close()
        return seen

    await told(4)
    with sqlite3.connect(file) as source, sqlite3.connect(backup) as copy:
        source.backup(copy)
    future = await told(6)
    for left in tmp_path.glob("records.sqlite3*"):
        left.unlink()
    backup.rename(file)
    assert not future & await told(4)
