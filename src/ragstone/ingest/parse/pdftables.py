"""Tables among the lines of a PDF page.

A PDF knows no tables, only words at places. Two lines with wide gaps at the same places begin
one; its columns stand where the cells of the first line do. From there, programs write cell by
cell: a line that starts in a later column than the last goes on with the row, one in the same
column goes on with the cell, and one further left begins the next row.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ragstone.ingest.parse.pdflines import Line, Word

_GAP = 1.5
"""Of a line's height, as all below: wider than any space in justified text."""
_COLUMN_GAP = 0.4
_ALIGNED = 0.5
_SAME_COLUMN = 0.15
_SAME_HEIGHT = 0.1
_FARTHEST_ROW = 3.0
_WRAPPED_CELL = 6.0
"""How far up the next column's first line may stand from the last line of a cell."""


class Table(NamedTuple):
    """At least two rows, each with a text for every column."""

    page: int
    rows: list[list[str]]


class _Cell(NamedTuple):
    words: tuple[Word, ...]

    @property
    def left(self) -> float:
        return self.words[0].left

    @property
    def right(self) -> float:
        return self.words[-1].right

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)


def split_tables(lines: Sequence[Line]) -> Iterator[Table | list[Line]]:
    """The lines of a page in order: runs of running text, and tables."""
    running: list[Line] = []
    position = 0
    while position < len(lines):
        table, used = _table_at(lines, position)
        if table is None:
            running.append(lines[position])
            position += 1
            continue
        if running:
            yield running
            running = []
        yield table
        position += used
    if running:
        yield running


def _table_at(lines: Sequence[Line], position: int) -> tuple[Table | None, int]:
    """The table that begins at `position`, and how many lines it takes."""
    first = lines[position]
    columns = _cut_at_gaps(first)
    if len(columns) < 2:
        return None, 0
    builder = _TableBuilder(len(columns))
    builder.add(dict(enumerate(columns)))
    for last, line in zip(lines[position:], lines[position + 1 :], strict=False):
        cells = _placed(line, columns) if _is_near(last, line) else None
        if cells is None or (line.top > last.top and 0 in cells):
            break
        builder.add(cells)
    rows, used = builder.finished()
    if len(rows) < 2:
        return None, 0
    return Table(first.page, rows), used


def _is_near(last: Line, line: Line) -> bool:
    drop = last.top - line.top
    return (
        abs(last.height - line.height) < _SAME_HEIGHT * line.height
        and -_WRAPPED_CELL * line.height < drop < _FARTHEST_ROW * line.height
    )


class _TableBuilder:
    """Puts rows together from the cells of one line after the other."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._last_column = width
        self._rows: list[list[str]] = []
        self._lines: list[int] = []

    def add(self, cells: dict[int, _Cell]) -> None:
        """The cells of the next line, by column."""
        if len(cells) == self._width or min(cells) < self._last_column:
            self._rows.append([""] * self._width)
            self._lines.append(0)
        for column, cell in cells.items():
            text = self._rows[-1][column]
            self._rows[-1][column] = f"{text} {cell.text}" if text else cell.text
        self._lines[-1] += 1
        self._last_column = max(cells)

    def finished(self) -> tuple[list[list[str]], int]:
        """The rows, and how many lines they are made of.

        Rows of a single cell at the end are what comes after the table.
        """
        end = len(self._rows)
        while end and sum(map(bool, self._rows[end - 1])) < 2:
            end -= 1
        return self._rows[:end], sum(self._lines[:end])


def _placed(line: Line, columns: Sequence[_Cell]) -> dict[int, _Cell] | None:
    """The line's cells by column; None where they do not stand below the columns."""
    cells = _cut_at_gaps(line)
    if len(cells) < len(columns):
        cells = [part for cell in cells for part in _cut_at_columns(cell, columns, line.height)]
    if len(cells) == len(columns):
        return dict(enumerate(cells))
    placed: dict[int, _Cell] = {}
    for cell in cells:
        column = min(range(len(columns)), key=lambda index: _distance(cell, columns[index]))
        following = columns[column + 1].left if column + 1 < len(columns) else float("inf")
        if (
            column in placed
            or _distance(cell, columns[column]) > _ALIGNED * line.height
            or cell.right > following
        ):
            return None
        placed[column] = cell
    return placed or None


def _distance(cell: _Cell, column: _Cell) -> float:
    """Columns are flush left or flush right."""
    return min(abs(cell.left - column.left), abs(cell.right - column.right))


def _cut_at_gaps(line: Line) -> list[_Cell]:
    cells: list[list[Word]] = []
    for word in line.words:
        if cells and word.left - cells[-1][-1].right <= _GAP * line.height:
            cells[-1].append(word)
        else:
            cells.append([word])
    return [_Cell(tuple(words)) for words in cells]


def _cut_at_columns(cell: _Cell, columns: Sequence[_Cell], height: float) -> Iterator[_Cell]:
    """Cut where a word begins a column after a gap that is more than a space."""
    words: list[Word] = []
    for word in cell.words:
        if (
            words
            and word.left - words[-1].right > _COLUMN_GAP * height
            and any(abs(word.left - column.left) < _SAME_COLUMN * height for column in columns)
        ):
            yield _Cell(tuple(words))
            words = []
        words.append(word)
    yield _Cell(tuple(words))
