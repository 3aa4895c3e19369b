"""How often a similar question would be answered from the cache, and how often falsely.

    python benchmarks/semantic_cache.py [--shared ../shared/data]

Without the condition of the same evidence, which the tier also has, so both rates are upper
bounds.

- `banking77`: its 10,003 questions one after another, each answered by the most similar one
  before it that is allowed. A hit is false where the intents differ.
- `condaqa`: questions on one passage whose answers differ; and sentences with a negation against
  the same sentences after the negation was moved or taken away.
- `rewordings`: the sample's help questions said otherwise by templates: they should hit.
- `needs`: the sample's requests for products: texts of one need, and of different ones.
"""

import argparse
import asyncio
import csv
import json
import random
import re
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from importlib import resources
from itertools import combinations
from math import sqrt
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from ragstone.models.embedders.onnx_minilm import MiniLmEmbedder
from ragstone.pipeline.alike import Meaning, meaning
from ragstone.sample.questions import load_help_questions

THRESHOLDS: Final = (0.80, 0.85, 0.90, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99)
PARTS: Final = ("function", "asks", "order", "names", "figures")
REWORDED: Final[Sequence[Callable[[str], str]]] = (
    lambda text: text.lower().rstrip("?"),
    lambda text: f"Please tell me: {text[0].lower()}{text[1:]}",
    lambda text: f"Hi, {text[0].lower()}{text[1:]} Thanks!",
)


class Pair(NamedTuple):
    one: str
    other: str


class Vectors:
    def __init__(self, texts: Sequence[str], rows: np.ndarray) -> None:
        self.rows = rows
        self._at = {text: position for position, text in enumerate(texts)}

    def of(self, texts: Iterable[str]) -> np.ndarray:
        return self.rows[[self._at[text] for text in texts]]

    def cosine(self, pair: Pair) -> float:
        one, other = self.of(pair)
        return float(one @ other)


async def embedded(texts: Iterable[str]) -> Vectors:
    embedder = MiniLmEmbedder()
    ordered = sorted(set(texts), key=len)  # so that a batch has texts of one length
    rows: list[list[float]] = []
    for start in range(0, len(ordered), 512):
        rows += await embedder.embed_documents(ordered[start : start + 512])
    await embedder.close()
    return Vectors(ordered, np.array(rows, dtype=np.float32))


