"""A passage's text to the pieces that an extract may quote: sentences, list items, rows.

Headings and table headers are found too. They are not quoted: they say what the pieces
below them are about.
"""

import re
import string
from collections.abc import Collection, Iterator
from typing import Final, Literal, NamedTuple

UnitKind = Literal["sentence", "item", "row", "heading"]

_SENTENCE_END: Final = re.compile(
    r"[.!?…。！？](?:(?<=[。！？])\s*|[\"'”’)\]]*\s+(?=[\"'“‘(\[]?[A-Z0-9À-ÞА-Я]))"
)
"""One set of signs comes first: a choice between two is tried at every letter."""
_SENTENCE_END_WITHOUT_CAPITALS: Final = re.compile(r"[.!?…][\"'”’)\]]*\s+(?=\S)")
_ABBREVIATION: Final = re.compile(
    r"(?:\b(?:[A-Za-z]|Mr|Mrs|Ms|Dr|Prof|St|Nos?|Nr|vs|cf|etc|approx|ca|incl|excl|max|min|Figs?"
    r"|Eq|Sec|Vol|pp|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|Mon|Tue|Wed|Thu|Fri|Sat|Sun"
    r"|Inc|Ltd|Corp|Co|al|e\.g|i\.e|a\.m|p\.m|U\.S|z\.B|bzw|Tel|tel|no|hrs?))\.$",
)
_BULLET: Final = re.compile(r"(?:[-*•◦▪–]|\(?\d{1,3}[.)]|\(?[a-z][.)])\s+")
_FIELD: Final = re.compile(r"[^\s:;|][^:;|\n]{0,60}: \S")
_RECORD: Final = re.compile(r"([^\s:]*\[\d+\])\.")
_LEANS_BACK: Final = re.compile(
    r"(?:This|That|These|Those|It|Its|They|Their|He|She|His|Her|Such|There|Then|Otherwise|However"
    r"|But|And|So|Instead|In (?:this|that|such)|For (?:this|that))\b(?! is no\b)"
)
_MAX_HEADING_CHARS: Final = 90
_MAX_HEADING_WORDS: Final = 12
_MIN_WRAPPED_CHARS: Final = 40
_A_TO_Z: Final = string.ascii_uppercase.encode()
_FEW_CAPITALS: Final = 0.005


class Unit(NamedTuple):
    """A piece of a passage, by half-open offsets into the passage's text."""

    start: int
    end: int
    kind: UnitKind
    context: tuple[int, ...]
    """Positions in the list of units: the heading, table header or lead-in above it."""


class _Line(NamedTuple):
    start: int
    end: int
    blank_before: bool
    blank_after: bool


def split_units(text: str, headings: Collection[str] = ()) -> list[Unit]:
    """The units of `text` in order; `headings` are lines known to be headings.

    A text of nothing but short lines is taken as sentences: something must be quotable.
    """
    lines = list(_joined(text, _lines(text)))
    known = {heading.casefold().strip() for heading in headings}
    units: list[Unit] = []
    lower = _is_without_capitals(text)
    heading: tuple[int, ...] = ()
    lead: tuple[int, ...] = ()
    for position, line in enumerate(lines):
        following = lines[position + 1] if position + 1 < len(lines) else None
        kind = _kind(text, line, following, known)
        if kind == "heading":
            is_header = following is not None and not line.blank_after and " | " in _of(text, line)
            context = heading if is_header else ()
            units.append(Unit(line.start, line.end, "heading", context))
            heading, lead = (*context, len(units) - 1), ()
            continue
        if kind == "sentence" or line.blank_before:
            lead = ()
        spans = _sentences(text, line, lower) if kind != "row" else [(line.start, line.end)]
        for start, end in spans:
            units.append(Unit(start, end, kind, heading + lead))
        if text[spans[-1][1] - 1] == ":":
            lead = (len(units) - 1,)
    if units and all(unit.kind == "heading" for unit in units):
        return [unit._replace(kind="sentence", context=()) for unit in units]
    return units


