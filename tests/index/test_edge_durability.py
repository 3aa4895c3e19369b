"""The embedded index's own promises: crashes, restarts, optimising, damage, locks."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ragstone.domain.errors import IndexUnavailable
from ragstone.domain.query import Filter
from ragstone.index import edge_compaction, edge_shard
from ragstone.index.edge_compaction import compact
from ragstone.index.edge_files import shard_directory
from ragstone.index.edge_shard import EdgeShard
from ragstone.index.qdrant_edge import QdrantEdgeIndex
from tests.index.corpus import COLLECTION, TENANT, document, found, put, search

LARGE = 70
"""Chunks: more than one engine call, so it changes over in steps."""


def shard_of(index: QdrantEdgeIndex) -> EdgeShard:
    shard = index._shard(TENANT, COLLECTION)
    assert shard is not None
    return shard


async def reopen(index: QdrantEdgeIndex, root: Path) -> QdrantEdgeIndex:
    await index.close()
    return QdrantEdgeIndex(root)


async def test_reopening_keeps_everything(tmp_path: Path) -> None:
    index = QdrantEdgeIndex(tmp_path)
    await put(index, document("a", ["granite kerb"], metadata={"colour": "grey"}))
    await put(index, document("b", ["soft chalk"], metadata={"colour": "white"}))
    await put(index, document("c", ["stone"]))
    before = await search(index, "granite")
    index = await reopen(index, tmp_path)
    assert await search(index, "granite") == before
    await index.delete(TENANT, COLLECTION, ["b"])
    index = await reopen(index, tmp_path)
    assert await found(index) == {"a@1", "c@1"}
    assert await found(index, filters=[Filter(field="colour", any_of=["grey"])]) == {"a@1"}
    await index.close()


WRITER = """
import asyncio, sys
from pathlib import Path
from ragstone.index.qdrant_edge import QdrantEdgeIndex
from tests.index.corpus import COLLECTION, TENANT, document, put