def interval(count: int, of: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval, 95 %."""
    if not of:
        return 0.0, 1.0
    share = count / of
    centre, spread = (
        share + z * z / (2 * of),
        z * sqrt(share * (1 - share) / of + z * z / (4 * of * of)),
    )
    scale = 1 + z * z / of
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def told(count: int, of: int) -> str:
    low, high = interval(count, of)
    return f"{count} of {of} ({count / of if of else 0:.1%}; {low:.1%} to {high:.1%})"


def stream(questions: Sequence[tuple[str, str]], vectors: Vectors) -> None:
    intents = np.array([intent for _, intent in questions])
    rows = vectors.of(text for text, _ in questions)
    cosines = rows @ rows.T
    cosines[np.triu_indices(len(questions))] = -1.0  # only those before
    means = [meaning(text) for text, _ in questions]
    print("\n## banking77\n\n| gates | least cosine | hits | false, of them |\n|---|---:|---:|---|")

    def rows_of(name: str, allowed: np.ndarray | None, thresholds: Sequence[float]) -> None:
        scores = cosines if allowed is None else np.where(allowed, cosines, -1.0)
        best = scores.argmax(axis=1)
        top = scores.max(axis=1)
        for least in thresholds:
            hit = top >= least
            false = int((hit & (intents != intents[best])).sum())
            share = f"{hit.mean():.1%}"
            print(f"| {name} | {least:.2f} | {share} | {told(false, int(hit.sum()))} |")

    rows_of("none", None, THRESHOLDS)
    rows_of("all", _equal(means, lambda m: m), THRESHOLDS)
    rows_of("content words alone", _equal(means, lambda m: m.content), (0.9, 0.95))
    for part in PARTS:
        rest = _equal(means, lambda m, part=part: m._replace(**{part: ()}))
        rows_of(f"all but {part}", rest, (0.9, 0.95))


def _equal(means: Sequence[Meaning], of: Callable[[Meaning], object]) -> np.ndarray:
    numbers: dict[object, int] = {}
    kinds = np.array([numbers.setdefault(of(one), len(numbers)) for one in means])
    return kinds[:, None] == kinds[None, :]


def pairs_table(name: str, sets: dict[str, list[Pair]], vectors: Vectors) -> None:
    print(
        f"\n## {name}\n\n| pairs | least cosine | without gates | with gates |\n|---|---:|---|---|"
    )
    for kind, pairs in sets.items():
        cosines = [vectors.cosine(pair) for pair in pairs]
        same = [meaning(pair.one) == meaning(pair.other) for pair in pairs]
        for least in (0.90, 0.95):
            near = [cosine >= least for cosine in cosines]
            both = sum(a and b for a, b in zip(near, same, strict=True))
            cells = (told(sum(near), len(pairs)), told(both, len(pairs)))
            print(f"| {kind} | {least:.2f} | {cells[0]} | {cells[1]} |")


def condaqa(shared: Path) -> dict[str, list[Pair]]:
    lines = (shared / "condaqa" / "dev.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    answers: dict[str, dict[str, str]] = defaultdict(dict)
    sets: dict[str, set[Pair]] = defaultdict(set)
    edits = {"1": "said otherwise", "2": "scope of the negation moved", "3": "negation taken away"}
    for row in rows:
        answers[row["sentence1"]][row["sentence2"]] = row["label"]
        edit = edits.get(str(row["PassageEditID"]))
        before = set(_sentences(row["original passage"]))
        new = [text for text in _sentences(row["sentence1"]) if text not in before]
        if edit and new:
            words = set(row["original sentence"].split())
            nearest = max(new, key=lambda text: len(words & set(text.split())))
            sets[edit].add(Pair(row["original sentence"], nearest))
    for labels in answers.values():
        for one, other in combinations(sorted(labels), 2):
            if labels[one] != labels[other]:
                sets["questions with other answers"].add(Pair(one, other))
    return {kind: sorted(pairs) for kind, pairs in sorted(sets.items())}


def _sentences(text: str) -> list[str]:
    return re.split(r"(?<=[.!?])\s+", text)


def rewordings() -> dict[str, list[Pair]]:
    texts = [question.text for question in load_help_questions()]
    return {
        "said otherwise": [Pair(text, said(text)) for text in texts for said in REWORDED],
        "different questions": [Pair(*pair) for pair in combinations(texts, 2)],
    }


def needs() -> dict[str, list[Pair]]:
    file = resources.files("ragstone.sample").joinpath("product_requests.toml")
    found = [need["texts"] for need in tomllib.loads(file.read_text("utf-8"))["answerable"]]
    return {
        "of one need": [Pair(*pair) for texts in found for pair in combinations(texts, 2)],
        "of different needs": [
            Pair(one, other)
            for texts, others in combinations(found, 2)
            for one in texts
            for other in others
        ],
    }


async def main() -> None:
    parser = argparse.ArgumentParser(description="Hits and false hits of the semantic cache")
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    file = arguments.shared / "banking77" / "train.csv"
    with file.open(newline="", encoding="utf-8") as lines:
        questions = [(row["text"], row["category"]) for row in csv.DictReader(lines)]
    random.Random(0).shuffle(questions)
    tables = {"condaqa": condaqa(arguments.shared), "rewordings": rewordings(), "needs": needs()}
    texts = {text for text, _ in questions}
    texts.update(*(pair for sets in tables.values() for pairs in sets.values() for pair in pairs))
    vectors = await embedded(texts)
    stream(questions, vectors)
    for name, sets in tables.items():
        pairs_table(name, sets, vectors)


if __name__ == "__main__":
    asyncio.run(main())
