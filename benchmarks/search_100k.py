"""How fast, exact and large the embedded index is at 100,000 chunks.

One tenant holds `--chunks` chunks of 384 dimensions, five others 2,000 each. Vectors come
from a seeded mixture of Gaussians, texts from a Zipf vocabulary, 150 words a chunk, five
chunks a document; 1 %, 10 % and 100 % of the documents are readable by three groups.
Measured: building, optimising while searches go on, the hybrid index call, recall of the
dense leg against exact search, memory, and the two layouts of shards.

    python benchmarks/search_100k.py [--chunks 100000] [--layouts] [--root DIRECTORY]
"""

import argparse
import asyncio
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import numpy as np
import qdrant_edge as qe

from ragstone.domain.document import Chunk, IndexedChunk, chunk_id
from ragstone.domain.principal import Principal, access_token
from ragstone.domain.query import Filter, SearchMode, SearchRequest
from ragstone.index.edge_engine import Condition, EdgeEngine, field_key
from ragstone.index.edge_shard import _row
from ragstone.index.lexical import query_vector
from ragstone.index.qdrant_edge import QdrantEdgeIndex
from ragstone.ports import DocumentChunks

DIMENSIONS = 384
CHUNKS_PER_DOCUMENT = 5
WORDS_PER_CHUNK = 150
VOCABULARY = 50_000
STOP_WORDS = 50
"""Ranks of Zipf's law that a real text gives to stop words, which are not indexed."""
COLLECTION = "docs"
MAIN = "main"
MODES: tuple[SearchMode, ...] = ("hybrid", "dense", "lexical")
READERS = {"100 %": "all", "10 %": "tenth", "1 %": "hundredth"}


