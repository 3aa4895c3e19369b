"""The embedded engine against the exact index, on the same operations and questions."""

import asyncio
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragstone.domain.document import Metadata
from ragstone.domain.query import Filter, SearchRequest
from ragstone.index.edge_compaction import compact
from ragstone.index.edge_engine import UNINDEXED_THRESHOLD
from ragstone.index.memory import MemoryIndex
from ragstone.index.qdrant_edge import QdrantEdgeIndex
from tests.index.corpus import (
    COLLECTION,
    DIMENSIONS,
    TENANT,
    asker,
    close_to,
    document,
    found,
    search,
)

Operation = tuple[str, str, int, str, Metadata]

operations = st.lists(
    st.tuples(
        st.sampled_from(["replace", "replace", "replace", "delete", "reopen"]),
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from([0, 1, 3, 40]),
        st.sampled_from(["*", "group:staff", "user:ann"]),
        st.sampled_from([{"n": 1}, {"n": [2, 3]}, {"n": 9, "t": "x"}]),
    ),
    min_size=1,
    max_size=6,
)

PRINCIPALS = [asker(), asker("staff"), asker("staff", user="ann"), asker(tenant="other")]


async def _run(script: list[Operation], root: Path) -> None:
    memory, edge = MemoryIndex(), QdrantEdgeIndex(root)
    await memory.replace(TENANT, COLLECTION, [document("z", ["stone"], metadata={"n": 0})])
    await edge.replace(TENANT, COLLECTION, [document("z", ["stone"], metadata={"n": 0})])
    for version, (what, name, size, access, metadata) in enumerate(script, start=1):
        if what == "reopen":
            await edge.close()
            edge = QdrantEdgeIndex(root)
            continue
        changed = document(
            name,
            [f"stone {i} v{version}" for i in range(size)],
            version=version,
            access=[access],
            metadata=metadata,
        )
        for index in (memory, edge):
            if what == "replace":
                await index.replace(TENANT, COLLECTION, [changed])
            else:
                await index.delete(TENANT, COLLECTION, [name])
        for principal in PRINCIPALS:
            for filters in ([], [Filter(field="n", gte=2)]):
                options = {"principal": principal, "filters": filters}
                assert await found(edge, **options) == await found(memory, **options)
    await edge.close()


@given(operations)
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
def test_any_operations_leave_the_same_visible(script: list[Operation]) -> None:
    with tempfile.TemporaryDirectory() as root:
        asyncio.run(_run(script, Path(root)))


async def test_both_rank_the_same(edge: QdrantEdgeIndex) -> None:
    random = np.random.default_rng(5)
    words = [f"word{i}" for i in range(60)]
    documents = [document(f"d{i}", [" ".join(random.choice(words, 12))]) for i in range(80)]
    memory = MemoryIndex()
    await memory.replace(TENANT, COLLECTION, documents)
    await edge.replace(TENANT, COLLECTION, documents)
    for _ in range(10):
        question = " ".join(random.choice(words, 4))
        for mode in ("dense", "lexical", "hybrid"):
            a = (await search(edge, question, mode=mode)).passages  # type: ignore[arg-type]
            b = (await search(memory, question, mode=mode)).passages  # type: ignore[arg-type]
            assert [p.chunk_id for p in a] == [p.chunk_id for p in b]
            assert all(close_to(x.scores.fused, y.scores.fused) for x, y in zip(a, b, strict=True))


async def test_whoever_may_read_one_percent_finds_the_best_of_it(edge: QdrantEdgeIndex) -> None:
    random = np.random.default_rng(3)
    count, per_document, k = UNINDEXED_THRESHOLD + 1_000, 10, 10
    vectors = random.normal(size=(count, DIMENSIONS))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    documents = [
        document(
            f"d{n}",
            ["stone"] * per_document,
            access=["group:few"] if n % 100 == 7 else ["group:many"],
            vectors=vectors[n * per_document : (n + 1) * per_document].tolist(),
        )
        for n in range(count // per_document)
    ]
    await edge.replace(TENANT, COLLECTION, documents)
    ids = [chunk.id for one in documents for chunk in one.chunks]
    few = np.repeat([n % 100 == 7 for n in range(len(documents))], per_document)

    async def recall() -> float:
        hits = 0
        for question in random.normal(size=(20, DIMENSIONS)):
            question /= np.linalg.norm(question)
            request = SearchRequest(
                collection=COLLECTION, mode="dense", vector=question.tolist(), limit=k
            )
            result = await edge.search(asker("few"), request)
            assert len(result.passages) == k
            exact = np.argsort(-np.where(few, vectors @ question, -2))[:k]
            hits += len({str(ids[i]) for i in exact} & {p.chunk_id for p in result.passages})
        return hits / (20 * k)

    assert await recall() >= 0.95
    shard = edge._shard(TENANT, COLLECTION)
    assert shard is not None
    await compact(shard)
    assert shard.engine.unindexed == 0
    assert await recall() >= 0.95
