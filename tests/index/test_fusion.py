import math
from itertools import pairwise
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from ragstone.domain.query import FusionSettings
from ragstone.index.fusion import convex, fuse, missing, normalise, reciprocal_rank

A, B, C = (UUID(int=n) for n in (1, 2, 3))

legs = st.dictionaries(
    st.integers(1, 8).map(lambda n: UUID(int=n)),
    st.integers(-100, 100).map(lambda n: n / 100),
    max_size=8,
)


def test_the_best_candidate_is_scaled_to_one_and_the_least_possible_score_to_zero() -> None:
    assert normalise({A: 0.5, B: -1.0}, minimum=-1.0) == {A: 1.0, B: 0.0}
    assert normalise({A: 8.0, B: 2.0}, minimum=0.0) == {A: 1.0, B: 0.25}
    assert normalise({A: 0.0}, minimum=0.0) == {A: 0.0}
    assert normalise({}, minimum=0.0) == {}


def test_a_convex_combination_weighs_the_legs() -> None:
    scores = convex({A: 1.0, B: 0.0}, {B: 10.0, C: 5.0}, dense_weight=0.25)
    assert scores == {A: 0.25, B: 0.25 * 0.5 + 0.75, C: 0.375}


def test_reciprocal_ranks_are_summed() -> None:
    scores = reciprocal_rank({A: 0.9, B: 0.8}, {B: 3.0}, k=60)
    assert math.isclose(scores[A], 1 / 61)
    assert math.isclose(scores[B], 1 / 62 + 1 / 61)


def test_missing_names_what_only_the_other_leg_found() -> None:
    assert missing({A: 1.0}, {A: 1.0, B: 1.0}) == [B]


@given(legs, legs, st.floats(0, 1), st.sampled_from(["convex", "rrf"]))
def test_fusion_keeps_every_candidate_once_in_falling_order(
    dense: dict[UUID, float], lexical: dict[UUID, float], weight: float, method: str
) -> None:
    lexical = {id_: abs(score) for id_, score in lexical.items()}
    settings = FusionSettings(method=method, dense_weight=weight)  # type: ignore[arg-type]
    fused = fuse(dense, lexical, settings)
    assert {hit.id for hit in fused} == dense.keys() | lexical.keys()
    assert len(fused) == len({hit.id for hit in fused})
    assert all(a.score >= b.score for a, b in pairwise(fused))
    assert all(hit.dense == dense.get(hit.id) for hit in fused)
    assert all(-1e-9 <= hit.score <= 1 + 1e-9 for hit in fused)


@given(legs)
def test_weights_of_zero_and_one_give_one_leg(leg: dict[UUID, float]) -> None:
    only = [hit.id for hit in fuse(leg, {}, FusionSettings(dense_weight=1.0))]
    assert only == [id_ for id_, _ in sorted(leg.items(), key=lambda item: (-item[1], item[0]))]
