"""How much of the evidence is still in the prompt when its passages are cut, and what that costs.

    python benchmarks/compression.py [--shared ../shared/data] [--passages 5] [--fit]

Evidence is what the sets of `extractive_cases.py` name: the exact words of the answer (`help`) and
the judged stretches of text (`chunking`). For the conversations it is the sentences of the
reference passages that come nearest to each sentence of the human-approved answer: `mtrag` searches
all documents of the set, in chunks, as a server does; `references` is a prompt of nothing but the
reference passages, which all matter. Only what was retrieved counts, so whole passages have all of
it. A sentence of it is kept where its words are in the prompt, in their order.

Half of the questions, by their digest, are for fitting weights and margin. The first figures are of
the other half with weights fitted on the first; then come all questions with the server's weights,
which `--fit` prints.
"""

import argparse
import asyncio
import hashlib
import json
import math
import re
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import extractive_cases
import numpy as np
from extractive_cases import (
    EVERYTHING,
    Case,
    Shelf,
    chunking_cases,
    help_and_faq_cases,
    mtrag_cases,
    plain_document,
)
from scipy.optimize import minimize

from ragstone.domain.passage import Passage
from ragstone.models.embedders.onnx_minilm import MiniLmEmbedder
from ragstone.pipeline import compress as compressing
from ragstone.pipeline.compress import FEATURES, WEIGHTS, compress, sentences
from ragstone.pipeline.cues import content_stems
from ragstone.pipeline.pack import estimated_tokens, pack
from ragstone.pipeline.units import split_units
from ragstone.ports import Embedder

SETS: Final = ("help", "chunking", "mtrag", "references")
FITTED: Final = ("help", "chunking", "mtrag")
Piece = tuple[int, int, int]
"""Of evidence: position of its passage, and half-open offsets into the passage's text."""
LEAST_KEPT: Final = 0.99
Way = Callable[[str, Sequence[Passage]], list[str]]
"""Question and passages to what the model sees of each."""


class Asked(NamedTuple):
    set_name: str
    part: str
    """The text that a question of `chunking` is about, else the set."""
    question: str
    passages: list[Passage]
    evidence: list[Piece]


def is_for_fitting(asked: Asked) -> bool:
    return hashlib.sha256(asked.question.encode()).digest()[-1] % 2 == 0


async def searched_mtrag(shared: Path, cases: Sequence[Case], embedder: Embedder) -> list[Case]:
    """The questions of `cases` with what a search of all documents of their set finds."""
    documents = [
        plain_document(record["document_id"], record.get("title") or "", record["text"])
        for record in _mtrag(shared)["documents"]
    ]
    shelf = await Shelf(documents, embedder).embed()
    return [
        replace(
            case,
            passages=shelf.search(case.question, case.vector),
            references=[(passage.document_id, 0, EVERYTHING) for passage in case.passages],
        )
        for case in cases
    ]


def _mtrag(shared: Path) -> dict[str, Any]:
    file = next((shared / "mtrag_human_eval").glob("*.json"))
    data: dict[str, Any] = json.loads(file.read_text())
    return data


def asked_of(cases: Sequence[Case], answers: dict[str, str], top_k: int) -> list[Asked]:
    found = []
    for case in cases:
        passages = pack(
            case.passages, top_k=top_k, budget_tokens=1 << 30, count_tokens=estimated_tokens
        ).passages
        if case.set_name in ("mtrag", "references"):
            own = {name for name, *_ in case.references}
            evidence = _nearest(answers[case.question], passages, own)
        else:
            evidence = [
                (at, max(start, p.start) - p.start, min(end, p.end) - p.start)
                for at, p in enumerate(passages)
                for name, start, end in case.references
                if name == p.document_id and start < p.end and p.start < end
            ]
        part = case.references[0][0] if case.set_name == "chunking" else case.set_name
        if evidence:
            found.append(Asked(case.set_name, part, case.question, passages, sorted(set(evidence))))
    return found


