"""Two small models: which units answer best, and whether they answer at all.

The first is a conditional logit over the units of one question (McFadden, 1974), the second
a logistic regression over questions. `benchmarks/extractive.py --fit` prints the
coefficients; docs/decisions/0003-extractive-answers.md says what they are worth. Each has a
second set for when there are no cosines, or cosines of another embedder than the one that
they were fitted with: similarity scales differ between embedders.
"""

import math
from collections.abc import Sequence
from typing import Final

UNIT_WEIGHTS: Final = (5.11, 2.89, 2.17, 1.76, 1.41, -0.91, 4.83)
"""For `evidence.UNIT_FEATURES`."""

LEXICAL_UNIT_WEIGHTS: Final = (6.33, 3.38, 3.98, 2.02, 1.45, -1.13)
"""For `evidence.UNIT_FEATURES` without the cosine."""

ANSWER_WEIGHTS: Final = (-5.21, 0.45, -0.32, 5.96, 3.74)
"""Intercept, then for `evidence.ANSWER_FEATURES`."""

LEXICAL_ANSWER_WEIGHTS: Final = (-4.32, -1.66, 0.55, 3.42, 0.65)
"""Intercept, then for `evidence.LEXICAL_ANSWER_FEATURES`."""

FOUND_THRESHOLD: Final = 0.45
LEXICAL_FOUND_THRESHOLD: Final = 0.4
"""Probability from which an extract counts as an answer."""

OTHERS_THRESHOLD: Final = 0.8
"""The same where no passage has any name of the question: what is said of one store is no
answer about another. Costs no answer of the judged sets but one."""

CALIBRATED_EMBEDDER: Final = "all-MiniLM-L6-v2"
"""Whose cosines the weights were fitted with: the first part of its identity's name."""


def utility(weights: Sequence[float], features: Sequence[float]) -> float:
    """A unit's score; only differences within one question mean something."""
    return sum(weight * feature for weight, feature in zip(weights, features, strict=True))


def probability(weights: Sequence[float], features: Sequence[float]) -> float:
    """That the question is answered, for weights that begin with an intercept."""
    return 1 / (1 + math.exp(-(weights[0] + utility(weights[1:], features))))
