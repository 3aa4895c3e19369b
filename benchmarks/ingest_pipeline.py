"""The whole ingestion against the bare ONNX session on the same texts, side by side.

    python benchmarks/ingest_pipeline.py ../shared/data/chunking [--rounds 3] [--files 400]

The corpora are cut into files of a few thousand characters, as a folder of documents has them:
each file is a job of its own, through parser processes, SQLite records, the embedder and the
embedded index. The bare session tokenises the same texts, sorts them by length, and runs the
same batches on as many threads, and does nothing else. The parser processes have been started
before, as those of a running server are. The rounds alternate.
"""

import argparse
import asyncio
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from ragstone.domain.clock import SystemClock
from ragstone.domain.document import DocumentSource
from ragstone.domain.principal import Principal
from ragstone.index.qdrant_edge import QdrantEdgeIndex
from ragstone.ingest.parse.limits import ParseLimits
from ragstone.ingest.parser_process import ParserPool
from ragstone.ingest.service import Ingestion, IngestionSettings
from ragstone.models.embedders.length_batches import padded, plan_batches
from ragstone.models.embedders.onnx_minilm import (
    BATCH_TOKENS,
    MiniLmEmbedder,
)
from ragstone.records.sql_records import SqlRecords

OPERATOR = Principal(tenant="acme", scopes=frozenset({"ingest"}))
WARMING = DocumentSource(name="warm.md", content=b"# Warm", collection="warm")
THREADS = 2


class Recording(MiniLmEmbedder):
    """Keeps the texts that it is given."""

    def __init__(self) -> None:
        super().__init__(threads=THREADS)
        self.texts: list[str] = []

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        self.texts.extend(texts)
        return await super().embed_documents(texts)


def read_sources(folder: Path, count: int) -> list[DocumentSource]:
    """Up to `count` files of whole paragraphs, at least 3,000 characters each."""
    sources: list[DocumentSource] = []
    for file in sorted((folder / "corpora").glob("*.md")):
        part: list[str] = []
        for paragraph in [*file.read_text(encoding="utf-8").split("\n"), None]:
            if (paragraph is None and any(part)) or sum(map(len, part)) > 3_000:
                name = f"{file.stem}/{len(sources):05}.md"
                content = "\n".join(part).encode()
                sources.append(DocumentSource(name=name, content=content, collection="bench"))
                part = []
            part.append(paragraph or "")
    step = max(1, len(sources) // count)
    return sources[::step][:count]


class Spent(NamedTuple):
    seconds: float
    processor: float
    """Seconds of processor time, those of the parser processes included."""
    chunks: int


def processor_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


async def ingest(embedder: MiniLmEmbedder, sources: Sequence[DocumentSource]) -> Spent:
    """From the first submission to the end of the last job."""
    with tempfile.TemporaryDirectory() as home:
        records = SqlRecords.open(f"sqlite:///{home}/records.sqlite", SystemClock())
        index = QdrantEdgeIndex(Path(home) / "index")
        parser = ParserPool(
            workers=2, timeout_seconds=60, memory_bytes=2_000_000_000, limits=ParseLimits()
        )
        ingestion = Ingestion(
            records=records,
            index=index,
            embedder=embedder,
            parser=parser,
            clock=SystemClock(),
            settings=IngestionSettings(),
        )
        await ingestion.start()
        warming = await ingestion.submit(OPERATOR, WARMING)
        await ingestion.wait(OPERATOR, warming.id)
        began, busy = time.perf_counter(), processor_seconds()
        jobs = [await ingestion.submit(OPERATOR, source) for source in sources]
        ended = [await ingestion.wait(OPERATOR, job.id) for job in jobs]
        seconds = time.perf_counter() - began
        failed = [job.errors for job in ended if job.state != "done"]
        assert not failed, failed
        await ingestion.stop()
        await parser.close()  # only then is the processor time of its children known
        processor = processor_seconds() - busy
        await index.close()
        await records.close()
        return Spent(seconds, processor, sum(job.counts.chunks for job in ended))


def bare(embedder: MiniLmEmbedder, texts: Sequence[str]) -> Spent:
    """Nothing but tokens, batches and the session."""
    began, busy = time.perf_counter(), processor_seconds()
    tokens = embedder._tokenise(texts)
    batches = plan_batches([len(ids) for ids in tokens], max_tokens=BATCH_TOKENS)
    with ThreadPoolExecutor(THREADS) as threads:
        runs = threads.map(
            lambda batch: embedder._session.run(None, padded([tokens[i] for i in batch])), batches
        )
        assert sum(len(vectors) for (vectors,) in runs) == len(texts)
    return Spent(time.perf_counter() - began, processor_seconds() - busy, len(texts))


async def run(folder: Path, rounds: int, files: int) -> None:
    embedder = await asyncio.to_thread(Recording)
    await embedder.warm()
    sources = read_sources(folder, files)
    await ingest(embedder, sources)
    texts = embedder.texts[1:]  # without the warming one
    print(f"{len(sources)} files, {len(texts)} chunks, {sum(map(len, texts)):,} characters")
    shares = []
    for _ in range(rounds):
        alone = await asyncio.to_thread(bare, embedder, texts)
        whole = await ingest(embedder, sources)
        shares.append(alone.seconds / whole.seconds)
        print(
            f"bare session {alone.chunks / alone.seconds:.0f} chunks/s, whole ingestion "
            f"{whole.chunks / whole.seconds:.0f} chunks/s: {shares[-1]:.1%}; processor time "
            f"{1e3 * alone.processor / alone.chunks:.2f} and "
            f"{1e3 * whole.processor / whole.chunks:.2f} ms a chunk: "
            f"{alone.processor / whole.processor:.1%}",
            flush=True,
        )
    print(f"median {statistics.median(shares):.1%}")
    await embedder.close()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--files", type=int, default=400)
    given = arguments.parse_args()
    asyncio.run(run(given.folder, given.rounds, given.files))


if __name__ == "__main__":
    main()
