"""Lines of a PDF to headings, list items and paragraphs, by their size and spacing."""

import itertools
import re
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence

from ragstone.ingest.parse.builder import DocumentBuilder
from ragstone.ingest.parse.normalize import one_line
from ragstone.ingest.parse.pdflines import WORD_GOES_ON, Line
from ragstone.ingest.parse.pdftables import Table, split_tables
from ragstone.ingest.parse.tables import add_table

_HEADING_RATIO = 1.15
_LONGEST_HEADING = 200
_DEEPEST = 6
_LARGE_GAP = 1.3
"""Of the usual distance between lines of a paragraph."""
_SAME_HEIGHT = 0.1
_HEADING_GAP = 1.6
"""Of its height: from one line of a heading to the next."""
_SHORT_LINE = 0.85
_BULLET = re.compile(r"^\s*(?:[•‣▪●○◦∙·]|[-–*](?=\s))\s*")
_NUMBERED = re.compile(r"^\s*(?:\d{1,3}|[a-z])[.)]\s")
_ENDS_SENTENCE = re.compile(r"[.!?:;][\"'”’)\]]*$")
_PAGE_NUMBER = re.compile(r"^\W*(?:\d{1,4}|[ivxl]{1,6})\W*$")
_LEADERS = re.compile(r"(?:\.\s?){5}")
"""The dots that lead to a page number in a table of contents."""
_LEAST_PAGES = 3
_REPEATED_ON = 0.6


def add_lines(builder: DocumentBuilder, pages: Sequence[Sequence[Line]]) -> None:
    """Append the blocks of all pages; a block never crosses a page."""
    pages = _without_running_lines(pages)
    lines = [line for page in pages for line in page]
    if not lines:
        return
    body = _body_height(lines)
    levels = _heading_levels(lines, body)
    for page in pages:
        pitch = _usual_pitch(page, body)
        for part in split_tables(page):
            if isinstance(part, Table):
                has_header = _names_columns(part.rows)
                add_table(builder, part.rows, has_header=has_header, page=part.page)
                continue
            for group in _groups(part, pitch, levels):
                _add_group(builder, group, levels)


def _add_group(builder: DocumentBuilder, group: Sequence[Line], levels: dict[float, int]) -> None:
    text = _joined(group)
    level = levels.get(_size(group[0]))
    page = group[0].page
    if level is not None and len(text) <= _LONGEST_HEADING and not _LEADERS.search(text):
        builder.add("heading", text, level=level, page=page)
    elif _BULLET.match(text):
        builder.add("list_item", "- " + _BULLET.sub("", text), page=page)
    elif _NUMBERED.match(text):
        builder.add("list_item", text, page=page)
    else:
        builder.add("paragraph", text, page=page)


def _names_columns(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row is words where a later one has numbers."""
    number = re.compile(r"\W*\d")
    if any(number.match(cell) for cell in rows[0]):
        return False
    return any(number.match(cell) for row in rows[1:] for cell in row)


def _joined(group: Sequence[Line]) -> str:
    """The lines as running text; a hyphen between two lower-case letters joins them."""
    text = one_line(group[0].text)
    for last, line in itertools.pairwise(group):
        following = one_line(line.text)
        if last.text.endswith(WORD_GOES_ON):
            text += following
        elif re.search(r"[a-zß-ÿ]-$", text) and following[:1].islower():
            text = text[:-1] + following
        else:
            text = f"{text} {following}"
    return text


def _size(line: Line) -> float:
    return round(line.height * 2) / 2


def _body_height(lines: Sequence[Line]) -> float:
    weights: Counter[float] = Counter()
    for line in lines:
        weights[_size(line)] += len(line.text)
    return weights.most_common(1)[0][0]


def _heading_levels(lines: Sequence[Line], body: float) -> dict[float, int]:
    """Sizes well above the body's, the largest as level 1."""
    sizes = {_size(line) for line in lines if any(map(str.isalpha, line.text))}
    larger = sorted((size for size in sizes if size >= body * _HEADING_RATIO), reverse=True)
    return {size: min(rank, _DEEPEST) for rank, size in enumerate(larger, start=1)}


def _usual_pitch(page: Sequence[Line], body: float) -> float:
    """The distance from one line of body text to the next."""
    distances = [
        upper.top - lower.top
        for upper, lower in itertools.pairwise(page)
        if _size(upper) == _size(lower) == body and 0 < upper.top - lower.top < 3 * body
    ]
    # The lower quartile: paragraphs of one line must not make their gap the usual one.
    return statistics.quantiles(distances, n=4)[0] if len(distances) > 1 else body * 1.2


def _groups(lines: Sequence[Line], pitch: float, levels: dict[float, int]) -> Iterator[list[Line]]:
    width = max((line.right for line in lines), default=0.0)
    group: list[Line] = []
    for line in lines:
        if group and _begins_block(group[-1], line, pitch, width, levels):
            yield group
            group = []
        group.append(line)
    if group:
        yield group


def _begins_block(
    last: Line, line: Line, pitch: float, width: float, levels: dict[float, int]
) -> bool:
    if abs(last.height - line.height) > _SAME_HEIGHT * max(last.height, line.height):
        return True
    if _BULLET.match(line.text) or _NUMBERED.match(line.text):
        return True
    drop = last.top - line.top
    if _size(line) in levels:
        return drop > _HEADING_GAP * line.height or drop < 0
    if drop < -line.height:
        # A new column: the paragraph goes on unless it had ended.
        return bool(_ENDS_SENTENCE.search(last.text.rstrip())) or not line.text[:1].islower()
    if last.text.endswith(WORD_GOES_ON):
        return False
    if drop > _LARGE_GAP * max(pitch, line.height * 0.9):
        return True
    ended = _ENDS_SENTENCE.search(last.text.rstrip()) is not None
    return ended and last.right < last.left + (width - last.left) * _SHORT_LINE


def _without_running_lines(pages: Sequence[Sequence[Line]]) -> list[list[Line]]:
    """Pages without the headers, footers and page numbers that most of them repeat."""
    filled = [page for page in pages if page]
    if len(filled) < _LEAST_PAGES:
        return [list(page) for page in pages]
    seen = Counter(key for page in filled for key in {_running_key(line) for line in _edges(page)})
    running = {key for key, pages_with in seen.items() if pages_with >= len(filled) * _REPEATED_ON}
    kept: list[list[Line]] = []
    for page in pages:
        dropped = {
            line
            for line in _edges(page)
            if _running_key(line) in running or _PAGE_NUMBER.match(line.text)
        }
        kept.append([line for line in page if line not in dropped])
    return kept


def _edges(page: Sequence[Line]) -> list[Line]:
    """The two uppermost and the two lowest lines."""
    by_height = sorted(page, key=lambda line: line.top)
    return [*by_height[:2], *by_height[-2:]]


def _running_key(line: Line) -> tuple[str, int]:
    return re.sub(r"\d+", "#", one_line(line.text)), round(line.top / 4)
