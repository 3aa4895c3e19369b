"""CSV and TSV: one document, each row a block that names its columns."""

import csv
import io
from collections.abc import Iterator

from ragstone.domain.document import ParsedDocument
from ragstone.domain.errors import DamagedDocument, EmptyDocument
from ragstone.ingest.parse.builder import DocumentBuilder
from ragstone.ingest.parse.decode import decode_text
from ragstone.ingest.parse.limits import ParseLimits
from ragstone.ingest.parse.normalize import clean, one_line
from ragstone.ingest.parse.tables import render_row
from ragstone.ingest.parse.titles import choose_title

_DELIMITERS = ",;\t|"
_SAMPLE_ROWS = 20

# The limit is one for the whole process. A field may be as long as its whole file, whose own
# limit is checked elsewhere; so it is set once, and never lowered for others who read CSV.
csv.field_size_limit(max(csv.field_size_limit(), 2**31 - 1))


def parse(name: str, content: bytes, limits: ParseLimits) -> Iterator[ParsedDocument]:
    """One document; the first row that is not blank names the columns. Raises `Unreadable`."""
    text = clean(decode_text(name, content))
    rows = _rows(name, text, _sniff(text))
    columns = next(rows, [])
    builder = DocumentBuilder(name, limits)
    for row in rows:
        builder.add("table_row", render_row(columns, row))
    if builder.length == 0:
        raise EmptyDocument(
            f"{name} has no rows below its header.",
            remedy="Give it a first row with column names, and rows of values.",
        )
    yield builder.build(name, choose_title(name), {})


def _rows(name: str, text: str, delimiter: str) -> Iterator[list[str]]:
    """Rows that are not blank, each cell on one line. Raises `DamagedDocument`."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        first_line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DamagedDocument(
                f"{name}: the row that begins in line {first_line} has wrong quoting ({error}).",
                remedy='Close each quoted field, and write a quote inside of one as "".',
            ) from None
        cells = [one_line(cell) for cell in row]
        if any(cells):
            yield cells


def _sniff(text: str) -> str:
    """The delimiter that cuts the first rows into the most columns, the same number in each."""
    best, best_score = ",", (0.0, 0)
    for delimiter in _DELIMITERS:
        if delimiter in text:
            score = _score(text, delimiter)
            if score > best_score:
                best, best_score = delimiter, score
    return best


def _score(text: str, delimiter: str) -> tuple[float, int]:
    """(share of the sampled rows that are as wide as the first, that width)."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    widths: list[int] = []
    try:
        for row in reader:
            if row:
                widths.append(len(row))
            if len(widths) == _SAMPLE_ROWS:
                break
    except csv.Error:
        return (0.0, 0)
    if not widths or widths[0] < 2:
        return (0.0, 0)
    return (sum(width == widths[0] for width in widths) / len(widths), widths[0])