def _nearest(answer: str, passages: Sequence[Passage], own: Collection[str]) -> list[Piece]:
    """The sentences of the documents `own` that share most words with those of the answer, at
    least half of them."""
    units = [
        (at, unit, content_stems(passage.text[unit.start : unit.end]))
        for at, passage in enumerate(passages)
        if passage.document_id in own
        for unit in split_units(passage.text, (passage.title,))
        if unit.kind != "heading"
    ]
    found = []
    for sentence in re.split(r"(?<=[.!?])\s+|\n+", answer):
        words = content_stems(sentence)
        if len(words) < 4 or not units:
            continue
        at, unit, stems = max(units, key=lambda u: len(u[2] & words) / (1 + len(u[2])) ** 0.5)
        if len(stems & words) >= len(words) / 2:
            found.append((at, unit.start, unit.end))
    return found


def kept_share(asked: Asked, texts: Sequence[str]) -> float:
    """Of the characters of the evidence, sentence by sentence."""
    prompt = " ".join(map(_letters, texts))
    kept = total = 0
    for at, start, end in asked.evidence:
        text = asked.passages[at].text
        for unit in split_units(text):
            left, right = max(start, unit.start), min(end, unit.end)
            if left < right:
                total += right - left
                kept += (right - left) * (_letters(text[left:right]) in prompt)
    return kept / total if total else 1.0


def _letters(text: str) -> str:
    """And digits, without what stands between them: references also begin within a word."""
    return "".join(re.findall(r"[^\W_]+", text.casefold()))


def cut(share: float) -> Way:
    return lambda question, passages: [e.text for e in compress(question, passages, share)]


def first_part(share: float) -> Way:
    """Of each passage its beginning."""
    return lambda _, passages: [p.text[: round(share * len(p.text))] for p in passages]


def first_passages(share: float) -> Way:
    """As many passages as go into that share, the last one cut."""

    def way(_: str, passages: Sequence[Passage]) -> list[str]:
        left, texts = share * sum(len(p.text) for p in passages), []
        for passage in passages:
            texts.append(passage.text[: max(0, round(left))])
            left -= len(passage.text)
        return texts

    return way


@contextmanager
def weighed(weights: Sequence[float], margin: float) -> Iterator[None]:
    """The server's scores replaced."""
    before = compressing.WEIGHTS, compressing.MARGIN
    compressing.WEIGHTS, compressing.MARGIN = tuple(weights), margin  # type: ignore[misc]
    try:
        yield
    finally:
        compressing.WEIGHTS, compressing.MARGIN = before  # type: ignore[misc]


def measure(asked: Sequence[Asked], weights: Sequence[float]) -> None:
    """Prints, for each way, what is left of evidence and of tokens."""
    print("| way | " + " | ".join(SETS) + " |")
    print("|---|" + "---:|" * len(SETS))
    for margin in (math.inf, compressing.MARGIN):
        told = "" if margin == math.inf else f", within {margin:g} of the best"
        curve = []
        for share in (0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5):
            with weighed(weights, margin):
                curve.append(row(f"sentences, {share:.0%}{told}", asked, cut(share)))
        print(
            f"| one point lost at{told} | "
            + " | ".join(map(_one_point, zip(*curve, strict=True)))
            + " |"
        )
    for share in (0.75, 0.5):
        row(f"fewer passages, {share:.0%}", asked, first_passages(share))
        row(f"beginning of each, {share:.0%}", asked, first_part(share))


def row(name: str, asked: Sequence[Asked], way: Way) -> list[tuple[float, float]]:
    """Mean shares of the tokens and of the evidence, in each set."""
    found = []
    for set_name in SETS:
        kept, tokens = [], []
        for one in (one for one in asked if one.set_name == set_name):
            texts = way(one.question, one.passages)
            kept.append(kept_share(one, texts))
            whole = estimated_tokens("".join(p.text for p in one.passages))
            tokens.append(estimated_tokens("".join(texts)) / whole)
        found.append((statistics.fmean(tokens), statistics.fmean(kept)))
    cells = (f"{kept:.1%} at {tokens:.0%}" for tokens, kept in found)
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    return found


