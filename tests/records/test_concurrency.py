"""Generations only rise and a version number is given once, whoever asks at the same time."""

import asyncio
import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from ragstone.domain.document import Document
from ragstone.domain.errors import UnknownCollection
from ragstone.records.memory import MemoryRecords
from ragstone.records.sql_records import SqlRecords
from tests.clock import VirtualClock
from tests.records.samples import MINILM, a_document, with_text

WORKER = """
import asyncio, sys
from ragstone.records.sql_records import SqlRecords
from tests.clock import VirtualClock
from tests.records.samples import MINILM, a_document, with_text

async def main():
    records = SqlRecords.open(sys.argv[1], VirtualClock())
    await records.ensure_collection("acme", "default", MINILM)
    print("ready", flush=True)
    sys.stdin.readline()
    for n in range(25):
        first = await records.next_versions("acme", "default", 2)
        document = a_document(f"{n % 5}.md", version=first, chunks=n)
        put = await records.put_documents("acme", "default", [with_text(document)])
        print(first, first + 1, put.generation, flush=True)
    await records.close()

asyncio.run(main())
"""


async def test_many_tasks_never_share_a_version_or_a_generation(
    database_url: str, clock: VirtualClock
) -> None:
    records = SqlRecords.open(database_url, clock)
    await records.ensure_collection("acme", "default", MINILM)

    async def work(worker: int) -> list[tuple[int, int]]:
        done = []
        for n in range(10):
            version = await records.next_versions("acme", "default", 1)
            document = a_document(f"{(worker + n) % 4}.md", version=version, chunks=worker)
            put = await records.put_documents("acme", "default", [with_text(document)])
            done.append((version, put.generation))
        return done

    done = [pair for worker in await asyncio.gather(*map(work, range(6))) for pair in worker]
    assert len({version for version, _ in done}) == 60
    first = int(clock.time() * 1000)
    assert sorted(generation for _, generation in done) == list(range(first, first + 60))
    await _assert_counted(records)
    await records.close()


async def test_many_processes_never_share_a_version_or_a_generation(
    database_url: str, clock: VirtualClock
) -> None:
    lines = [line for out in await asyncio.to_thread(_outputs, database_url, 2) for line in out]
    numbers = [tuple(map(int, line.split())) for line in lines]
    versions = [version for first, second, _ in numbers for version in (first, second)]
    assert len(numbers) == 50
    assert len(set(versions)) == 100
    first = int(clock.time() * 1000)
    assert sorted(generation for *_, generation in numbers) == list(range(first, first + 50))
    records = SqlRecords.open(database_url, clock)
    await _assert_counted(records)
    await records.close()


async def test_documents_put_deleted_and_counted_at_once_stay_consistent(
    database_url: str, clock: VirtualClock
) -> None:
    records = SqlRecords.open(database_url, clock)
    await records.ensure_collection("acme", "default", MINILM)
    documents = [a_document(f"{n}.md", chunks=n) for n in range(6)]

    async def put(n: int) -> None:
        batch = [documents[(n + k) % 6] for k in range(3)]
        if n % 2:
            batch.reverse()
        await records.put_documents("acme", "default", [with_text(d) for d in batch])

    async def delete(n: int) -> None:
        await records.delete_document("acme", documents[n % 6].id)

    await asyncio.gather(*(put(n) for n in range(20)), *(delete(n) for n in range(20)))
    await _assert_counted(records)
    alive = {document.id for document in await records.documents("acme", "default")}
    assert alive.isdisjoint(tombstone.document_id for tombstone in await records.tombstones())
    await records.close()


async def _assert_counted(records: SqlRecords) -> None:
    collection = await records.collection("acme", "default")
    documents = await records.documents("acme", "default", limit=10_000)
    assert collection is not None
    assert collection.document_count == len(documents)
    assert collection.chunk_count == sum(document.chunk_count for document in documents)


def _outputs(url: str, count: int) -> list[list[str]]:
    root = Path(__file__).resolve().parents[2]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
        )
        for _ in range(count)
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        return [worker.communicate()[0].splitlines() for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


NAMES = st.sampled_from(["a", "b"])
DOCUMENTS = st.lists(
    st.tuples(st.sampled_from(["1", "2", "3"]), st.integers(0, 9)), min_size=0, max_size=4
)


class RecordsMachine(RuleBasedStateMachine):
    """The same calls on the fake and on SQLite give the same results, and counters rise."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        clock = VirtualClock()
        self.loop = asyncio.new_event_loop()
        self.tenant = f"tenant-{next(_runs)}"
        self.real = SqlRecords.open(self.url, clock)
        self.fake = MemoryRecords(clock)
        self.generations: dict[str, int] = {}
        self.given: set[tuple[str, int]] = set()

    def both(self, method: str, *args: Any) -> Any:
        results = []
        for records in (self.real, self.fake):
            try:
                results.append(
                    self.loop.run_until_complete(getattr(records, method)(self.tenant, *args))
                )
            except UnknownCollection as error:
                results.append(str(error))
        assert results[0] == results[1]
        return results[0]

    @rule(name=NAMES)
    def ensure(self, name: str) -> None:
        self.both("ensure_collection", name, MINILM)

    @rule(name=NAMES)
    def drop(self, name: str) -> None:
        self.both("delete_collection", name)

    @rule(name=NAMES, count=st.integers(1, 5))
    def take_versions(self, name: str, count: int) -> None:
        first = self.both("next_versions", name, count)
        if isinstance(first, int):
            fresh = {(name, first + n) for n in range(count)}
            assert fresh.isdisjoint(self.given)
            self.given |= fresh

    @rule(name=NAMES, documents=DOCUMENTS)
    def put(self, name: str, documents: list[tuple[str, int]]) -> None:
        rows = [with_text(self.document(id_, name, chunks)) for id_, chunks in documents]
        self.both("put_documents", name, rows)

    @rule(name=NAMES, external_id=st.sampled_from(["1", "2", "3"]))
    def delete(self, name: str, external_id: str) -> None:
        self.both("delete_document", self.document(external_id, name, 0).id)

    @invariant()
    def both_hold_the_same_and_generations_never_fall(self) -> None:
        for collection in self.both("collections"):
            assert collection.generation >= self.generations.get(collection.name, 0)
            self.generations[collection.name] = collection.generation
            documents = self.both("documents", collection.name)
            assert collection.document_count == len(documents)
            assert collection.chunk_count == sum(d.chunk_count for d in documents)

    def document(self, external_id: str, collection: str, chunks: int) -> Document:
        return a_document(external_id, tenant=self.tenant, collection=collection, chunks=chunks)

    def teardown(self) -> None:
        self.loop.run_until_complete(self.real.close())
        self.loop.close()


_runs = itertools.count()


def test_any_sequence_of_changes_keeps_the_fake_and_sqlite_alike(
    sqlite_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RecordsMachine, "url", f"sqlite:///{sqlite_file}", raising=False)
    run_state_machine_as_test(
        RecordsMachine,
        settings=settings(max_examples=25, stateful_step_count=20, deadline=None),
    )
