"""Sizes and overlaps of chunks, measured by what they retrieve.

    python benchmarks/chunking.py ../shared/data/chunking [--sizes 64,200] [--json out.json]

Each question has the exact stretches of text that answer it. For the retrieved chunks, counted
in characters: recall (share of the references that was retrieved), precision (share of the
retrieved text that belongs to a reference) and IoU (intersection over union, text retrieved
twice counting twice), as in Smith and Troynikov, "Evaluating Chunking Strategies for Retrieval",
Chroma technical report, 2024. Five large chunks hold more text than five small ones, so the
comparison that matters for a packer with a token budget is the recall within a budget: chunks
are taken in the order of their rank until the next one does not fit.

All five corpora are searched together, exactly, with the local embedder and the index's BM25.
"""

import argparse
import asyncio
import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ragstone.domain.document import Block, ParsedDocument
from ragstone.index import lexical
from ragstone.ingest.atoms import TokenCounter, trimmed
from ragstone.ingest.chunk import Chunker, ChunkSettings
from ragstone.models.embedders.onnx_minilm import MiniLmEmbedder

BUDGETS = (500, 1000, 1500)
CANDIDATES = 50
SIZES = (64, 100, 150, 200, 250, 400)
OVERLAPS = (0.0, 0.1, 0.2)
SEPARATORS = ("\n\n", "\n", ". ", "? ", "! ", " ", "")

Floats = npt.NDArray[np.float32]


class Piece(NamedTuple):
    corpus: str
    start: int
    end: int
    text: str
    tokens: int


class Question(NamedTuple):
    text: str
    corpus: str
    references: list[tuple[int, int]]


def read_corpora(folder: Path) -> dict[str, ParsedDocument]:
    """Each corpus as one plain-text document, paragraphs between empty lines."""
    corpora = {}
    for file in sorted((folder / "corpora").glob("*.md")):
        text = file.read_text(encoding="utf-8")
        blocks, start = [], 0
        for border in [*re.finditer(r"\n\s*\n", text), None]:
            end = border.start() if border else len(text)
            left, right = trimmed(text, start, end)
            if left < right:
                blocks.append(Block(kind="paragraph", start=left, end=right))
            start = border.end() if border else end
        corpora[file.stem] = ParsedDocument(
            external_id=file.stem, title="", text=text, blocks=blocks
        )
    return corpora


def read_questions(folder: Path) -> list[Question]:
    lines = (folder / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        Question(
            row["text"],
            row["corpus_id"],
            [(reference["start"], reference["end"]) for reference in row["references"]],
        )
        for row in map(json.loads, lines)
    ]


def structured(
    corpora: dict[str, ParsedDocument], size: int, overlap: int, counter: TokenCounter
) -> list[Piece]:
    chunker = Chunker(ChunkSettings(target_tokens=size, overlap_tokens=overlap), counter.count)
    return [
        Piece(name, chunk.start, chunk.end, chunk.text, counter.count(chunk.text))
        for name, document in corpora.items()
        for chunk in chunker.chunk(document)
    ]


def recursive(
    corpora: dict[str, ParsedDocument], size: int, overlap: int, counter: TokenCounter
) -> list[Piece]:
    """The common baseline: split at the coarsest separator that occurs, finer where needed,
    and join neighbours greedily up to the size; pieces of up to the overlap are repeated."""
    pieces = []
    for name, document in corpora.items():
        text = document.text
        parts = list(_split(text, 0, len(text), size, SEPARATORS, counter))
        sizes = [counter.count(text[left:right]) for left, right in parts]
        first = 0
        while first < len(parts):
            last, total = first, 0
            while last < len(parts) and (total + sizes[last] <= size or last == first):
                total += sizes[last]
                last += 1
            left, right = trimmed(text, parts[first][0], parts[last - 1][1])
            if left < right:
                pieces.append(Piece(name, left, right, text[left:right], total))
            if last == len(parts):
                break
            following, repeated = last, 0
            while following - 1 > first and repeated + sizes[following - 1] <= overlap:
                following -= 1
                repeated += sizes[following]
            first = following
    return pieces


def _split(
    text: str, start: int, end: int, size: int, separators: Sequence[str], counter: TokenCounter
) -> Iterable[tuple[int, int]]:
    if counter.count(text[start:end]) <= size:
        yield start, end
        return
    separator, *finer = separators
    if not separator:
        yield from ((at, min(end, at + size)) for at in range(start, end, size))
        return
    left = start
    while left < end:
        found = text.find(separator, left, end)
        right = end if found < 0 else found + len(separator)
        yield from _split(text, left, right, size, finer, counter)
        left = right


class Bm25:
    """The index's lexical leg over all pieces, exactly."""

    def __init__(self, texts: Sequence[str]) -> None:
        average = lexical.average_length([lexical.length(text) for text in texts])
        self._postings: dict[int, tuple[list[int], list[float]]] = {}
        self._count = len(texts)
        for row, text in enumerate(texts):
            vector = lexical.document_vector(text, average)
            for term, weight in zip(vector.indices, vector.values, strict=True):
                rows, weights = self._postings.setdefault(term, ([], []))
                rows.append(row)
                weights.append(weight)

    def scores(self, question: str) -> Floats:
        scores = np.zeros(self._count, dtype=np.float32)
        for term in lexical.query_vector(question).indices:
            if (posting := self._postings.get(term)) is not None:
                rows, weights = posting
                found = len(rows)
                idf = np.log(1 + (self._count - found + 0.5) / (found + 0.5))
                scores[rows] += idf * np.asarray(weights, dtype=np.float32)
        return scores


