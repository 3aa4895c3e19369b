"""Measures agree with values computed by hand; intervals with a known distribution."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragstone.domain.errors import InvalidRequest, UnknownCollection
from ragstone.domain.query import SearchMode
from ragstone.lab.evaluation import MEASURES, Evaluation, estimate, evaluate
from ragstone.lab.judged_set import JudgedQuery, JudgedSet

Rankings = dict[SearchMode, dict[str, list[str]]]

TWO_QUERIES = JudgedSet(
    queries=[JudgedQuery("q1", "silk"), JudgedQuery("q2", "wool")],
    judgments={"q1": {"a": 2, "b": 1, "c": 0}, "q2": {"d": 1}},
    unjudged=3,
)

DENSE = {"silk": ["c", "a", "x", "b"], "wool": ["x", "y"]}
LEXICAL = {"silk": ["a"], "wool": ["d", "a"]}
HYBRID = {"silk": ["a", "b"], "wool": ["x", "d"]}
RANKINGS: Rankings = {"dense": DENSE, "lexical": LEXICAL, "hybrid": HYBRID}


def searching(rankings: Rankings) -> Callable[[str, SearchMode], Awaitable[Sequence[str]]]:
    async def search(text: str, mode: SearchMode) -> Sequence[str]:
        return rankings[mode].get(text, [])

    return search


async def measured(judged: JudgedSet, rankings: Rankings) -> Evaluation:
    return await evaluate(judged, searching(rankings))


async def test_measures_are_those_computed_by_hand() -> None:
    result = await measured(TWO_QUERIES, RANKINGS)

    def means(mode: SearchMode) -> dict[str, float]:
        return {name: value.mean for name, value in result.estimates[mode].items()}

    third, fourth = 1 / math.log2(3), 1 / math.log2(5)
    ideal = 2 + third  # of q1: grade 2 at rank 1, grade 1 at rank 2
    # q1: a (2) at rank 2, b (1) at rank 4; q2: nothing.
    assert means("dense") == pytest.approx(
        {
            "nDCG@10": (2 * third + fourth) / ideal / 2,
            "recall@5": 0.5,
            "recall@10": 0.5,
            "recall@50": 0.5,
            "MRR": 0.25,
        }
    )
    # q1: a at rank 1, b missing; q2: d at rank 1.
    assert means("lexical") == pytest.approx(
        {
            "nDCG@10": (2 / ideal + 1) / 2,
            "recall@5": 0.75,
            "recall@10": 0.75,
            "recall@50": 0.75,
            "MRR": 1.0,
        }
    )
    # q1: perfect; q2: d at rank 2.
    assert means("hybrid") == pytest.approx(
        {
            "nDCG@10": (1 + third) / 2,
            "recall@5": 1.0,
            "recall@10": 1.0,
            "recall@50": 1.0,
            "MRR": 0.75,
        }
    )


async def test_hybrid_is_compared_query_by_query_with_the_leg_that_is_better_on_average() -> None:
    result = await measured(TWO_QUERIES, RANKINGS)
    difference = result.hybrid_minus_best_leg["MRR"]
    # Lexical is the better leg: 1 and 1 against hybrid's 1 and 0.5.
    assert difference.mean == pytest.approx(-0.25)
    assert (difference.low, difference.high) == pytest.approx((-0.5, 0.0))


async def test_cutoffs_count_documents() -> None:
    relevant = [f"r{number}" for number in range(20)]
    judged = JudgedSet([JudgedQuery("q", "all")], {"q": dict.fromkeys(relevant, 1)}, unjudged=0)
    everywhere = {"all": relevant}
    result = await measured(
        judged, {"dense": everywhere, "lexical": everywhere, "hybrid": everywhere}
    )
    values = {name: value.mean for name, value in result.estimates["hybrid"].items()}
    assert values == pytest.approx(
        {"nDCG@10": 1.0, "recall@5": 0.25, "recall@10": 0.5, "recall@50": 1.0, "MRR": 1.0}
    )


async def test_queries_are_counted_and_progress_is_told_for_each_search() -> None:
    told: list[None] = []
    result = await evaluate(TWO_QUERIES, searching(RANKINGS), lambda: told.append(None))
    assert (result.queries, result.unjudged_queries) == (2, 3)
    assert len(told) == 6


async def test_a_search_that_finds_nothing_scores_zero() -> None:
    nothing: Rankings = {"dense": {}, "lexical": {}, "hybrid": {}}
    result = await measured(TWO_QUERIES, nothing)
    for by_measure in result.estimates.values():
        assert all((v.mean, v.low, v.high) == (0.0, 0.0, 0.0) for v in by_measure.values())


@settings(max_examples=30, deadline=None)
@given(
    ranking=st.permutations(["a", "b", "c", "x", "y"]),
    copies=st.lists(st.integers(0, 4), max_size=8),
    seed=st.integers(0, 1000),
)
async def test_several_passages_of_a_document_count_once_at_the_best(
    ranking: list[str], copies: list[int], seed: int
) -> None:
    generator = random.Random(seed)
    doubled = list(ranking)
    for copy in copies:
        document = ranking[copy]
        doubled.insert(generator.randint(doubled.index(document) + 1, len(doubled)), document)
    once, several = {"silk": list(ranking)}, {"silk": doubled}
    judged = JudgedSet(TWO_QUERIES.queries[:1], {"q1": TWO_QUERIES.judgments["q1"]}, 0)
    result = await measured(judged, {"dense": once, "lexical": several, "hybrid": several})
    assert result.estimates["lexical"] == result.estimates["dense"]
    assert result.estimates["hybrid"] == result.estimates["dense"]


async def test_judgments_about_other_documents_are_refused_with_an_example_of_both() -> None:
    strangers = {"silk": ["doc_1"], "wool": ["doc_2"]}
    with pytest.raises(InvalidRequest) as caught:
        await measured(TWO_QUERIES, {"dense": strangers, "lexical": strangers, "hybrid": strangers})
    assert "'doc_1'" in caught.value.message
    assert "'a'" in caught.value.message
    assert "external ids" in (caught.value.remedy or "")


async def test_a_failing_search_ends_the_evaluation_and_stops_the_others() -> None:
    begun: list[str] = []
    stopped: list[str] = []

    async def search(text: str, mode: SearchMode) -> Sequence[str]:
        begun.append(text)
        if text == "text 1":
            raise UnknownCollection("There is no collection 'helpp'.")
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(text)
        return []

    queries = [JudgedQuery(f"q{number}", f"text {number}") for number in range(100)]
    judged = JudgedSet(queries, {query.id: {"a": 1} for query in queries}, 0)
    with pytest.raises(UnknownCollection):
        await evaluate(judged, search)
    assert sorted([*stopped, "text 1"]) == sorted(begun)
    assert len(begun) < 10


def test_the_interval_of_a_share_is_that_of_the_binomial_distribution() -> None:
    values = np.array([0.0, 1.0] * 50)
    # Resampled means are Binomial(100, 0.5) / 100, whose 2.5 % and 97.5 % points are these.
    found = estimate(values)
    assert found.mean == 0.5
    assert found.low == pytest.approx(0.40, abs=0.011)
    assert found.high == pytest.approx(0.60, abs=0.011)


def test_equal_values_give_an_interval_without_width() -> None:
    found = estimate(np.full(30, 0.25))
    assert (found.mean, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))


def test_estimates_repeat_themselves() -> None:
    values = np.random.default_rng(7).random(40)
    assert estimate(values) == estimate(values.copy())


def test_every_measure_of_the_command_is_computed() -> None:
    assert list(MEASURES) == ["nDCG@10", "recall@5", "recall@10", "recall@50", "MRR"]
