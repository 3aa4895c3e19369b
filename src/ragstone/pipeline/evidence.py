"""What is known about how well pieces of passages answer a question: named features.

`weighing.py` has the models over them.
"""

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
    is_about_others: bool
    """The question names things, and no passage has any of these names."""
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
    names = named_things(question)
    return Evidence(
        question=question,
        words=words,
        weights=word_weights(words, [candidate.stems for candidate in candidates]),
        types=answer_types(question),
        is_about_others=bool(names) and names.isdisjoint(frozenset().union(*passage_stems)),
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
    "type",
    "shortness",
    "cosine",
)


def unit_features(evidence: Evidence, candidate: Candidate, cosine: float | None) -> list[float]:
    """The values of `UNIT_FEATURES`, most in [0, 1].

    coverage: of the question's words by the unit; context: by what stands above it alone;
    density: share of the unit's own words that are the question's; rank: 1 for the first
    passage, 1/2 for the second and so on; type: 1 where the kind of answer that was asked
    for is there, -1 where it is not, 0 where the question asks for none; shortness: 1 for one
    word, falling to 0 at twenty; cosine: between the embeddings of question and unit (with
    its context); left out, being the last, where it is None.
    """
    own = coverage(evidence, candidate.stems)
    held = holds_answer_type(candidate.text, evidence.types)
    words = candidate.text.count(" ") + 1
    features = [
        own,
        coverage(evidence, candidate.context_stems | candidate.stems) - own,
        len(evidence.words & candidate.stems) / (4 + len(candidate.stems)),
        1 / candidate.number,
        (1.0 if held else -1.0) if evidence.types else 0.0,
        max(0.0, 1 - words / 20),
    ]
    return features if cosine is None else [*features, cosine]


ANSWER_FEATURES: Final = ("coverage", "absent", "cosine", "dense")


def answer_features(evidence: Evidence, best: Candidate, cosine: float) -> list[float]:
    """The values of `ANSWER_FEATURES`, each at most 1.

    coverage: of the question's words by the best unit and what stands above it; absent: the
    weight of the heaviest question word that no passage has; cosine: the highest of a unit;
    dense: the highest of a passage as the index gave it (the units' where it gave none).
    """
    dense = [p.scores.dense for p in evidence.passages if p.scores.dense is not None]
    return [
        coverage(evidence, best.stems | best.context_stems),
        _absent(evidence),
        cosine,
        max(dense, default=cosine),
    ]


LEXICAL_ANSWER_FEATURES: Final = ("coverage", "absent", "passage_coverage", "score")


def lexical_answer_features(evidence: Evidence, best: Candidate, score: float) -> list[float]:
    """The values of `LEXICAL_ANSWER_FEATURES`, for when no cosine can be had or trusted.

    coverage, absent: as above; passage_coverage: of the question's words by the best passage;
    score: the best unit's.
    """
    return [
        coverage(evidence, best.stems | best.context_stems),
        _absent(evidence),
        max((coverage(evidence, words) for words in evidence.passage_stems), default=0.0),
        score,
    ]


def _absent(evidence: Evidence) -> float:
    known = frozenset[str]().union(*evidence.passage_stems)
    total = sum(evidence.weights.values())
    missing = (evidence.weights[word] for word in evidence.words - known)
    return max(missing, default=0.0) / total if total else 0.0
