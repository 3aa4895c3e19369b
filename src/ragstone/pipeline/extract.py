"""An answer without a language model: the sentences of the passages that answer best.

Words choose a dozen candidates, one batch of embeddings and the kind of answer that the
question asks for rank them, and a fitted threshold decides whether the best of them is an
answer at all. Nothing is rephrased: every sentence stands in the passage it cites.
"""

import asyncio
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from ragstone.domain.errors import BudgetExhausted, DependencyError
from ragstone.domain.passage import Passage
from ragstone.pipeline import weighing
from ragstone.pipeline.evidence import (
    Candidate,
    Evidence,
    answer_features,
    gather,
    lexical_answer_features,
    unit_features,
)
from ragstone.pipeline.units import leans_back
from ragstone.ports import Embedder

LEXICAL_RUNG: Final = "extract_lexical"
"""In `Extract.degraded`: the embedder failed, words alone decided."""

CANDIDATES: Final = 8
"""Units that are embedded. All of them would quote the evidence of 0.5 % more questions."""

_EMBEDDED_CHARS: Final = 320
"""Of a unit: what a longer one is about is clear by then, and time grows with length."""

_MARGIN: Final = 2.5
"""A further sentence may score this much less than the best: a 12th of its odds."""

_SAME: Final = 0.7
"""Jaccard similarity of words from which two sentences say the same."""

_INLINE_CHARS: Final = 10_000
"""More text is split and counted in a thread; this much takes three milliseconds."""

_NUMBERED: Final = re.compile(r"\[(\d{1,4})\]")
_RECORD: Final = re.compile(r"^[^\s:]*\[\d+\]\.", re.M)


class Quote(msgspec.Struct, frozen=True):
    """One quoted stretch."""

    number: int
    """Of its passage, from 1."""
    start: int
    """Half-open character offsets into the document's text."""
    end: int


class Extract(msgspec.Struct, frozen=True, kw_only=True):
    """The quoted sentences, or that there are none."""

    text: str
    """Each sentence followed by its marker `[n]`; empty when nothing fits."""
    citations: tuple[Quote, ...]
    """In the order of the text."""
    found: bool
    confidence: float
    """Estimated probability that the passages answer the question."""
    degraded: tuple[str, ...] = ()


async def extract(
    question: str,
    passages: Sequence[Passage],
    embedder: Embedder | None,
    *,
    max_sentences: int = 3,
    vector: Sequence[float] | None = None,
) -> Extract:
    """Quote at most `max_sentences` units of `passages`, which are best first.

    `vector` is the question's embedding where it is known already. Without an embedder, or
    when it fails, words alone decide, and `degraded` says so.
    """
    if sum(len(passage.text) for passage in passages) > _INLINE_CHARS:
        evidence = await asyncio.to_thread(gather, question, passages)
    else:
        evidence = gather(question, passages)
    ranked = _rank_by_words(evidence)
    if not ranked:
        return _nothing(0.0, ())
    if embedder is None:
        return _answer(evidence, ranked, None, max_sentences, (LEXICAL_RUNG,))
    try:
        cosines = await _cosines(question, [unit for _, unit in ranked], embedder, vector)
    except (DependencyError, BudgetExhausted):
        return _answer(evidence, ranked, None, max_sentences, (LEXICAL_RUNG,))
    rescored = [
        (weighing.utility(weighing.UNIT_WEIGHTS, unit_features(evidence, unit, cosine)), unit)
        for (_, unit), cosine in zip(ranked, cosines, strict=True)
    ]
    rescored.sort(key=lambda scored: -scored[0])
    calibrated = embedder.identity.name.split("/")[0] == weighing.CALIBRATED_EMBEDDER
    return _answer(evidence, rescored, max(cosines) if calibrated else None, max_sentences, ())


Ranked = list[tuple[float, Candidate]]


def _rank_by_words(evidence: Evidence) -> Ranked:
    weights = weighing.LEXICAL_UNIT_WEIGHTS
    ranked = [
        (weighing.utility(weights, unit_features(evidence, unit, None)), unit)
        for unit in evidence.candidates
    ]
    ranked.sort(key=lambda scored: -scored[0])
    return ranked[:CANDIDATES]


async def _cosines(
    question: str, units: Sequence[Candidate], embedder: Embedder, vector: Sequence[float] | None
) -> list[float]:
    texts = [embedded_text(unit) for unit in units]
    if vector is not None:
        vectors = await embedder.embed_documents(texts)
        return [_dot(vector, other) for other in vectors]
    asked, vectors = await asyncio.gather(
        embedder.embed_query(question), embedder.embed_documents(texts)
    )
    return [_dot(asked, other) for other in vectors]


