"""Ranking quality of the three ways to search, side by side, with confidence intervals."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import ir_measures
import numpy as np
from ir_measures import RR, R, nDCG
from numpy.typing import NDArray

from ragstone.domain.query import SearchMode
from ragstone.lab.judged_set import JudgedQuery, JudgedSet

MEASURES: Final = {
    "nDCG@10": nDCG @ 10,
    "recall@5": R @ 5,
    "recall@10": R @ 10,
    "recall@50": R @ 50,
    "MRR": RR,
}
MODES: Final[tuple[SearchMode, ...]] = ("dense", "lexical", "hybrid")

_RESAMPLES: Final = 2000
_SEED: Final = 20_26
_CONFIDENCE: Final = 0.95
_PARALLEL: Final = 4

Search = Callable[[str, SearchMode], Awaitable[Sequence[tuple[str, float]]]]
"""Query text and mode to (external id, score) of the passages, best first."""

_Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over queries with its bootstrap confidence interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `evaluate` measured."""

    estimates: dict[SearchMode, dict[str, Estimate]]
    hybrid_minus_best_leg: dict[str, Estimate]
    """Paired by query; an interval above or around zero means hybrid does not fall below."""
    queries: int
    unjudged_queries: int


async def evaluate(
    judged: JudgedSet, search: Search, on_query: Callable[[], None] = lambda: None
) -> Evaluation:
    """Runs every query in every mode; a document ranks where its best passage does."""
    scores = {mode: await _score(judged, search, mode, on_query) for mode in MODES}
    estimates = {
        mode: {name: _estimate(values) for name, values in by_measure.items()}
        for mode, by_measure in scores.items()
    }
    differences = {}
    for name in MEASURES:
        best = max(scores["dense"][name], scores["lexical"][name], key=lambda s: float(s.mean()))
        differences[name] = _estimate(scores["hybrid"][name] - best)
    return Evaluation(estimates, differences, len(judged.queries), judged.unjudged)


async def _score(
    judged: JudgedSet, search: Search, mode: SearchMode, on_query: Callable[[], None]
) -> dict[str, _Scores]:
    """Per measure, one value for each query in the order of `judged.queries`."""
    gate = asyncio.Semaphore(_PARALLEL)

    async def ranked(query: JudgedQuery) -> dict[str, float]:
        async with gate:
            passages = await search(query.text, mode)
        on_query()
        ranking = dict.fromkeys(document for document, _ in passages)
        # The measures sort by score; ranks keep our order where scores are equal.
        return {document: -float(rank) for rank, document in enumerate(ranking)}

    rankings = await asyncio.gather(*map(ranked, judged.queries))
    run = {query.id: ranking for query, ranking in zip(judged.queries, rankings, strict=True)}
    row = {query.id: number for number, query in enumerate(judged.queries)}
    values = {name: np.zeros(len(judged.queries)) for name in MEASURES}
    names = {measure: name for name, measure in MEASURES.items()}
    for metric in ir_measures.iter_calc(list(MEASURES.values()), judged.judgments, run):
        values[names[metric.measure]][row[metric.query_id]] = metric.value
    return values


def _estimate(values: _Scores) -> Estimate:
    """Percentile bootstrap over queries (Efron, 1979), seeded."""
    generator = np.random.default_rng(_SEED)
    picks = generator.integers(0, len(values), size=(_RESAMPLES, len(values)))
    means = values[picks].mean(axis=1)
    tail = 100 * (1 - _CONFIDENCE) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return Estimate(float(values.mean()), float(low), float(high))
