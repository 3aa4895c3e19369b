"""The passages cut to the sentences that matter to the question, for a share of their tokens.

Words alone decide, with each passage's rank and cosine: to embed the sentences takes 3 ms for
each and does not make half of the tokens enough either (docs/decisions/0010-lean-prompts.md).
Where few sentences stand out, less than the share is sent. Sentences stay as they stand, in their
order, with the headings and the sentence before that they need; what is cut shows as an ellipsis.
The passages themselves stay whole for whoever asked, so citations and their offsets are those of
the documents.
"""

import asyncio
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Final, NamedTuple

from ragstone.domain.passage import Passage
from ragstone.pipeline.cues import (
    AnswerType,
    answer_types,
    content_stems,
    holds_answer_type,
    question_stems,
    word_weights,
)
from ragstone.pipeline.units import Unit, leans_back, split_units

ELLIPSIS: Final = "…"

FEATURES: Final = ("coverage", "relative", "near", "density", "rank", "type", "shortness", "dense")

WEIGHTS: Final = (1.92, 2.46, 1.28, 1.05, 1.06, 0.85, -0.92, 4.48)
"""For `FEATURES`: a conditional logit over the units of one question, as in `weighing`, fitted by
`benchmarks/compression.py --fit`."""

MARGIN: Final = 5.0
"""A sentence that scores this much less than the best, 1/150 of its odds, is left out even where
there is room. Of ten passages at a share of 0.8 this saves another 18 % of the tokens for a point
of the evidence, where a lower share for every question loses three."""

_INLINE_CHARS: Final = 10_000
"""More text is cut in a thread; this much takes three milliseconds."""

_WORD: Final = re.compile(r"\w+")


class Excerpt(NamedTuple):
    """What the model sees of one passage."""

    text: str
    """Empty where nothing of it matters."""
    spans: tuple[tuple[int, int], ...]
    """Half-open offsets into the passage's text, in order."""


class Sentence(NamedTuple):
    """A unit that may be kept, with what its score is made of."""

    passage: int
    """Its position among the passages."""
    position: int
    """Among the units of its passage."""
    start: int
    end: int
    features: tuple[float, ...]
    """The values of `FEATURES`."""


async def excerpts(query: str, passages: Sequence[Passage], share: float) -> list[str]:
    """What the model sees of each passage; an empty text of those of which nothing matters."""
    if share >= 1:
        return [passage.text for passage in passages]
    if sum(len(passage.text) for passage in passages) > _INLINE_CHARS:
        cut = await asyncio.to_thread(compress, query, passages, share)
    else:
        cut = compress(query, passages, share)
    return [excerpt.text for excerpt in cut]


def compress(query: str, passages: Sequence[Passage], share: float) -> list[Excerpt]:
    """An excerpt of each passage, of `share` of the bytes of all of them together at most, the
    marks of what was cut not counted.

    The best sentence is kept whatever its size, and none that scores `MARGIN` less. A sentence
    whose words another one has had, in the same order, is kept once.
    """
    units = [split_units(p.text, (p.title, *p.heading_path)) for p in passages]
    budget = share * sum(len(passage.text.encode(errors="replace")) for passage in passages)
    kept: list[set[int]] = [set() for _ in passages]
    said: set[tuple[str, ...]] = set()
    used = 0
    for sentence in _best_first(sentences(query, passages, units)):
        number, position = sentence.passage, sentence.position
        text = passages[number].text
        words = tuple(_WORD.findall(text[sentence.start : sentence.end].casefold()))
        if position in kept[number] or words in said:
            continue
        needed = {position, *needs(text, units[number], position)} - kept[number]
        size = sum(_size(text, units[number], other) for other in needed)
        if used and used + size > budget:
            continue
        kept[number] |= needed
        used += size
        said.add(words)
    return [
        _excerpt(passage.text, of, sorted(positions))
        for passage, of, positions in zip(passages, units, kept, strict=True)
    ]


def score(sentence: Sentence) -> float:
    """Only differences within one question mean something."""
    return sum(w * f for w, f in zip(WEIGHTS, sentence.features, strict=True))


def _best_first(found: Sequence[Sentence]) -> list[Sentence]:
    """Those that score within `MARGIN` of the best."""
    scored = sorted(((score(s), s) for s in found), key=lambda pair: (-pair[0], pair[1][:2]))
    return [sentence for value, sentence in scored if value >= scored[0][0] - MARGIN]