def embedded_text(unit: Candidate) -> str:
    """What stands for the unit when it is embedded: with its heading, without a long tail."""
    text = f"{unit.context}. {unit.text}" if unit.context else unit.text
    return text[:_EMBEDDED_CHARS]


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def _answer(
    evidence: Evidence,
    ranked: Ranked,
    cosine: float | None,
    max_sentences: int,
    degraded: tuple[str, ...],
) -> Extract:
    score, best = ranked[0]
    if cosine is None:
        lexical = weighing.LEXICAL_UNIT_WEIGHTS
        score = weighing.utility(lexical, unit_features(evidence, best, None))
        features = lexical_answer_features(evidence, best, score)
        confidence = weighing.probability(weighing.LEXICAL_ANSWER_WEIGHTS, features)
        threshold = weighing.LEXICAL_FOUND_THRESHOLD
    else:
        features = answer_features(evidence, best, cosine)
        confidence = weighing.probability(weighing.ANSWER_WEIGHTS, features)
        threshold = weighing.FOUND_THRESHOLD
    if evidence.is_about_others:
        threshold = weighing.OTHERS_THRESHOLD
    if confidence < threshold:
        return _nothing(confidence, degraded)
    chosen = _with_context(evidence, _choose(ranked, max_sentences), max_sentences)
    return Extract(
        text=_render(evidence, chosen),
        citations=tuple(_quote(evidence, unit) for unit in chosen),
        found=True,
        confidence=confidence,
        degraded=degraded,
    )


def _nothing(confidence: float, degraded: tuple[str, ...]) -> Extract:
    return Extract(text="", citations=(), found=False, confidence=confidence, degraded=degraded)


def _choose(ranked: Ranked, limit: int) -> list[Candidate]:
    """The best, and those near it that say something else, best first."""
    top = ranked[0][0]
    chosen: list[Candidate] = []
    for score, unit in ranked:
        if len(chosen) == limit or score < top - _MARGIN:
            break
        if not any(_similarity(unit, other) >= _SAME for other in chosen):
            chosen.append(unit)
    return chosen


def _similarity(one: Candidate, other: Candidate) -> float:
    union = len(one.stems | other.stems)
    return len(one.stems & other.stems) / union if union else 1.0


def _with_context(evidence: Evidence, chosen: list[Candidate], limit: int) -> list[Candidate]:
    """In reading order, with what they lean on put before them where the limit allows.

    Passages keep the order of their best unit, so that the answer begins with the best.
    """
    numbers = list(dict.fromkeys(unit.number for unit in chosen))
    places = {(unit.number, unit.position): unit for unit in evidence.candidates}
    kept = {(unit.number, unit.position) for unit in chosen}
    for unit in chosen:
        before = _leans_on(evidence, unit)
        if before is not None and len(kept) < limit and (unit.number, before) in places:
            kept.add((unit.number, before))
    return [places[place] for place in sorted(kept, key=lambda p: (numbers.index(p[0]), p[1]))]


def _leans_on(evidence: Evidence, unit: Candidate) -> int | None:
    """The position of the unit without which this one is not understood."""
    units = evidence.units[unit.number - 1]
    for position in reversed(unit.unit.context):
        if units[position].kind != "heading":
            return position
    passage = evidence.passages[unit.number - 1]
    if unit.unit.kind == "sentence" and unit.position and leans_back(passage.text, unit.unit):
        return unit.position - 1 if units[unit.position - 1].kind == "sentence" else None
    return None


def _quote(evidence: Evidence, unit: Candidate) -> Quote:
    start = evidence.passages[unit.number - 1].start
    return Quote(unit.number, start + unit.unit.start, start + unit.unit.end)


def _render(evidence: Evidence, chosen: Sequence[Candidate]) -> str:
    """Sentences run on; rows and list items have a line each.

    Quotes of several documents stand under their titles: which of two policies is the old
    one, or which lamp is meant, often only the title says.
    """
    documents = [evidence.passages[unit.number - 1].document_id for unit in chosen]
    several = len(set(documents)) > 1
    text = ""
    before: Candidate | None = None
    for unit, document in zip(chosen, documents, strict=True):
        other = before is None or document != evidence.passages[before.number - 1].document_id
        if before is not None:
            prose = unit.unit.kind == before.unit.kind == "sentence"
            text += "\n\n" if several and other else " " if prose else "\n"
        title = _one_line(evidence.passages[unit.number - 1].title) if several and other else ""
        quote = _one_line(unit.text)
        text += f"{title}: " if title and not quote.startswith(title) else ""
        text += f"{quote} [{unit.number}]"
        before = unit
    return text


def _one_line(text: str) -> str:
    """On one line; numbers in brackets must not look like our markers."""
    lines = [line.strip() for line in _RECORD.sub("", text).split("\n")]
    joiner = "; " if _RECORD.match(text) else " "
    return _NUMBERED.sub(r"(\1)", " ".join(joiner.join(lines).split()))
