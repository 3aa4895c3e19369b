"""Sentences of a passage by position, and the words that carry meaning; shared by the stages
that point at evidence (`extract`, `verify`)."""

import re
from typing import Final

_BREAK: Final = re.compile(
    r"(?<=[.!?…])[\"'”’)\]]*\s+(?=[\"'“‘(\[]?[A-Z0-9À-Þ])"  # after a full stop, before a capital
    r"|\n\s*\n|\n(?=\s*(?:[-*•|]|\d+[.)])\s)|(?<=\|)\n"  # blank line, list item, table row
)
_ABBREVIATION: Final = re.compile(
    r"\b(?:[A-Za-z]|Mr|Mrs|Ms|Dr|Prof|St|No|Nr|vs|etc|e\.g|i\.e|approx|incl|max|min|Fig|Jan|Feb|"
    r"Mar|Apr|Jun|Jul|Aug|Sep|Sept|Oct|Nov|Dec|Inc|Ltd|Co)\.$"
)
_WORD: Final = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*")

STOP_WORDS: Final = frozenset(
    "a about after all am an and any are as at be been before being but by can could did do does "
    "doing for from had has have having he her here hers him his how i if in into is it its just "
    "may me might more most must my no nor not of on once only or other our out over own please "
    "shall she should so some such than that the their them then there these they this those to "
    "too under until up us very was we were what when where which while who whom why will with "
    "would you your yours".split()
)


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Half-open offsets of the sentences, list items and table rows of `text`, in order.

    Surrounding white space is left out; a text without any gives an empty list.
    """
    spans: list[tuple[int, int]] = []
    start = 0
    for match in _BREAK.finditer(text):
        if "\n" not in match[0] and _ABBREVIATION.search(text, start, match.start()):
            continue
        _append_trimmed(spans, text, start, match.start())
        start = match.end()
    _append_trimmed(spans, text, start, len(text))
    return spans


def content_words(text: str) -> set[str]:
    """Lower-case words without the commonest ones, plural endings cut."""
    words = (match.group().casefold() for match in _WORD.finditer(text))
    return {_stem(word) for word in words if word not in STOP_WORDS}


def _stem(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def _append_trimmed(spans: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    piece = text[start:end]
    stripped = piece.strip()
    if stripped:
        begin = start + piece.index(stripped)
        spans.append((begin, begin + len(stripped)))
