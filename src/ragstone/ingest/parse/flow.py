"""A tree of HTML elements, or of trafilatura's, to blocks."""

from collections.abc import Iterator
from typing import Any

from ragstone.ingest.parse.builder import DocumentBuilder
from ragstone.ingest.parse.tables import add_table

Element = Any
"""An lxml element; lxml ships no types."""

_HEADINGS = {"h1": 1, "h2": 2, "h3": 3, "h4": 4, "h5": 5, "h6": 6}
_LISTS = frozenset({"ul", "ol", "dl", "menu", "list"})
_ITEMS = frozenset({"li", "dt", "dd", "item"})
_ROWS = frozenset({"tr", "row"})
_CELLS = frozenset({"td", "th", "cell"})
_BREAKS = frozenset({"br", "lb", "hr"})
_BLOCKS = frozenset(
    "p div section article main body html header footer aside nav address blockquote quote "
    "figure figcaption details summary fieldset form center ab caption legend".split()
)


class Flow:
    """Walks elements in reading order and adds what it finds to `builder`."""

    def __init__(self, builder: DocumentBuilder) -> None:
        self._builder = builder
        self._pending: list[str] = []
        self._depth = 0

    def walk(self, element: Element) -> None:
        """Add everything inside of `element`, as blocks."""
        self._content(element)
        self._flush()

    def _content(self, element: Element) -> None:
        self._text(element.text)
        for child in element:
            if isinstance(child.tag, str):
                self._child(child)
            self._text(child.tail)

    def _child(self, child: Element) -> None:
        tag = child.tag
        if (level := heading_level(child)) is not None:
            self._flush()
            self._builder.add("heading", inline_text(child), level=level)
        elif tag in _LISTS:
            self._list(child)
        elif tag == "table":
            self._table(child)
        elif tag == "pre" or (tag == "code" and "\n" in "".join(child.itertext()).strip()):
            self._flush()
            self._builder.add("code", "".join(child.itertext()))
        elif tag in _BREAKS:
            self._pending.append("\n")
        elif tag == "img" or tag == "graphic":
            self._text(child.get("alt"))
        elif tag in _BLOCKS or tag in _ITEMS or tag in _CELLS:
            self._flush()
            self._content(child)
            self._flush()
        else:
            self._content(child)

    def _list(self, element: Element) -> None:
        self._flush()
        self._depth += 1
        ordered = element.tag == "ol" or element.get("rend") == "ol"
        number = _start(element)
        for child in element:
            if not isinstance(child.tag, str):
                continue
            if child.tag in _ITEMS:
                self._builder.begin_item(_marker(child, number if ordered else None), self._depth)
                number += 1
            self._content(child)
            self._flush()
            self._builder.end_item()
        self._depth -= 1

    def _table(self, element: Element) -> None:
        self._flush()
        rows = list(_own_rows(element))
        if _is_layout(element, rows):
            self._content(element)
            self._flush()
            return
        for caption in element.iterchildren("caption"):
            self._builder.add("paragraph", inline_text(caption))
        first_is_header = bool(rows) and _is_header(rows[0])
        cells = [[inline_text(cell) for cell in row if cell.tag in _CELLS] for row in rows]
        add_table(self._builder, cells, has_header=first_is_header)

    def _text(self, text: str | None) -> None:
        if text:
            self._pending.append(" ".join(f"|{text}|".split())[1:-1])

    def _flush(self) -> None:
        text = "".join(self._pending)
        self._pending.clear()
        self._builder.add("paragraph", text)


def heading_level(element: Element) -> int | None:
    """1 to 6, or None for what is no heading."""
    if element.tag == "head":  # trafilatura's; an HTML page's own was removed before.
        return _HEADINGS.get(element.get("rend") or "h2", 2)
    return _HEADINGS.get(element.tag)


def inline_text(element: Element) -> str:
    """All text inside, with breaks and blocks kept apart by a space."""
    parts = [element.text or ""]
    for child in element:
        if isinstance(child.tag, str):
            apart = child.tag in _BREAKS or child.tag in _BLOCKS or child.tag in _ITEMS
            parts += (" " if apart else "", child.get("alt") or "", inline_text(child))
            parts.append(" " if apart else "")
        parts.append(child.tail or "")
    return "".join(parts)


def _marker(item: Element, number: int | None) -> str:
    if item.tag in ("dt", "dd") or (item.get("rend") or "").startswith(("dt", "dd")):
        return ""
    return "- " if number is None else f"{number}. "


def _start(element: Element) -> int:
    start = element.get("start") or ""
    return int(start) if start.isascii() and start.isdigit() and len(start) < 9 else 1


def _own_rows(table: Element) -> Iterator[Element]:
    for child in table:
        if child.tag in _ROWS:
            yield child
        elif child.tag in ("thead", "tbody", "tfoot"):
            yield from child.iterchildren("tr")


def _is_layout(table: Element, rows: list[Element]) -> bool:
    """A table that only places things: one column, or tables, lists and headings in cells."""
    if table.get("role") in ("presentation", "none"):
        return True
    if next(table.iterdescendants("table", *_HEADINGS), None) is not None:
        return True
    return max((len(row) for row in rows), default=0) < 2


def _is_header(row: Element) -> bool:
    cells = [cell for cell in row if cell.tag in _CELLS]
    if row.getparent().tag == "thead":
        return True
    return all(cell.tag == "th" or cell.get("role") == "head" for cell in cells)