def hybrid(dense: Floats, words: Floats, weight: float) -> list[int]:
    """Ranking of the candidates of both legs by the index's convex combination."""
    candidates = np.union1d(top(dense, CANDIDATES), top(words, CANDIDATES))
    fused = weight * (dense + 1) / (dense.max() + 1)
    fused = fused + (1 - weight) * words / max(float(words.max()), 1e-9)
    return [int(i) for i in candidates[np.argsort(-fused[candidates], kind="stable")]]


def top(scores: Floats, count: int) -> npt.NDArray[np.intp]:
    chosen = np.argpartition(-scores, min(count, len(scores) - 1))[:count]
    return chosen[np.argsort(-scores[chosen], kind="stable")]


def judge(question: Question, retrieved: Sequence[Piece]) -> tuple[float, float, float]:
    """Recall, precision and IoU in characters."""
    wanted = {at for start, end in question.references for at in range(start, end)}
    found: set[int] = set()
    shared = total = 0
    for piece in retrieved:
        total += piece.end - piece.start
        if piece.corpus == question.corpus:
            hits = wanted.intersection(range(piece.start, piece.end))
            shared += len(hits)
            found |= hits
    missed = len(wanted) - len(found)
    return (
        len(found) / len(wanted),
        len(found) / max(total, 1),
        len(found) / max(total + missed, 1),
    )


def within(budget: int, ranked: Iterable[Piece]) -> list[Piece]:
    taken: list[Piece] = []
    for piece in ranked:
        budget -= piece.tokens
        if budget < 0:
            break
        taken.append(piece)
    return taken


class Bench:
    def __init__(self, folder: Path, embedder: MiniLmEmbedder) -> None:
        self.corpora = read_corpora(folder)
        self.questions = read_questions(folder)
        self.counter = TokenCounter(embedder.count_tokens)
        self._embedder = embedder
        self._known: dict[str, list[float]] = {}

    async def vectors(self, texts: Sequence[str]) -> Floats:
        new = list(dict.fromkeys(text for text in texts if text not in self._known))
        for at in range(0, len(new), 256):
            batch = new[at : at + 256]
            self._known.update(zip(batch, await self._embedder.embed_documents(batch), strict=True))
        return np.array([self._known[text] for text in texts], dtype=np.float32)

    async def measure(self, pieces: Sequence[Piece]) -> dict[str, dict[str, float]]:
        """Means over all questions, for the dense leg and the hybrid."""
        matrix = await self.vectors([piece.text for piece in pieces])
        asked = await self.vectors([question.text for question in self.questions])
        words = Bm25([piece.text for piece in pieces])
        rows: dict[str, list[list[float]]] = {"dense": [], "hybrid": []}
        for question, vector in zip(self.questions, asked, strict=True):
            near = matrix @ vector
            rankings = {
                "dense": [int(i) for i in top(near, CANDIDATES)],
                "hybrid": hybrid(near, words.scores(question.text), 0.5),
            }
            for mode, ranking in rankings.items():
                ranked = [pieces[i] for i in ranking]
                figures = [*judge(question, ranked[:5])]
                figures += [judge(question, within(b, ranked))[0] for b in BUDGETS]
                rows[mode].append(figures)
        names = ["recall@5", "precision@5", "iou@5", *(f"recall/{b}" for b in BUDGETS)]
        return {
            mode: dict(zip(names, np.mean(figures, axis=0).tolist(), strict=True))
            for mode, figures in rows.items()
        }


async def run(folder: Path, sizes: Sequence[int], out: Path | None) -> None:
    embedder = await asyncio.to_thread(MiniLmEmbedder)
    bench = Bench(folder, embedder)
    splitters: dict[str, Callable[..., list[Piece]]] = {
        "structure": structured,
        "recursive": recursive,
    }
    results = []
    print(
        "splitter | tokens | overlap | chunks | mode | R@5 | P@5 | IoU@5 | R/500 | R/1000 | R/1500"
    )
    for size in sizes:
        for overlap in OVERLAPS:
            for name, splitter in splitters.items():
                pieces = splitter(bench.corpora, size, round(size * overlap), bench.counter)
                for mode, figures in (await bench.measure(pieces)).items():
                    shown = " | ".join(f"{100 * value:.1f}" for value in figures.values())
                    print(
                        f"{name} | {size} | {overlap:.0%} | {len(pieces)} | {mode} | {shown}",
                        flush=True,
                    )
                    results.append(
                        {
                            "splitter": name,
                            "tokens": size,
                            "overlap": overlap,
                            "chunks": len(pieces),
                            "mode": mode,
                            **figures,
                        }
                    )
    await embedder.close()
    if out is not None:
        out.write_text(json.dumps(results, indent=1))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--sizes", default=",".join(map(str, SIZES)))
    arguments.add_argument("--json", type=Path)
    given = arguments.parse_args()
    asyncio.run(run(given.folder, [int(size) for size in given.sizes.split(",")], given.json))


if __name__ == "__main__":
    main()
