"""Two ranked legs become one ranking: pure functions, shared by every index.

*Convex combination*: `w * dense + (1 - w) * lexical` over normalised scores, with the
theoretical-minimum normalisation of Bruch, Gai and Ingber ("An Analysis of Fusion Functions
for Hybrid Retrieval", ACM TOIS 2023): a score is scaled from the leg's smallest possible
value (-1 for a cosine, 0 for BM25) to the best candidate's. Unlike min-max over the
candidates it does not depend on how bad the worst candidate happens to be, so a score keeps
its meaning when few candidates are found.

A candidate that one leg did not return should have that leg's score filled in by the index
(`missing`); where it is unknown, it counts as the leg's minimum.

*Reciprocal rank fusion* (Cormack, Clarke and Buettcher, SIGIR 2009) looks at ranks only.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple
from uuid import UUID

from ragstone.domain.query import FusionSettings

DENSE_MINIMUM: Final = -1.0
LEXICAL_MINIMUM: Final = 0.0

Leg = Mapping[UUID, float]
"""Scores by chunk id."""


class Fused(NamedTuple):
    """One candidate with its fused score and what each leg gave."""

    id: UUID
    score: float
    dense: float | None
    lexical: float | None


def missing(leg: Leg, other: Leg) -> list[UUID]:
    """Candidates of `other` that `leg` has no score for."""
    return [candidate for candidate in other if candidate not in leg]


def fuse(dense: Leg, lexical: Leg, settings: FusionSettings) -> list[Fused]:
    """All candidates of both legs, best first; equal scores in the order of ids."""
    if settings.method == "rrf":
        scores = reciprocal_rank(dense, lexical, k=settings.rrf_k)
    else:
        scores = convex(dense, lexical, dense_weight=settings.dense_weight)
    return single(scores, dense=dense, lexical=lexical)


def single(scores: Leg, *, dense: Leg, lexical: Leg) -> list[Fused]:
    """Candidates in the order of `scores`, with the legs' own scores beside them."""
    ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    return [Fused(id_, score, dense.get(id_), lexical.get(id_)) for id_, score in ranked]


def convex(dense: Leg, lexical: Leg, *, dense_weight: float) -> dict[UUID, float]:
    """Fused scores in [0, 1]; a leg with no candidates leaves the other alone with its share."""
    a = normalise(dense, minimum=DENSE_MINIMUM)
    b = normalise(lexical, minimum=LEXICAL_MINIMUM)
    lexical_weight = 1.0 - dense_weight
    return {
        candidate: dense_weight * a.get(candidate, 0.0) + lexical_weight * b.get(candidate, 0.0)
        for candidate in {**a, **b}
    }


def normalise(leg: Leg, *, minimum: float) -> dict[UUID, float]:
    """Scaled so that `minimum` becomes 0 and the best candidate 1."""
    if not leg:
        return {}
    spread = max(leg.values()) - minimum
    if spread <= 0.0:
        return dict.fromkeys(leg, 0.0)
    return {candidate: (score - minimum) / spread for candidate, score in leg.items()}


def reciprocal_rank(dense: Leg, lexical: Leg, *, k: int) -> dict[UUID, float]:
    """Sum over the legs of 1 / (k + rank), ranks from 1."""
    scores: dict[UUID, float] = {}
    for leg in (dense, lexical):
        ranked = sorted(leg.items(), key=lambda item: (-item[1], item[0]))
        for rank, (candidate, _) in enumerate(ranked, start=1):
            scores[candidate] = scores.get(candidate, 0.0) + 1.0 / (k + rank)
    return scores