def leans_back(text: str, unit: Unit) -> bool:
    """Whether it begins with a word that points to the sentence before."""
    return _LEANS_BACK.match(text, unit.start, unit.end) is not None


def _of(text: str, line: _Line) -> str:
    return text[line.start : line.end]


def _lines(text: str) -> Iterator[_Line]:
    """Lines that are not blank, without the white space around them."""
    found = [
        (
            match.start() + len(match[0]) - len(match[0].lstrip()),
            match.start() + len(match[0].rstrip()),
        )
        for match in re.finditer(r"[^\n]*\S[^\n]*", text)
    ]
    for position, (start, end) in enumerate(found):
        before = position == 0 or "\n\n" in _gap(text, found[position - 1][1], start)
        after = position + 1 == len(found) or "\n\n" in _gap(text, end, found[position + 1][0])
        yield _Line(start, end, before, after)


def _gap(text: str, start: int, end: int) -> str:
    return re.sub(r"[^\n]", "", text[start:end])


def _joined(text: str, lines: Iterator[_Line]) -> Iterator[_Line]:
    """Lines that an editor has wrapped, and the fields of one record, as one."""
    current: _Line | None = None
    for line in lines:
        if current is not None and not line.blank_before and _belongs(text, current, line):
            current = _Line(current.start, line.end, current.blank_before, line.blank_after)
            continue
        if current is not None:
            yield current
        current = line
    if current is not None:
        yield current


def _belongs(text: str, before: _Line, line: _Line) -> bool:
    last = text[before.start : before.end].rsplit("\n", 1)[-1].strip()
    this = _of(text, line)
    record, same = _RECORD.match(this), _RECORD.match(last)
    if record or same:
        return bool(record and same and record[1] == same[1])
    return (
        len(last) >= _MIN_WRAPPED_CHARS
        and last[-1] not in ".!?:;…"
        and " | " not in last
        and this[0].islower()
        and not _BULLET.match(this)
        and not _FIELD.match(this)
        and not _FIELD.match(last)
    )


def _kind(text: str, line: _Line, following: _Line | None, known: Collection[str]) -> UnitKind:
    words = _of(text, line)
    if _BULLET.match(words):
        return "item"
    if words.casefold() in known:
        return "heading"
    if " | " in words:
        first = words.split(" | ", 1)[0].strip()
        is_header = following is not None and _of(text, following).startswith(f"{first}: ")
        return "heading" if is_header else "row"
    if (_FIELD.match(words) and words[-1] not in ".!?") or _RECORD.match(words):
        return "row"
    if following is not None and _looks_like_heading(words, line):
        return "heading"
    return "sentence"


def _looks_like_heading(words: str, line: _Line) -> bool:
    return (
        line.blank_before
        and line.blank_after
        and len(words) <= _MAX_HEADING_CHARS
        and words[-1] not in ".!:;,"
        and words.count(" ") < _MAX_HEADING_WORDS
    )


def _sentences(text: str, line: _Line, lower: bool) -> list[tuple[int, int]]:
    bullet = _BULLET.match(text, line.start, line.end)
    start = bullet.end() if bullet else line.start
    ends = _SENTENCE_END_WITHOUT_CAPITALS if lower else _SENTENCE_END
    spans: list[tuple[int, int]] = []
    for match in ends.finditer(text, start, line.end):
        end = match.start() + len(match[0].rstrip())
        if _ABBREVIATION.search(text, max(start, end - 12), end):
            continue
        spans.append((start, end))
        start = match.end()
    if start < line.end:
        spans.append((start, line.end))
    return spans


def _is_without_capitals(text: str) -> bool:
    capitals = _capitals(text)
    if capitals > len(text) * _FEW_CAPITALS:
        return False  # the common case, without counting letters
    return capitals <= sum(map(str.isalpha, text)) * _FEW_CAPITALS


def _capitals(text: str) -> int:
    """How many; a letter at a time only where there are others than A to Z, since it takes 20 us
    a passage."""
    if text.isascii():
        return len(text) - len(text.encode().translate(None, _A_TO_Z))
    return sum(map(str.isupper, text))