class Corpus:
    """Seeded vectors, texts and access lists of one tenant."""

    def __init__(self, tenant: str, chunks: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.tenant = tenant
        self.random = random
        self.centres = np.random.default_rng(7).normal(size=(1000, DIMENSIONS)).astype(np.float32)
        self.vectors = self.sample(chunks)
        self.groups = [
            ["all"] + (["tenth"] if u < 0.1 else []) + (["hundredth"] if u < 0.01 else [])
            for u in random.random(chunks // CHUNKS_PER_DOCUMENT)
        ]
        ranks = np.arange(1, VOCABULARY + 1) + STOP_WORDS
        self.cumulative = np.cumsum(1 / ranks) / (1 / ranks).sum()

    def sample(self, count: int) -> np.ndarray:
        near = self.centres[self.random.integers(0, len(self.centres), count)]
        noise = self.random.normal(size=(count, DIMENSIONS)).astype(np.float32)
        vectors = near + 0.8 * noise
        unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit

    def words(self, count: int) -> str:
        drawn = np.searchsorted(self.cumulative, self.random.random(count))
        return " ".join(f"w{word:05x}x" for word in drawn.tolist())

    def documents(self, first: int = 0) -> Iterator[DocumentChunks]:
        for number in range(first, len(self.groups)):
            name = f"doc{number}"
            access = [access_token(self.tenant, f"group:{g}") for g in self.groups[number]]
            chunks = []
            for ordinal in range(CHUNKS_PER_DOCUMENT):
                text = self.words(WORDS_PER_CHUNK)
                chunks.append(
                    IndexedChunk(
                        id=chunk_id(f"{self.tenant}/{name}", 1, ordinal),
                        tenant=self.tenant,
                        collection=COLLECTION,
                        document_id=name,
                        external_id=name,
                        version=1,
                        chunk=Chunk(ordinal=ordinal, start=0, end=len(text), text=text),
                        title=name,
                        access=access,
                        metadata={"tenant": self.tenant, "price": number % 500},
                        vector=self.vectors[number * CHUNKS_PER_DOCUMENT + ordinal].tolist(),
                        lexical_text=text,
                    )
                )
            yield DocumentChunks(document_id=name, version=1, chunks=chunks)

    def readable(self, group: str) -> np.ndarray:
        return np.repeat([group in groups for groups in self.groups], CHUNKS_PER_DOCUMENT)


class LoopWatch:
    """The longest time for which the event loop was not free."""

    async def __aenter__(self) -> "LoopWatch":
        self.longest = 0.0
        self._task = asyncio.create_task(self._watch())
        await asyncio.sleep(0.01)
        self.longest = 0.0
        return self

    async def _watch(self) -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            self.longest = max(self.longest, now - last)
            last = now

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()


async def ingest(index: QdrantEdgeIndex, corpus: Corpus) -> dict[str, float]:
    """Chunks a second, and the longest stall of the loop, without any embedding."""
    batch: list[DocumentChunks] = []
    seconds = stall = 0.0
    for document in corpus.documents():
        batch.append(document)
        if len(batch) == 50:
            async with LoopWatch() as watch:
                start = time.perf_counter()
                await index.replace(corpus.tenant, COLLECTION, batch)
                seconds += time.perf_counter() - start
            stall = max(stall, watch.longest)
            batch = []
    if batch:
        await index.replace(corpus.tenant, COLLECTION, batch)
    return {"ingest_s": seconds, "ingest_longest_stall_ms": stall * 1e3}


async def measure(
    index: QdrantEdgeIndex,
    corpus: Corpus,
    group: str,
    mode: SearchMode,
    queries: int,
    exact: bool = False,
) -> dict[str, float]:
    """p50 and p99 of the index call in ms, and recall@10 of what it found by vector."""
    principal = Principal(tenant=corpus.tenant, groups=frozenset({group}))
    vectors = corpus.sample(queries)
    times, cpu, found = [], [], []
    for vector in vectors:
        request = SearchRequest(
            collection=COLLECTION,
            mode=mode,
            vector=vector.tolist(),
            text="what is the " + corpus.words(8),
            limit=10,
        )
        start, start_cpu = time.perf_counter(), time.process_time()
        result = await index.search(principal, request)
        times.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
        found.append({passage.chunk_id for passage in result.passages})
    figures = {
        "p50_ms": float(np.median(times)) * 1e3,
        "p99_ms": float(np.quantile(times, 0.99)) * 1e3,
        "cpu_ms": float(np.mean(cpu)) * 1e3,
    }
    # Afterwards, because the exact search sweeps the processor's caches clean.
    return figures | ({"recall@10": recall(corpus, group, vectors, found)} if exact else {})


def recall(corpus: Corpus, group: str, vectors: np.ndarray, found: list[set[str]]) -> float:
    """The share of the ten truly nearest readable chunks that were found."""
    readable = np.flatnonzero(corpus.readable(group))
    hits = 0
    for vector, ids in zip(vectors, found, strict=True):
        scores = corpus.vectors[readable] @ vector
        nearest = readable[np.argpartition(-scores, 10)[:10]]
        hits += len({_id(corpus, int(number)) for number in nearest} & ids)
    return hits / (10 * len(vectors))


def _id(corpus: Corpus, number: int) -> str:
    name = f"doc{number // CHUNKS_PER_DOCUMENT}"
    return str(chunk_id(f"{corpus.tenant}/{name}", 1, number % CHUNKS_PER_DOCUMENT))


def show(what: str, figures: dict[str, float]) -> None:
    print(json.dumps({"what": what} | {k: round(v, 3) for k, v in figures.items()}), flush=True)


def memory() -> dict[str, float]:
    """Resident and private megabytes of this process (Linux)."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    private = kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]
    return {"rss_mb": kilobytes["Rss"] / 1024, "private_mb": private / 1024}


async def build(root: Path, corpora: list[Corpus]) -> None:
    """A shard for each tenant, optimised: what the product does."""
    index = QdrantEdgeIndex(root)
    for corpus in corpora:
        figures = await ingest(index, corpus)
        if corpus is corpora[0]:
            show("ingested", figures)
    async with LoopWatch() as watch:
        start = time.perf_counter()
        for corpus in corpora:
            await index.optimize(corpus.tenant, COLLECTION)
        seconds = time.perf_counter() - start
    child = resource.getrusage(resource.RUSAGE_CHILDREN)
    show(
        "optimised",
        {
            "s": seconds,
            "child_cpu_s": child.ru_utime + child.ru_stime,
            "child_peak_mb": child.ru_maxrss / 1024,
            "longest_stall_ms": watch.longest * 1e3,
        },
    )
    await index.close()


async def separate(root: Path, corpora: list[Corpus], queries: int) -> None:
    """Searches over a shard for each tenant."""
    size = sum(file.stat().st_blocks * 512 for file in root.rglob("*") if file.is_file())
    main = corpora[0]
    before = memory()
    index = QdrantEdgeIndex(root)
    start = time.perf_counter()
    await measure(index, main, "all", "hybrid", 1)
    show("opened", {"ms": (time.perf_counter() - start) * 1e3, "disk_mb": size / 2**20})
    for share, group in READERS.items():
        for mode in MODES:
            await measure(index, main, group, mode, queries // 5)
            figures = await measure(index, main, group, mode, queries, exact=mode == "dense")
            show(f"{mode}, {share} readable", figures)
    after = memory()
    show("memory of the index", {key: after[key] - before[key] for key in after})
    await index.close()


async def shared(root: Path, corpora: list[Corpus], queries: int) -> None:
    """All tenants in one engine, for comparison: a tenant condition and its statistics."""
    engine = EdgeEngine.create(root / "shared", DIMENSIONS)
    engine.index_field(field_key("tenant", "text"), "text")
    for corpus in corpora:
        for document in corpus.documents():
            engine.write([_row(chunk, 100.0) for chunk in document.chunks])
    engine.optimize()
    main = corpora[0]
    tenant = Filter(field="tenant", any_of=[main.tenant])
    population = qe.SearchParams(idf=qe.IdfParams(corpus=Condition([], [tenant]).filter))
    for share, group in READERS.items():
        tokens = Principal(tenant=main.tenant, groups=frozenset({group})).access_tokens()
        for own_statistics in (False, True):
            times = []
            for vector in main.sample(queries):
                words = query_vector("what is the " + main.words(8))
                start = time.perf_counter()
                condition = Condition(tokens, [tenant])
                dense = engine.dense(vector.tolist(), condition, 50)
                query = qe.SparseVector(words.indices, words.values)
                hits = engine._query(
                    qe.Query.Nearest(query, using="bm25"),
                    condition,
                    50,
                    population if own_statistics else None,
                )
                only: list[UUID] = [id_ for id_ in hits if id_ not in dense]
                engine.dense(vector.tolist(), condition.among(only), len(only) or 1)
                engine.bodies(list(dense)[:10])
                times.append(time.perf_counter() - start)
            show(
                f"shared shard, {share} readable, own statistics {own_statistics}",
                {
                    "p50_ms": float(np.median(times)) * 1e3,
                    "p99_ms": float(np.quantile(times, 0.99)) * 1e3,
                },
            )
    engine.close()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--layouts", action="store_true", help="also measure one shared shard")
    parser.add_argument("--root", type=Path, help="build here, or measure what is here")
    options = parser.parse_args()
    corpora = [Corpus(MAIN, options.chunks, seed=1)]
    corpora += [Corpus(f"other{n}", 2_000, seed=2 + n) for n in range(5)]
    with tempfile.TemporaryDirectory() as temporary:
        root = options.root or Path(temporary) / "index"
        if not root.exists():
            await build(root, corpora)
        await separate(root, corpora, options.queries)
        if options.layouts:
            await shared(Path(temporary), corpora, options.queries)


if __name__ == "__main__":
    asyncio.run(main())