def _one_point(curve: Sequence[tuple[float, float]]) -> str:
    """The share of the tokens from which no more than a point is lost, between two measured."""
    before = (1.0, 1.0)
    for tokens, kept in curve:
        if kept < LEAST_KEPT:
            slope = (before[0] - tokens) / ((before[1] - kept) or 1.0)
            return f"{tokens + slope * (LEAST_KEPT - kept):.0%}"
        before = (tokens, kept)
    return f"< {before[0]:.0%}"


def fit(asked: Sequence[Asked], *, without: str = "") -> list[float]:
    """A conditional logit: which units of a question are evidence (McFadden, 1974)."""
    rows = []
    for one in asked:
        units = [split_units(p.text, (p.title, *p.heading_path)) for p in one.passages]
        found = sentences(one.question, one.passages, units)
        right = np.array([_is_evidence(one, s.passage, s.start, s.end) for s in found], float)
        if one.part != without and one.set_name in FITTED and right.any():
            rows.append((np.array([s.features for s in found]), right / right.sum()))

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        total, slope = 0.0, np.zeros(len(weights))
        for features, right in rows:
            scores = features @ weights
            chances = np.exp(scores - scores.max())
            chances /= chances.sum()
            total -= right @ np.log(chances + 1e-12)
            slope -= features.T @ (right - chances)
        size = len(rows)
        return total / size + 2e-4 * weights @ weights, slope / size + 4e-4 * weights

    result = minimize(loss, np.zeros(len(FEATURES)), jac=True, method="L-BFGS-B")
    return [round(float(weight), 2) for weight in result.x]


def _is_evidence(asked: Asked, passage: int, start: int, end: int) -> bool:
    return any(
        at == passage and min(end, right) - max(start, left) >= 0.5 * min(end - start, right - left)
        for at, left, right in asked.evidence
    )


async def main() -> None:
    parser = argparse.ArgumentParser(description="Evidence kept by compression")
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--passages", type=int, default=5)
    parser.add_argument("--fit", action="store_true")
    arguments = parser.parse_args()
    extractive_cases.PASSAGES = arguments.passages + 2  # some are dropped as repetitions
    embedder = MiniLmEmbedder()
    cases = await help_and_faq_cases(arguments.shared, embedder)
    cases += await chunking_cases(arguments.shared, embedder)
    conversations = [
        replace(
            case,
            set_name="references",
            references=[(p.document_id, 0, EVERYTHING) for p in case.passages],
        )
        for case in await mtrag_cases(arguments.shared, embedder)
        if case.kind == "answerable"
    ]
    cases += conversations
    cases += [
        replace(case, set_name="mtrag")
        for case in await searched_mtrag(arguments.shared, conversations, embedder)
    ]
    await embedder.close()
    answers = {
        " ".join([t["text"] for t in task["input"] if t["speaker"] == "user"][-2:]): task[
            "targets"
        ][0]["text"]
        for task in _mtrag(arguments.shared)["tasks"]
    }
    chosen = [c for c in cases if c.kind == "answerable" and c.set_name in SETS]
    asked = asked_of(chosen, answers, arguments.passages)
    cost(asked)
    first = [one for one in asked if is_for_fitting(one)]
    other = [one for one in asked if not is_for_fitting(one)]
    weights = fit(first)
    print(f"{arguments.passages} passages; {_counts(other)}; weights of the other half {weights}")
    measure(other, weights)
    print(f"\nThe server's weights; {_counts(asked)}, of which some were fitted on")
    measure(asked, WEIGHTS)
    if arguments.fit:
        print(dict(zip(FEATURES, fit(asked), strict=True)))
        for part in sorted({one.part for one in asked if one.set_name in FITTED}):
            print(f"  without {part}: {fit(asked, without=part)}")


def cost(asked: Sequence[Asked]) -> None:
    began = time.process_time()
    for one in asked:
        compress(one.question, one.passages, 0.5)
    took = (time.process_time() - began) / len(asked)
    length = statistics.fmean(sum(len(p.text) for p in one.passages) for one in asked)
    print(f"{took * 1e3:.2f} ms of CPU a question of {length:.0f} characters in passages")


def _counts(asked: Sequence[Asked]) -> dict[str, int]:
    return {name: sum(one.set_name == name for one in asked) for name in SETS}


if __name__ == "__main__":
    asyncio.run(main())
