"""Ways of joining two legs, and what a ranking is worth; all over arrays (queries, candidates)."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from judged_sets import Scored

Array = npt.NDArray[np.float64]
Masks = npt.NDArray[np.bool_]
Ids = npt.NDArray[np.int64]

MEASURES = ("nDCG@10", "recall@10", "recall@50", "MRR")
NOWHERE = -1e9
"""The score of what is not in a ranking."""


class Candidates(NamedTuple):
    """What both legs returned for each query, padded to one width; all arrays are (Q, W)."""

    dense: Array
    """True cosines, also where only the lexical leg returned the chunk."""
    lexical: Array
    by_dense: Masks
    by_lexical: Masks
    document: Ids
    """-1 where padded."""


def candidates(scored: Scored, depth: int) -> Candidates:
    near = _top(scored.dense, depth)
    exact = _top(scored.lexical, depth)
    rows: list[tuple[Array, Array, Masks, Masks, Ids]] = []
    width = 0
    for query in range(len(near)):
        found = exact[query][scored.lexical[query, exact[query]] > 0]
        both = np.union1d(near[query], found)
        width = max(width, len(both))
        rows.append(
            (
                scored.dense[query, both].astype(np.float64),
                scored.lexical[query, both].astype(np.float64),
                np.isin(both, near[query]),
                np.isin(both, found),
                scored.document[both],
            )
        )
    fills = (NOWHERE, 0.0, False, False, -1)
    columns = [
        np.array([np.pad(row[i], (0, width - len(row[i])), constant_values=fill) for row in rows])
        for i, fill in enumerate(fills)
    ]
    return Candidates(*columns)


def _top(scores: npt.NDArray[np.float32], depth: int) -> Ids:
    if depth >= scores.shape[1]:
        return np.tile(np.arange(scores.shape[1]), (len(scores), 1))
    return np.argpartition(-scores, depth - 1, axis=1)[:, :depth]


# Ways of joining; each gives (Q, W) scores.

Join = Callable[[Candidates], Array]


def only_dense(c: Candidates) -> Array:
    return np.where(c.by_dense, c.dense, NOWHERE)


def only_lexical(c: Candidates) -> Array:
    return np.where(c.by_lexical, c.lexical, NOWHERE)


def reciprocal_rank(c: Candidates, k: int) -> Array:
    total = np.zeros_like(c.dense)
    for scores, mask in ((c.dense, c.by_dense), (c.lexical, c.by_lexical)):
        order = np.argsort(np.argsort(-np.where(mask, scores, NOWHERE), axis=1, kind="stable"))
        total += np.where(mask, 1.0 / (k + 1 + order), 0.0)
    return total


def convex(c: Candidates, weight: float, scale: str, filled: bool) -> Array:
    """`filled`: a chunk that one leg did not return has its true score there, not the least."""
    dense = _scaled(c.dense, c.document >= 0 if filled else c.by_dense, -1.0, scale)
    lexical = _scaled(c.lexical, c.document >= 0 if filled else c.by_lexical, 0.0, scale)
    return np.where(c.document >= 0, weight * dense + (1 - weight) * lexical, NOWHERE)


def _scaled(scores: Array, known: Masks, least: float, scale: str) -> Array:
    scaled = SCALES[scale](scores, known, least)
    lowest = np.where(known, scaled, np.inf).min(axis=1, keepdims=True)
    unknown = 0.0 if scale == "theoretical" else np.where(np.isfinite(lowest), lowest, 0.0)
    return np.where(known, scaled, unknown)


def _theoretical(scores: Array, known: Masks, least: float) -> Array:
    """From the smallest possible score to the best candidate's (Bruch et al., 2023)."""
    return np.asarray((scores - least) / _spread(_most(scores, known) - least))


def _min_max(scores: Array, known: Masks, _: float) -> Array:
    low = np.where(known, scores, np.inf).min(axis=1, keepdims=True)
    return np.asarray((scores - low) / _spread(_most(scores, known) - low))


def _z_score(scores: Array, known: Masks, _: float) -> Array:
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    mean = np.where(known, scores, 0.0).sum(axis=1, keepdims=True) / count
    variance = np.where(known, (scores - mean) ** 2, 0.0).sum(axis=1, keepdims=True) / count
    return np.asarray((scores - mean) / _spread(np.sqrt(variance)))


def _most(scores: Array, known: Masks) -> Array:
    return np.asarray(np.where(known, scores, -np.inf).max(axis=1, keepdims=True))


def _spread(values: Array) -> Array:
    return np.where(np.isfinite(values) & (values > 1e-9), values, 1.0)


SCALES = {"theoretical": _theoretical, "min-max": _min_max, "z-score": _z_score}


# Measures


def measure(scored: Scored, c: Candidates, scores: Array, judged_only: bool = False) -> Array:
    """(measures, Q); a document ranks where its best chunk does."""
    order = np.argsort(-scores, axis=1, kind="stable")
    documents = np.where(
        np.take_along_axis(scores, order, axis=1) > NOWHERE / 2,
        np.take_along_axis(c.document, order, axis=1),
        -1,
    )
    rows = [
        _of_query(row, grades, judged_only)
        for row, grades in zip(documents.tolist(), scored.grade, strict=True)
    ]
    return np.array(rows).T


def _of_query(ranking: Sequence[int], grades: dict[int, int], judged_only: bool) -> list[float]:
    distinct = [d for d in dict.fromkeys(ranking) if d >= 0]
    if judged_only:
        distinct = [d for d in distinct if d in grades]
    gains = [grades.get(d, 0) for d in distinct]
    ideal = sorted((g for g in grades.values() if g > 0), reverse=True)
    relevant = max(len(ideal), 1)
    first = next((rank for rank, gain in enumerate(gains, 1) if gain > 0), None)
    return [
        _dcg(gains[:10]) / (_dcg(ideal[:10]) or 1.0),
        sum(g > 0 for g in gains[:10]) / relevant,
        sum(g > 0 for g in gains[:50]) / relevant,
        1 / first if first else 0.0,
    ]


def _dcg(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))