async def main():
    index = QdrantEdgeIndex(Path(sys.argv[1]))
    version = 0
    while True:
        version += 1
        await put(index, document("small", ["stone"] * 3, version=version))
        await put(index, document("large", ["stone"] * 70, version=version))
        await put(index, document(f"new{version}", ["stone"]))
        await index.delete(TENANT, COLLECTION, [f"new{version - 1}"])
        print(version, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("rounds", [1, 4])
async def test_a_kill_loses_nothing_acknowledged(tmp_path: Path, rounds: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        for _ in range(rounds):
            acknowledged = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged = int(([str(acknowledged), *writer.stdout.read().split()])[-1])
    index = QdrantEdgeIndex(tmp_path)
    result = await search(index, "stone", mode="dense", limit=1000)
    versions: dict[str, list[int]] = {}
    for passage in result.passages:
        versions.setdefault(passage.document_id, []).append(passage.version)
    for name, size in (("small", 3), ("large", LARGE)):
        assert len(versions[name]) == size
        assert len(set(versions[name])) == 1
        assert versions[name][0] in (acknowledged, acknowledged + 1)
    alive = {name for name in versions if name.startswith("new")}
    assert f"new{acknowledged}" in alive or f"new{acknowledged + 1}" in alive
    assert not alive & {f"new{n}" for n in range(acknowledged)}
    await index.close()


class Killed(BaseException):
    """Stands for the end of the process at this point."""


STEPS = [
    ("at_once", "write", 0),
    ("at_once", "delete", 0),
    ("in_steps", "write", 0),
    ("in_steps", "write", 1),
    ("in_steps", "set_access", 0),
    ("in_steps", "delete", 0),
]


@pytest.mark.parametrize(("how", "call", "nth"), STEPS)
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
async def test_a_crash_while_replacing_leaves_one_version_and_no_leftovers(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    call: str,
    nth: int,
    before: bool,
) -> None:
    size = 3 if how == "at_once" else LARGE
    index = QdrantEdgeIndex(tmp_path)
    await put(index, document("a", [f"stone {i}" for i in range(size)]))
    engine = shard_of(index).engine
    original = getattr(engine, call)
    calls = 0

    def dies(*arguments: object, **options: object) -> None:
        nonlocal calls
        calls += 1
        if calls == nth + 1 and before:
            raise Killed
        original(*arguments, **options)
        if calls == nth + 1:
            raise Killed

    monkeypatch.setattr(engine, call, dies)
    second = document("a", [f"stone {i}" for i in range(size - 1)], version=2)
    with pytest.raises(Killed):
        await put(index, second)
    monkeypatch.undo()
    index = await reopen(index, tmp_path)
    visible = (await search(index, "stone", limit=500)).passages
    assert {(1, size), (2, size - 1)} >= {(p.version, len(visible)) for p in visible}
    assert visible
    await put(index, document("a", ["stone"], version=3))
    assert await found(index) == {"a@3"}
    assert len(shard_of(index).engine) == 1
    await index.close()


async def test_cancelling_a_replacement_leaves_one_version(edge: QdrantEdgeIndex) -> None:
    await put(edge, document("a", [f"stone {i}" for i in range(LARGE)]))
    for turns in range(12):
        version = turns + 2
        task = asyncio.create_task(
            put(edge, document("a", [f"stone {i}" for i in range(LARGE)], version=version))
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        visible = (await search(edge, "stone", limit=500)).passages
        assert len(visible) == LARGE
        assert len({p.version for p in visible}) == 1
    await put(edge, document("a", ["stone"], version=99))
    assert len(shard_of(edge).engine) == 1


# Optimising


async def test_optimising_keeps_what_is_found(tmp_path: Path) -> None:
    index = QdrantEdgeIndex(tmp_path)
    for i in range(20):
        await put(index, document(f"d{i}", [f"stone {i}"], metadata={"n": i, "tag": f"t{i % 3}"}))
    before = await search(index, "stone 7", limit=20)
    await compact(shard_of(index))
    after = await search(index, "stone 7", limit=20)
    assert [p.chunk_id for p in after.passages] == [p.chunk_id for p in before.passages]
    assert len(await found(index, filters=[Filter(field="n", gte=15)])) == 5
    index = await reopen(index, tmp_path)
    assert (await search(index, "stone 7", limit=20)).passages == after.passages
    await index.close()


async def test_changes_while_optimising_are_kept_and_searches_go_on(
    edge: QdrantEdgeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(edge, *(document(f"d{i}", ["stone", "stone"]) for i in range(10)))
    in_child = asyncio.Event()
    original = edge_compaction._optimize_in_child

    async def child(*arguments: object) -> None:
        await original(*arguments)  # type: ignore[arg-type]
        in_child.set()
        await changed.wait()

    changed = asyncio.Event()
    monkeypatch.setattr(edge_compaction, "_optimize_in_child", child)
    optimising = asyncio.create_task(compact(shard_of(edge)))
    await in_child.wait()
    await put(edge, document("d0", ["stone"], version=2), document("fresh", ["stone"] * LARGE))
    await edge.delete(TENANT, COLLECTION, ["d1"])
    expected = {"d0@2", "fresh@1", *(f"d{i}@1" for i in range(2, 10))}
    assert await found(edge) == expected
    changed.set()
    await optimising
    assert await found(edge) == expected
    assert len(shard_of(edge).engine) == 1 + LARGE + 16
    await put(edge, document("d2", ["stone"], version=5))
    await edge.delete(TENANT, COLLECTION, ["fresh"])
    assert await found(edge) == {"d0@2", "d2@5", *(f"d{i}@1" for i in range(3, 10))}


async def test_a_failing_optimisation_changes_nothing(
    edge: QdrantEdgeIndex, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await put(edge, document("a", ["stone"]))
    monkeypatch.setattr(edge_compaction.sys, "executable", "/bin/false")
    with pytest.raises(IndexUnavailable, match="Optimising"):
        await compact(shard_of(edge))
    assert await found(edge) == {"a@1"}
    engines = list(shard_directory(tmp_path, TENANT, COLLECTION).glob("engine-*"))
    assert engines == [shard_of(edge).engine.path]


async def test_a_small_shard_is_not_worth_optimising_and_a_large_one_is(
    edge: QdrantEdgeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(edge, document("a", ["stone"]))
    first = shard_of(edge).engine
    await edge.optimize(TENANT, COLLECTION)
    await edge.optimize(TENANT, "never-there")
    assert shard_of(edge).engine is first
    monkeypatch.setattr(edge_shard, "UNINDEXED_THRESHOLD", 1)
    await edge.optimize(TENANT, COLLECTION)
    assert shard_of(edge).engine is not first
    assert await found(edge) == {"a@1"}


async def test_a_growing_shard_is_optimised_without_being_told(
    edge: QdrantEdgeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_shard, "COMPACT_UNASKED", 1)
    await put(edge, document("a", ["stone"]))
    first = shard_of(edge).engine
    await asyncio.wait(edge._compactions.values())
    assert shard_of(edge).engine is not first
    assert await found(edge) == {"a@1"}


async def test_closing_stops_an_optimisation_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_shard, "UNINDEXED_THRESHOLD", 1)
    index = QdrantEdgeIndex(tmp_path)
    await put(index, document("a", ["stone"]))
    optimising = asyncio.create_task(index.optimize(TENANT, COLLECTION))
    while not index._compactions:
        await asyncio.sleep(0)
    await index.close()
    with pytest.raises(IndexUnavailable, match="stopped"):
        await optimising
    index = QdrantEdgeIndex(tmp_path)
    assert await found(index) == {"a@1"}
    await index.close()


# Files


@pytest.mark.parametrize("victim", ["CURRENT", "manifest.json", "engine"])
async def test_a_damaged_shard_says_so(tmp_path: Path, victim: str) -> None:
    index = QdrantEdgeIndex(tmp_path)
    await put(index, document("a", ["stone"]), document("b", ["stone"], collection="other"))
    await index.close()
    directory = shard_directory(tmp_path, TENANT, COLLECTION)
    if victim == "engine":
        for file in directory.glob("engine-*/segments/*/segment.json"):
            file.write_bytes(b"\x00garbage")
    else:
        (directory / victim).write_bytes(b"\xff\x00garbage")
    index = QdrantEdgeIndex(tmp_path)
    with pytest.raises(IndexUnavailable) as caught:
        await search(index, "stone")
    assert directory.name in caught.value.message
    assert caught.value.remedy
    assert await found(index, collection="other") == {"b@1"}
    await index.close()


async def test_a_second_opener_is_refused_until_the_first_closes(tmp_path: Path) -> None:
    first = QdrantEdgeIndex(tmp_path)
    with pytest.raises(IndexUnavailable, match="Another process"):
        QdrantEdgeIndex(tmp_path)
    await first.close()
    await QdrantEdgeIndex(tmp_path).close()
    with pytest.raises(IndexUnavailable, match="closed"):
        await search(first, "stone")


async def test_names_never_leave_the_folder(tmp_path: Path) -> None:
    root = tmp_path / "index"
    index = QdrantEdgeIndex(root)
    names = ["../../escape", "/etc/passwd", "a/b", "a\x00b", "", "ü" * 300]
    for name in names:
        await put(index, document("a", ["stone"], tenant=name, collection=name))
    await index.close()
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
    shards = [path for path in root.iterdir() if path.is_dir()]
    assert len(shards) == len(names)


async def test_leftovers_of_a_crash_are_removed(tmp_path: Path) -> None:
    index = QdrantEdgeIndex(tmp_path)
    await put(index, document("a", ["stone"]))
    await index.close()
    directory = shard_directory(tmp_path, TENANT, COLLECTION)
    (directory / "engine-unfinished").mkdir()
    (tmp_path / "gone.dropped").mkdir()
    half_made = shard_directory(tmp_path, TENANT, "half-made")
    (half_made / "engine-x").mkdir(parents=True)
    index = QdrantEdgeIndex(tmp_path)
    assert await found(index) == {"a@1"}
    assert await found(index, collection="half-made") == set()
    await put(index, document("b", ["stone"], collection="half-made"))
    assert await found(index, collection="half-made") == {"b@1"}
    assert not (directory / "engine-unfinished").exists()
    assert not (tmp_path / "gone.dropped").exists()
    await index.close()
