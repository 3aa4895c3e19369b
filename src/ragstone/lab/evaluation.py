"""Ranking quality of the three ways to search, side by side, with confidence intervals."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import ir_measures
import numpy as np
from ir_measures import RR, R, nDCG
from numpy.typing import NDArray

from ragstone.domain.errors import InvalidRequest
from ragstone.domain.query import SearchMode
from ragstone.lab.judged_set import JudgedQuery, JudgedSet

MEASURES: Final = {
    "nDCG@10": nDCG @ 10,
    "recall@5": R @ 5,
    "recall@10": R @ 10,
    "recall@50": R @ 50,
    "MRR": RR,
}
"""As trec_eval computes them: nDCG's gain is the grade itself, and recall and MRR count every
grade above 0 as relevant. A document without a judgment counts as not relevant."""

MODES: Final[tuple[SearchMode, ...]] = ("dense", "lexical", "hybrid")

_RESAMPLES: Final = 2000
_SEED: Final = 20_26
_CONFIDENCE: Final = 0.95
_DRAWN_AT_ONCE: Final = 1 << 20
_PARALLEL: Final = 4

Search = Callable[[str, SearchMode], Awaitable[Sequence[str]]]
"""Query text and mode to the external ids of the passages' documents, best passage first."""

Scores = NDArray[np.float64]
"""One measure's value for each query, in the order of `JudgedSet.queries`."""


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
    """Paired by query; an interval that lies wholly below zero means that hybrid is worse."""
    queries: int
    unjudged_queries: int


async def evaluate(
    judged: JudgedSet, search: Search, on_query: Callable[[], None] = lambda: None
) -> Evaluation:
    """Runs every query in every mode; a document ranks where its best passage does.

    Raises `InvalidRequest` when nothing that was found occurs in the judgments, and whatever
    `search` raises.
    """
    runs = {mode: await _run(judged, search, mode, on_query) for mode in MODES}
    _require_common_documents(judged, list(runs.values()))
    scores = {mode: _scores(judged, run) for mode, run in runs.items()}
    estimates = {
        mode: {name: estimate(values) for name, values in by_measure.items()}
        for mode, by_measure in scores.items()
    }
    differences = {}
    for name in MEASURES:
        best = max(scores["dense"][name], scores["lexical"][name], key=lambda s: float(s.mean()))
        differences[name] = estimate(scores["hybrid"][name] - best)
    return Evaluation(estimates, differences, len(judged.queries), judged.unjudged)


def estimate(values: Scores) -> Estimate:
    """Percentile bootstrap over queries (Efron, 1979), 95 %, seeded: equal values give equal
    intervals, and every call with as many values draws the same queries."""
    generator = np.random.default_rng(_SEED)
    count = len(values)
    means = np.empty(_RESAMPLES)
    step = max(1, _DRAWN_AT_ONCE // count)
    for start in range(0, _RESAMPLES, step):
        block = means[start : start + step]
        block[:] = values[generator.integers(0, count, (len(block), count))].mean(axis=1)
    tail = 100 * (1 - _CONFIDENCE) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return Estimate(float(values.mean()), float(low), float(high))


_Run = dict[str, list[str]]
"""Distinct documents in the order of their best passages, by query id."""


async def _run(
    judged: JudgedSet, search: Search, mode: SearchMode, on_query: Callable[[], None]
) -> _Run:
    gate = asyncio.Semaphore(_PARALLEL)

    async def ranked(query: JudgedQuery) -> list[str]:
        async with gate:
            documents = await search(query.text, mode)
        on_query()
        return list(dict.fromkeys(documents))

    tasks = [asyncio.ensure_future(ranked(query)) for query in judged.queries]
    try:
        rankings = await asyncio.gather(*tasks)
    finally:
        # After a failure nothing may go on searching through a client that is being closed.
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return {query.id: ranking for query, ranking in zip(judged.queries, rankings, strict=True)}


def _require_common_documents(judged: JudgedSet, runs: Sequence[_Run]) -> None:
    known = dict.fromkeys(d for grades in judged.judgments.values() for d in grades)
    found = dict.fromkeys(d for run in runs for ranking in run.values() for d in ranking)
    if found and known.keys().isdisjoint(found):
        raise InvalidRequest(
            "No document that was found occurs in the judgments: the collection has ids such "
            f"as {next(iter(found))!r}, the judgments such as {next(iter(known))!r}.",
            remedy="Use the documents' external ids in the qrels, or another collection.",
            field="qrels",
        )


def _scores(judged: JudgedSet, run: _Run) -> dict[str, Scores]:
    # The library sorts by score: ranks keep our order where fused scores are equal.
    ranks = {
        query: {document: -float(rank) for rank, document in enumerate(ranking)}
        for query, ranking in run.items()
    }
    row = {query.id: number for number, query in enumerate(judged.queries)}
    names = {measure: name for name, measure in MEASURES.items()}
    values = {name: np.zeros(len(judged.queries)) for name in MEASURES}
    for metric in ir_measures.iter_calc(list(MEASURES.values()), judged.judgments, ranks):
        values[names[metric.measure]][row[metric.query_id]] = metric.value
    return values
