"""On a disk without room the index refuses to write and goes on being read."""

from pathlib import Path

import pytest

from ragstone.domain.errors import IndexUnavailable
from ragstone.index.edge_room import RESERVE_BYTES
from ragstone.index.qdrant_edge import QdrantEdgeIndex
from tests.index.corpus import COLLECTION, TENANT, document, put, search


class Disk:
    def __init__(self) -> None:
        self.left = 1 << 40

    def free(self, folder: Path) -> int:
        assert folder.is_dir()
        return self.left


async def test_a_full_disk_refuses_documents_and_keeps_what_is_there(tmp_path: Path) -> None:
    disk = Disk()
    index = QdrantEdgeIndex(tmp_path, free=disk.free)
    await put(index, document("a", ["stone"]))
    disk.left = RESERVE_BYTES
    with pytest.raises(IndexUnavailable, match="64 MiB left") as refused:
        await put(index, document("b", ["stone"]))
    assert refused.value.retriable
    found = await search(index, "stone", mode="lexical")
    assert [passage.document_id for passage in found.passages] == ["a"]
    disk.left = 2 * RESERVE_BYTES
    await put(index, document("b", ["stone"]))
    found = await search(index, "stone", mode="lexical")
    assert {passage.document_id for passage in found.passages} == {"a", "b"}
    await index.close()


async def test_a_new_collection_is_not_begun_on_a_full_disk(tmp_path: Path) -> None:
    disk = Disk()
    disk.left = 0
    index = QdrantEdgeIndex(tmp_path, free=disk.free)
    with pytest.raises(IndexUnavailable, match="0 MiB left"):
        await put(index, document("a", ["stone"]))
    assert [path.name for path in tmp_path.iterdir()] == ["LOCK"]
    await index.close()


async def test_a_shard_is_copied_only_where_the_copy_has_room(tmp_path: Path) -> None:
    disk = Disk()
    index = QdrantEdgeIndex(tmp_path, free=disk.free)
    await put(index, *(document(f"d{n}", ["stone"]) for n in range(20)))
    shard = index._shard(TENANT, COLLECTION)
    assert shard is not None
    disk.left = RESERVE_BYTES + 1
    with pytest.raises(IndexUnavailable, match="needs"):
        await index._compact(shard)
    assert len((await search(index, "stone", mode="lexical")).passages) > 0
    await index.close()
