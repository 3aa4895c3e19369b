"""How well a piece of a passage answers a question, and whether anything does.

Two small logistic models over named features. Their coefficients were fitted, and the
abstention threshold chosen, by `benchmarks/extractive.py --fit`; what they are worth is in
docs/decisions/0003-extractive-answers.md. Each model has a second set of coefficients for
when the embedder failed and only words are left.
"""

import math
from collections.abc import Mapping, Sequence, Set
from typing import Final, NamedTuple

from ragstone.domain.passage import Passage
from ragstone.pipeline.cues import (
    AnswerType,
    answer_types,
    content_stems,
    holds_answer_type,
    named_things,
    question_stems,
    word_weights,
)
from ragstone.pipeline.units import Unit, split_units


class Candidate(NamedTuple):
    """A unit that an extract may quote."""

    number: int
    """Of its passage, from 1."""
    position: int
    """Among the units of its passage."""
    unit: Unit
    text: str
    context: str
    """Headings and lead-in above it, innermost last; title where there are none."""
    stems: frozenset[str]
    context_stems: frozenset[str]


class Evidence(NamedTuple):
    """A question and everything in the passages that may answer it."""

    question: str
    words: Set[str]
    weights: Mapping[str, float]
    types: Sequence[AnswerType]
    names: Set[str]
    passages: Sequence[Passage]
    passage_stems: Sequence[frozenset[str]]
    units: Sequence[Sequence[Unit]]
    """Of each passage."""
    candidates: Sequence[Candidate]


def gather(question: str, passages: Sequence[Passage]) -> Evidence:
    """Split the passages and weigh the question's words against them."""
    units: list[list[Unit]] = []
    candidates: list[Candidate] = []
    passage_stems: list[frozenset[str]] = []
    for number, passage in enumerate(passages, 1):
        headings = (passage.title, *passage.heading_path)
        above = frozenset(content_stems(" ".join(headings)))
        found = split_units(passage.text, headings)
        units.append(found)
        for position, unit in enumerate(found):
            if unit.kind != "heading":
                candidates.append(_candidate(passage, number, position, found, above))
        passage_stems.append(above | content_stems(passage.text))
    words = question_stems(question)
    return Evidence(
        question=question,
        words=words,
        weights=word_weights(words, [candidate.stems for candidate in candidates]),
        types=answer_types(question),
        names=named_things(question),
        passages=passages,
        passage_stems=passage_stems,
        units=units,
        candidates=candidates,
    )


def _candidate(
    passage: Passage, number: int, position: int, units: Sequence[Unit], above: frozenset[str]
) -> Candidate:
    unit = units[position]
    near = [passage.text[units[index].start : units[index].end] for index in unit.context]
    if not near:
        near = [passage.heading_path[-1] if passage.heading_path else passage.title]
    text = passage.text[unit.start : unit.end]
    return Candidate(
        number=number,
        position=position,
        unit=unit,
        text=text,
        context=" ".join(" ".join(near).split()),
        stems=frozenset(content_stems(text)),
        context_stems=above | content_stems(" ".join(near)),
    )


def coverage(evidence: Evidence, stems: Set[str]) -> float:
    """Weighted share of the question's words that are among `stems`, in [0, 1]."""
    total = sum(evidence.weights.values())
    return sum(evidence.weights[word] for word in evidence.words & stems) / total if total else 0.0


UNIT_FEATURES: Final = (
    "coverage",
    "context",
    "density",
    "rank",
    "type_held",
    "type_missed",
    "shortness",
    "cosine",
)


def unit_features(evidence: Evidence, candidate: Candidate, cosine: float) -> list[float]:
    """The values of `UNIT_FEATURES`, most in [0, 1].

    coverage: of the question's words by the unit; context: by what stands above it alone;
    density: share of the unit's own words that are the question's; rank: 1 for the first
    passage, 1/2 for the second and so on; type_held, type_missed: the kind of answer that
    was asked for is there, or is not; shortness: 1 for one word, falling to 0 at twenty;
    cosine: between the embeddings of question and unit (with its context).
    """
    own = coverage(evidence, candidate.stems)
    held = bool(evidence.types) and holds_answer_type(candidate.text, evidence.types)
    words = candidate.text.count(" ") + 1
    return [
        own,
        coverage(evidence, candidate.context_stems | candidate.stems) - own,
        len(evidence.words & candidate.stems) / (4 + len(candidate.stems)),
        1 / candidate.number,
        float(held),
        float(bool(evidence.types) and not held),
        max(0.0, 1 - words / 20),
        cosine,
    ]


ANSWER_FEATURES: Final = (
    "coverage",
    "passage_coverage",
    "names_missing",
    "type_missed",
    "score",
    "cosine",
    "dense",
)


def answer_features(
    evidence: Evidence,
    chosen: Sequence[Candidate],
    score: float,
    cosine: float,
) -> list[float]:
    """The values of `ANSWER_FEATURES`.

    coverage: of the question's words by the chosen units and what stands above them;
    passage_coverage: by the best single passage; names_missing: share of the question's names
    and numbers that no passage has; type_missed: the kind of answer asked for is in none of
    the chosen; score: the best unit's; cosine: the highest of a unit; dense: the highest of a
    passage as the index gave it (the units' where it gave none).
    """
    stems = frozenset[str]().union(*(unit.stems | unit.context_stems for unit in chosen))
    everything = frozenset[str]().union(*evidence.passage_stems)
    names = evidence.names
    held = any(holds_answer_type(unit.text, evidence.types) for unit in chosen)
    dense = [p.scores.dense for p in evidence.passages if p.scores.dense is not None]
    return [
        coverage(evidence, stems),
        max((coverage(evidence, words) for words in evidence.passage_stems), default=0.0),
        len(names - everything) / len(names) if names else 0.0,
        float(bool(evidence.types) and not held),
        score,
        cosine,
        max(dense, default=cosine),
    ]


def logistic(intercept: float, coefficients: Sequence[float], features: Sequence[float]) -> float:
    """A probability; features beyond the coefficients are ignored."""
    total = intercept + sum(
        coefficient * feature
        for coefficient, feature in zip(coefficients, features, strict=False)
    )
    return 1 / (1 + math.exp(-total))
