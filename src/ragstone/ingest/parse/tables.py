"""Tables as blocks whose rows can each be understood alone."""

from collections.abc import Sequence

from ragstone.ingest.parse.builder import DocumentBuilder
from ragstone.ingest.parse.normalize import one_line


def add_table(
    builder: DocumentBuilder,
    rows: Sequence[Sequence[str]],
    *,
    has_header: bool,
    page: int | None = None,
) -> None:
    """Append a table; its first row is the header where `has_header`."""
    body = [[one_line(cell) for cell in row] for row in rows]
    columns: list[str] = []
    if has_header and body:
        columns = body.pop(0)
        builder.add("table_header", " | ".join(cell for cell in columns if cell), page=page)
    for row in body:
        builder.add("table_row", render_row(columns, row), page=page)


def render_row(columns: Sequence[str], cells: Sequence[str]) -> str:
    """`Size: M; Chest: 92`; without columns `M | 92`. Empty cells are left out."""
    if not any(columns):
        return " | ".join(cell for cell in cells if cell)
    named = []
    for position, cell in enumerate(cells):
        column = columns[position] if position < len(columns) else ""
        if cell:
            named.append(f"{column}: {cell}" if column else cell)
    return "; ".join(named)
