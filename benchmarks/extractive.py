"""How good extractive answers are: evidence quoted, abstention, and time.

    python benchmarks/extractive.py [--shared ../shared/data] [--fit]

Prints, for each set of `extractive_cases.py`, the share of answerable questions whose
evidence is in the extract, the share answered at all, and the share of unanswerable ones
that were refused. With `--fit` it first prints freshly fitted coefficients for
`pipeline/weighing.py` and judges these as well on questions that they were not fitted on.
"""

import argparse
import asyncio
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from extractive_cases import (
    Case,
    chunking_cases,
    help_and_faq_cases,
    mtrag_cases,
)
from scipy.optimize import minimize
from scipy.special import expit, logsumexp

from ragstone.domain.errors import EmbedderError
from ragstone.models.embedders.onnx_minilm import MiniLmEmbedder
from ragstone.pipeline import evidence as ev
from ragstone.pipeline.extract import CANDIDATES, Extract, embedded_text, extract

Judge = Callable[[np.ndarray], float]


class NoEmbedder(MiniLmEmbedder):
    """Fails on documents, so that words alone decide."""

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        raise EmbedderError("switched off")


def quotes_evidence(case: Case, result: Extract) -> bool:
    """A quote overlaps a reference by half of the shorter of the two."""
    return any(
        name == case.passages[quote.number - 1].document_id
        and min(end, quote.end) - max(start, quote.start)
        >= 0.5 * min(end - start, quote.end - quote.start)
        for quote in result.citations
        for name, start, end in case.references
    )


async def measure(cases: Sequence[Case], embedder: MiniLmEmbedder) -> None:
    outcomes: dict[tuple[str, str], list[tuple[bool, bool, int]]] = defaultdict(list)
    seconds: list[float] = []
    for case in cases:
        began = time.perf_counter()
        result = await extract(case.question, case.passages, embedder, vector=case.vector)
        seconds.append(time.perf_counter() - began)
        outcome = (result.found, quotes_evidence(case, result), len(result.citations))
        outcomes[case.set_name, case.kind].append(outcome)
    print("| set | kind | questions | answered | evidence quoted | when answered | quotes |")
    print("|---|---|---|---|---|---|---|")
    for (name, kind), rows in sorted(outcomes.items()):
        answered = sum(found for found, _, _ in rows)
        quoted = sum(hit for _, hit, _ in rows)
        length = statistics.fmean(count for found, _, count in rows if found) if answered else 0
        has_references = kind == "answerable" and name != "mtrag"
        evidence = (
            f"{quoted / len(rows):.0%} | {quoted / max(1, answered):.0%}"
            if has_references
            else "| "
        )
        print(
            f"| {name} | {kind} | {len(rows)} | {answered / len(rows):.0%} | {evidence} "
            f"| {length:.1f} |"
        )
    quantiles = statistics.quantiles(seconds, n=100)
    print(f"\nms an extract: p50 {quantiles[49] * 1e3:.1f}, p99 {quantiles[98] * 1e3:.1f}\n")


