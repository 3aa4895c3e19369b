"""Embedding for ingestion, against the bare ONNX session; and a query, alone and beside it.

Run by hand:

    python benchmarks/ingest_embedding.py [--documents FILE.jsonl[.gz]] [--rounds 5]

Both sides take turns in one process, so that the ratios hold whatever else the machine does.
The bare session gets what costs it nothing: ids and masks made beforehand, the same batches
sorted by length, as many threads, one shared session; and, to see what sharing is worth, one
session with as many threads inside each call. Without `--documents`, texts are seeded random
words of the model's vocabulary, with the lengths of chunks.
"""

import argparse
import asyncio
import gzip
import json
import random
import resource
import statistics
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import onnxruntime

from ragstone.models.embedders.length_batches import padded, plan_batches
from ragstone.models.embedders.model_cache import BuiltModel, built_model
from ragstone.models.embedders.onnx_minilm import BATCH_TOKENS, MAX_TOKENS, MiniLmEmbedder
from ragstone.models.embedders.wordpiece import WordPiece

QUERY = "how do I get a refund for a dress I bought online last week?"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=Path, help="JSON lines with a `text`")
    parser.add_argument("--texts", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    model = built_model()
    wordpiece = WordPiece(model.tokenizer, max_tokens=MAX_TOKENS)
    texts = _texts(options.documents, model, options.texts)
    lengths = [len(wordpiece.ids(text)) for text in texts]
    batches = plan_batches(lengths, max_tokens=BATCH_TOKENS)
    work = sum(max(lengths[i] for i in batch) * len(batch) for batch in batches)
    print(
        f"{len(texts)} texts of {statistics.mean(lengths):.0f} tokens on average, "
        f"{1 - sum(lengths) / work:.1%} of the work is padding"
    )
    asyncio.run(_compare(model, wordpiece, texts, options.rounds, options.threads))


def _texts(documents: Path | None, model: BuiltModel, count: int) -> list[str]:
    chance = random.Random(7)
    if documents is None:
        vocabulary = json.loads(model.tokenizer)["model"]["vocab"]
        words = sorted(word for word in vocabulary if word.isalpha() and word.isascii())
        return [" ".join(chance.choices(words, k=chance.randint(20, 220))) for _ in range(count)]
    opened = gzip.open if documents.suffix == ".gz" else open
    with opened(documents, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [str(row["text"]) for row in chance.sample(rows, min(count, len(rows)))]


async def _compare(
    model: BuiltModel, wordpiece: WordPiece, texts: list[str], rounds: int, threads: int
) -> None:
    tokens = [wordpiece.ids(text) for text in texts]
    planned = plan_batches([len(ids) for ids in tokens], max_tokens=BATCH_TOKENS)
    batches = [padded([tokens[i] for i in batch]) for batch in planned]
    alone, inside = _bare_session(model, 1), _bare_session(model, threads)
    query = padded([wordpiece.ids(QUERY)])
    embedder = MiniLmEmbedder(threads=threads)

    async def queries(count: int = 200, callers: int = 4 * threads) -> None:
        """Callers that ask one query after another each."""

        async def ask() -> None:
            for _ in range(count // callers):
                await embedder.embed_query(QUERY)

        await asyncio.gather(*(ask() for _ in range(callers)))

    with ThreadPoolExecutor(threads) as pool:

        def bare(inputs: list[dict[str, Any]], runners: int) -> None:
            session = alone if runners == threads else inside
            remaining = iter(inputs)

            def run_until_none_is_left() -> None:
                while (batch := next(remaining, None)) is not None:
                    session.run(None, batch)

            for future in [pool.submit(run_until_none_is_left) for _ in range(runners)]:
                future.result()

        figures = await _interleaved(
            {
                "bare session, a thread for each call": (len(texts), _sync(bare, batches, threads)),
                "bare session, threads inside a call": (len(texts), _sync(bare, batches, 1)),
                "embed_documents": (len(texts), lambda: embedder.embed_documents(texts)),
                "bare session, queries": (200, _sync(bare, [query] * 200, threads)),
                "embed_query": (200, queries),
            },
            rounds,
        )
    documents = figures["embed_documents"] / max(
        figures["bare session, a thread for each call"],
        figures["bare session, threads inside a call"],
    )
    print(f"embed_documents / the better bare session: {documents:.3f}")
    asked = figures["embed_query"] / figures["bare session, queries"]
    print(f"embed_query / bare session: {asked:.3f}")
    await _query_beside_bulk(embedder, texts)
    await embedder.close()
    print(f"peak resident memory: {_peak_resident_mb():.0f} MB")


def _sync(
    bare: Callable[[list[dict[str, Any]], int], None], inputs: list[dict[str, Any]], runners: int
) -> Callable[[], Awaitable[None]]:
    return lambda: asyncio.to_thread(bare, inputs, runners)


def _bare_session(model: BuiltModel, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return onnxruntime.InferenceSession(model.graph, options, providers=["CPUExecutionProvider"])


async def _interleaved(
    contenders: dict[str, tuple[int, Callable[[], Awaitable[object]]]], rounds: int
) -> dict[str, float]:
    """The best rate of each in items a second; the others of a round come in between.

    Time of this process's threads is shown too: it hardly depends on what else runs.
    """
    best = dict.fromkeys(contenders, 0.0)
    least = dict.fromkeys(contenders, float("inf"))
    for turn in range(rounds + 1):
        for name, (items, run) in contenders.items():
            started, busy = time.perf_counter(), time.process_time()
            await run()
            rate = items / (time.perf_counter() - started)
            if turn:  # the first warms up
                best[name] = max(best[name], rate)
                least[name] = min(least[name], (time.process_time() - busy) / items)
    for name, rate in best.items():
        print(f"{name:40} {rate:8.1f} /s  {least[name] * 1e3:6.2f} ms of CPU each")
    return best


async def _query_beside_bulk(embedder: MiniLmEmbedder, texts: list[str]) -> None:
    """Time of one query after another, on a quiet machine and while documents are embedded."""
    quiet = await _query_times(embedder, lambda done: done < 200)
    bulk = asyncio.create_task(embedder.embed_documents(texts))
    busy = await _query_times(embedder, lambda _: not bulk.done())
    await bulk
    for name, times in (("alone", quiet), ("beside ingestion", busy)):
        print(
            f"one query {name}: p50 {statistics.median(times) * 1e3:.2f} ms, "
            f"p95 {statistics.quantiles(times, n=20)[-1] * 1e3:.2f} ms"
        )


async def _query_times(embedder: MiniLmEmbedder, more: Callable[[int], bool]) -> list[float]:
    times: list[float] = []
    while more(len(times)):
        started = time.perf_counter()
        await embedder.embed_query(QUERY)
        times.append(time.perf_counter() - started)
    return times


def _peak_resident_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
