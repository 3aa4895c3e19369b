"""Stage 11: citations exist, point at the sentences that support them, and figures agree."""

import re
from collections.abc import Iterable
from typing import Final

from ragstone.domain.answer import Citation, Span
from ragstone.domain.passage import Passage
from ragstone.pipeline.citations import CitationFilter, statements_by_citation
from ragstone.pipeline.cues import content_stems
from ragstone.pipeline.units import split_units

_NUMBER: Final = re.compile(r"\d+(?:[.,]\d+)*")


def verify(
    text: str, filtered: CitationFilter, passages: list[Passage]
) -> tuple[list[Citation], list[str]]:
    """The citations of a generated answer, in the order of their first use, and its labels.

    They say what does not hold: `citations_removed` (numbers that cite nothing were taken out),
    `uncited` (no citation at all), `unverified_figures` (a cited statement has a number that
    its passages do not have).
    """
    labels: list[str] = []
    if filtered.removed:
        labels.append("citations_removed")
    if not filtered.cited:
        labels.append("uncited")
    said = statements_by_citation(text)
    cited = {number: passages[number - 1] for number in filtered.cited}
    if _has_foreign_figures(said.values(), cited.values()):
        labels.append("unverified_figures")
    citations = [
        cite(number, passage, _supporting_span(said.get(number, ""), passage))
        for number, passage in cited.items()
    ]
    return citations, labels


def cite(number: int, passage: Passage, span: Span) -> Citation:
    """`span` in the document's offsets; it lies within the passage."""
    return Citation(
        number=number,
        document_id=passage.document_id,
        external_id=passage.external_id,
        chunk_id=passage.chunk_id,
        title=passage.title,
        page=passage.page,
        span=span,
        score=passage.scores.fused,
        text=passage.text[span.start - passage.start : span.end - passage.start],
    )


def _supporting_span(said: str, passage: Passage) -> Span:
    """The passage's sentence with the most words of what is said citing it, else all of it."""
    wanted = content_stems(said)
    best, best_overlap = Span(passage.start, passage.end), 0.0
    for unit in split_units(passage.text, passage.heading_path):
        if unit.kind == "heading":
            continue
        sentence = passage.text[unit.start : unit.end].casefold()
        if not any(map(sentence.__contains__, wanted)):
            continue  # most have none of them, and a stem is the beginning of its word
        words = content_stems(sentence)
        overlap = len(words & wanted) / (1 + len(words)) ** 0.5
        if overlap > best_overlap:
            best_overlap = overlap
            best = Span(passage.start + unit.start, passage.start + unit.end)
    return best


def _has_foreign_figures(said: Iterable[str], cited: Iterable[Passage]) -> bool:
    claimed = _figures(" ".join(said))
    return bool(claimed) and not claimed <= _figures(" ".join(each.text for each in cited))


def _figures(text: str) -> set[str]:
    """Numbers of two digits or more (single digits are often counts in words), normalised."""
    found = (match.replace(",", "") for match in _NUMBER.findall(text))
    return {
        number.rstrip("0").rstrip(".") if "." in number else number
        for number in found
        if len(number) > 1
    }