def sentences(
    query: str, passages: Sequence[Passage], units: Sequence[Sequence[Unit]]
) -> list[Sentence]:
    """Every unit that is no heading, with its features, most of them in [0, 1].

    coverage: weighted share of the question's words in the unit; relative: the same with what
    stands above it, as a share of the most that any unit reaches; near: coverage of the better
    neighbour; density: share of the unit's own words that are the question's; rank: 1 for the
    first passage, 1/2 for the second and so on; type: 1 where the kind of answer that was asked
    for is there, -1 where it is not, 0 where the question asks for none; shortness: 1 for one
    word, falling to 0 at twenty; dense: the passage's cosine, the least of them where it has none.
    """
    asked = question_stems(query)
    stems = [
        [content_stems(p.text[unit.start : unit.end]) & asked for unit in of]
        for p, of in zip(passages, units, strict=True)
    ]
    weights = word_weights(asked, [found for of in stems for found in of])
    total = sum(weights.values()) or 1.0
    types = answer_types(query)
    known = [p.scores.dense for p in passages if p.scores.dense is not None]
    found: list[Sentence] = []
    most = 0.0
    for number, passage in enumerate(passages):
        above = content_stems(" ".join((passage.title, *passage.heading_path))) & asked
        covered = [sum(weights[word] for word in words) / total for words in stems[number]]
        dense = passage.scores.dense
        for position, unit in enumerate(units[number]):
            if unit.kind == "heading":
                continue
            context = above.union(*(stems[number][other] for other in (*unit.context, position)))
            reach = sum(weights[word] for word in context) / total
            most = max(most, reach)
            text = passage.text[unit.start : unit.end]
            length = text.count(" ") + 1
            features = (
                covered[position],
                reach,
                max(_beside(covered, position), default=0.0),
                len(stems[number][position]) / (4 + length / 2),
                1 / (number + 1),
                _type(text, types),
                max(0.0, 1 - length / 20),
                dense if dense is not None else min(known, default=0.0),
            )
            found.append(Sentence(number, position, unit.start, unit.end, features))
    return [
        s._replace(features=(s.features[0], s.features[1] / (most or 1.0), *s.features[2:]))
        for s in found
    ]


def needs(text: str, units: Sequence[Unit], position: int) -> Iterator[int]:
    """Positions of the units without which this one is not understood."""
    unit = units[position]
    yield from unit.context
    before = units[position - 1] if position else None
    if before and unit.kind == before.kind == "sentence" and leans_back(text, unit):
        yield position - 1


def _beside(values: Sequence[float], position: int) -> Iterator[float]:
    if position:
        yield values[position - 1]
    if position + 1 < len(values):
        yield values[position + 1]


def _type(text: str, types: Collection[AnswerType]) -> float:
    if not types:
        return 0.0
    return 1.0 if holds_answer_type(text, types) else -1.0


def _size(text: str, units: Sequence[Unit], position: int) -> int:
    """In bytes, with what stands between it and the next."""
    start = units[position].start if position else 0
    end = units[position + 1].start if position + 1 < len(units) else len(text)
    return len(text[start:end].encode(errors="replace"))


def _excerpt(text: str, units: Sequence[Unit], kept: Sequence[int]) -> Excerpt:
    """Neighbours keep what stands between them, white space and bullets included."""
    if not kept:
        return Excerpt("", ())
    if len(kept) == len(units):
        return Excerpt(text, ((0, len(text)),))
    spans: list[tuple[int, int]] = []
    for place, position in enumerate(kept):
        unit = units[position]
        if place and kept[place - 1] == position - 1:
            spans[-1] = (spans[-1][0], unit.end)
        else:
            spans.append((unit.start, unit.end))
    pieces = [text[start:end] for start, end in spans]
    joined = pieces[0] if kept[0] == 0 else f"{ELLIPSIS} {pieces[0]}"
    for before, piece, (start, _) in zip(spans, pieces[1:], spans[1:], strict=False):
        joined += (
            f"\n{ELLIPSIS} {piece}" if "\n" in text[before[1] : start] else f" {ELLIPSIS} {piece}"
        )
    return Excerpt(joined if kept[-1] == len(units) - 1 else f"{joined} {ELLIPSIS}", tuple(spans))
