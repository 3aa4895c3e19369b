"""How far answers to similar questions can be trusted: a share of them is made anew and compared.

Above the false hits that are allowed, the tier is off until the process starts again: one that
came back by itself would serve false answers for as long as it takes to see them once more.
"""

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sqrt
from random import Random
from typing import Final

import structlog

from ragstone.domain.answer import Answer
from ragstone.domain.kept import Told
from ragstone.observe.metrics import Metrics
from ragstone.ports import Embedder
from ragstone.resilience.ladder import costs_quality

SAMPLES: Final = 200
"""Latest comparisons that count."""

_Z: Final = 1.96
"""For an interval of 95 %."""
_SAME_TEXT: Final = 0.9
_SAME_SOURCES_TEXT: Final = 0.7
"""Cosines from which two answers say the same; less is asked where they cite the same chunks."""

_FIGURE: Final = re.compile(r"\d+(?:[.,:]\d+)*")
_MARKER: Final = re.compile(r"\[\d+\]")

_log = structlog.get_logger("ragstone.cache")


@dataclass(slots=True)
class SemanticTier:
    """Whether similar questions may share an answer; one for each process."""

    similarity: float
    """Least cosine between the questions."""
    shadow_share: float
    """Of the hits that are answered afresh too."""
    most_false: float
    """Share of false hits from which on, with certainty of 97.5 %, the tier is off."""
    metrics: Metrics
    random: Random = field(default_factory=lambda: Random(0))
    is_on: bool = True
    _outcomes: deque[bool] = field(default_factory=lambda: deque(maxlen=SAMPLES))

    def samples(self) -> bool:
        """Whether this hit is to be checked."""
        return self.random.random() < self.shadow_share

    async def compare(self, given: Told, fresh: Answer, embedder: Embedder) -> None:
        """Counts a kept answer that was given as right or false by one that was made since; one
        that was degraded says nothing. Raises `EmbedderError`."""
        if not any(map(costs_quality, fresh.degraded)):
            self.judged(false=await is_false(given, fresh, embedder))

    def judged(self, *, false: bool) -> None:
        """Counts one comparison."""
        self._outcomes.append(false)
        if not false:
            return
        self.metrics.cache_false_hits.labels("semantic").inc()
        wrong, compared = sum(self._outcomes), len(self._outcomes)
        if self.is_on and wilson_lower(wrong, compared) > self.most_false:
            self.is_on = False
            self.metrics.semantic_off.set(1)
            _log.warning("semantic cache switched off", false_hits=wrong, compared=compared)


def wilson_lower(count: int, of: int) -> float:
    """The lower end of the score interval of a share (Wilson, 1927). One of nine is 2.0 %: of the
    first eight comparisons none may fail where 2 % are allowed, of a hundred five may."""
    if not of:
        return 0.0
    share, square = count / of, _Z * _Z
    centre = share + square / (2 * of)
    spread = _Z * sqrt(share * (1 - share) / of + square / (4 * of * of))
    return max(0.0, (centre - spread) / (1 + square / of))


async def is_false(given: Told, fresh: Answer, embedder: Embedder) -> bool:
    """Whether the kept answer that was given is another than the one made for the question.

    It is where only one of them says that nothing was found, where their figures differ, or where
    their texts are less alike than two wordings of one thing. Raises `EmbedderError`.
    """
    if given.answer_kind != fresh.answer_kind or _figures(given.answer) != _figures(fresh.answer):
        return True
    if given.answer == fresh.answer:
        return False
    one, other = await embedder.embed_documents([given.answer, fresh.answer])
    same_sources = _sources(given) == _sources(fresh)
    return cosine(one, other) < (_SAME_SOURCES_TEXT if same_sources else _SAME_TEXT)


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """Of unit vectors."""
    return sum(a * b for a, b in zip(one, other, strict=True))


def _sources(answer: Told | Answer) -> set[str]:
    return {citation.chunk_id for citation in answer.citations}


def _figures(text: str) -> set[str]:
    return set(_FIGURE.findall(_MARKER.sub("", text)))