class Fitting:
    """Features of all cases, and the two regressions over them."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self.cases = cases
        self.gathered = [ev.gather(case.question, case.passages) for case in cases]
        self.features: list[np.ndarray] = []
        self.labels: list[np.ndarray] = []

    async def prepare(self, embedder: MiniLmEmbedder) -> None:
        texts = {
            embedded_text(unit): None for gathered in self.gathered for unit in gathered.candidates
        }
        vectors = dict(zip(texts, await embedder.embed_documents(list(texts)), strict=True))
        for case, gathered in zip(self.cases, self.gathered, strict=True):
            rows, labels = [], []
            for unit in gathered.candidates:
                cosine = float(np.dot(vectors[embedded_text(unit)], case.vector))
                rows.append(ev.unit_features(gathered, unit, cosine))
                labels.append(_is_evidence(case, unit))
            self.features.append(np.array(rows))
            self.labels.append(np.array(labels, dtype=float))

    def unit_weights(self, columns: int, use: Sequence[bool]) -> np.ndarray:
        """Conditional logit: log-likelihood that the unit chosen is one of the evidence."""
        data = [
            (features[:, :columns], labels)
            for features, labels, case, used in zip(
                self.features, self.labels, self.cases, use, strict=True
            )
            # An entry of the FAQ is evidence as a whole: it cannot tell sentences apart.
            if used and case.set_name in ("help", "chunking") and 0 < labels.sum() < len(labels)
        ]

        def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
            total, gradient = 0.5 * weights @ weights, weights.copy()
            for features, labels in data:
                utilities = features @ weights
                shares = np.exp(utilities - logsumexp(utilities))
                right = labels * shares
                total -= np.log(right.sum() + 1e-12)
                gradient -= features.T @ (right / (right.sum() + 1e-12) - shares)
            return total, gradient

        return minimize(loss, np.zeros(columns), jac=True, method="L-BFGS-B").x

    def answer_rows(self, full: np.ndarray, lexical: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows, lexical_rows = [], []
        for gathered, features in zip(self.gathered, self.features, strict=True):
            by_words = features[:, : len(lexical)] @ lexical
            kept = np.argsort(-by_words, kind="stable")[:CANDIDATES]
            best = kept[np.argmax(features[kept] @ full)]
            unit = gathered.candidates[best]
            rows.append(ev.answer_features(gathered, unit, float(features[kept, -1].max())))
            first = gathered.candidates[kept[0]]
            row = ev.lexical_answer_features(gathered, first, float(by_words[kept[0]]))
            lexical_rows.append(row)
        return np.array(rows), np.array(lexical_rows)

    def answer_weights(self, rows: np.ndarray, use: Sequence[bool]) -> np.ndarray:
        """Logistic regression; each set weighs the same, and so do its yes and no.

        `near` is left out: too many of these questions are answered after all.
        """
        inputs = np.c_[np.ones(len(rows)), rows]
        wanted = np.array([case.kind == "answerable" for case in self.cases], dtype=float)
        used = np.array(use) & np.array([case.kind != "near" for case in self.cases])
        names = np.array([case.set_name for case in self.cases])
        weights = np.zeros(len(rows))
        for name in set(names):
            for value in (0.0, 1.0):
                group = used & (names == name) & (wanted == value)
                weights[group] = 300 / max(1, group.sum())

        def loss(b: np.ndarray) -> tuple[float, np.ndarray]:
            z = inputs @ b
            penalty = np.r_[0, b[1:]]
            total = (weights * (np.logaddexp(0, z) - wanted * z)).sum() + 0.5 * penalty @ penalty
            return total, inputs.T @ (weights * (expit(z) - wanted)) + penalty

        return minimize(loss, np.zeros(inputs.shape[1]), jac=True, method="L-BFGS-B").x


def _is_evidence(case: Case, unit: ev.Candidate) -> bool:
    passage = case.passages[unit.number - 1]
    start, end = passage.start + unit.unit.start, passage.start + unit.unit.end
    return any(
        name == passage.document_id and min(end, b) - max(start, a) >= 0.5 * min(end - start, b - a)
        for name, a, b in case.references
    )


def report(fitting: Fitting) -> None:
    everything = [True] * len(fitting.cases)
    full = fitting.unit_weights(len(ev.UNIT_FEATURES), everything)
    lexical = fitting.unit_weights(len(ev.UNIT_FEATURES) - 1, everything)
    rows, lexical_rows = fitting.answer_rows(full, lexical)
    print("UNIT_WEIGHTS", full.round(2).tolist())
    print("LEXICAL_UNIT_WEIGHTS", lexical.round(2).tolist())
    for title, values in (("ANSWER_WEIGHTS", rows), ("LEXICAL_ANSWER_WEIGHTS", lexical_rows)):
        print(title, fitting.answer_weights(values, everything).round(2).tolist())
        held_out = cross_validated(fitting, values)
        for threshold in (0.35, 0.4, 0.45, 0.5, 0.55, 0.6):
            shares = defaultdict(list)
            for case, value in zip(fitting.cases, held_out, strict=True):
                shares[case.set_name, case.kind].append(value >= threshold)
            line = ", ".join(f"{n} {k} {np.mean(v):.0%}" for (n, k), v in sorted(shares.items()))
            print(f"  answered at {threshold} (held-out questions): {line}")


def cross_validated(fitting: Fitting, rows: np.ndarray) -> np.ndarray:
    """Each question's probability by coefficients fitted without it, in eight folds."""
    questions = sorted({case.question for case in fitting.cases})
    order = np.random.default_rng(0).permutation(len(questions)) % 8
    folds = dict(zip(questions, order, strict=True))
    values = np.zeros(len(rows))
    for fold in range(8):
        inside = [folds[case.question] != fold for case in fitting.cases]
        weights = fitting.answer_weights(rows, inside)
        outside = ~np.array(inside)
        values[outside] = expit(weights[0] + rows[outside] @ weights[1:])
    return values


async def main() -> None:
    parser = argparse.ArgumentParser(description="Quality of extractive answers")
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--fit", action="store_true")
    arguments = parser.parse_args()
    embedder = MiniLmEmbedder()
    cases = await help_and_faq_cases(arguments.shared, embedder)
    cases += await chunking_cases(arguments.shared, embedder)
    cases += await mtrag_cases(arguments.shared, embedder)
    if arguments.fit:
        fitting = Fitting(cases)
        await fitting.prepare(embedder)
        report(fitting)
    print("With embeddings:")
    await measure(cases, embedder)
    print("Embedder failing:")
    await measure(cases, NoEmbedder())
    await embedder.close()


if __name__ == "__main__":
    asyncio.run(main())
