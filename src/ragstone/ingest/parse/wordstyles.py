"""What a Word paragraph is, from its own properties and the styles that it is based on."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from docx.oxml.ns import qn

Element = Any
"""An lxml element; lxml ships no types."""

_VAL = qn("w:val")
_LONGEST_HEADING = 300
_MOST_BASES = 10


class Role(NamedTuple):
    """`heading` is 0, or the level from 1; `marker` is None outside of lists."""

    heading: int = 0
    marker: str | None = None
    depth: int = 1


class ParagraphStyles:
    """Looks up styles and numbering, and counts the items of numbered lists."""

    def __init__(self, document: Any) -> None:
        self.title: str | None = None
        """The text of the first paragraph in the style "Title", once it has been met."""
        self._styles = {
            style.get(qn("w:styleId")): style
            for style in document.styles.element.iterchildren(qn("w:style"))
        }
        self._formats = _number_formats(document)
        self._counters: dict[tuple[str, int], int] = {}

    def role(self, paragraph: Element, text: str) -> Role:
        """What `paragraph` is. To be called once for each, in order: list items are counted."""
        layers = list(self._layers(paragraph))
        if (level := self._heading_level(paragraph, layers)) and len(text) <= _LONGEST_HEADING:
            if self._style_name(paragraph) == "title":
                self.title = self.title or text
            return Role(heading=level)
        number = _first(layers, f"{qn('w:numPr')}/{qn('w:numId')}")
        if number is not None and number != "0":
            level_text = _first(layers, f"{qn('w:numPr')}/{qn('w:ilvl')}") or "0"
            depth = min(int(level_text), 8) if level_text.isdecimal() else 0
            return Role(marker=self._marker(number, depth), depth=depth + 1)
        if self._style_name(paragraph).startswith("list bullet"):
            return Role(marker="- ")
        return Role()

    def _layers(self, paragraph: Element) -> Iterator[Element]:
        """Paragraph properties: its own, its style's, and those of the styles below."""
        own = paragraph.find(qn("w:pPr"))
        if own is not None:
            yield own
        style = self._styles.get(_first([own], qn("w:pStyle")) if own is not None else None)
        for _ in range(_MOST_BASES):
            if style is None:
                return
            properties = style.find(qn("w:pPr"))
            if properties is not None:
                yield properties
            style = self._styles.get(_first([style], qn("w:basedOn")))

    def _style_name(self, paragraph: Element) -> str:
        own = paragraph.find(qn("w:pPr"))
        style = self._styles.get(_first([own], qn("w:pStyle"))) if own is not None else None
        return (_first([style], qn("w:name")) or "").lower() if style is not None else ""

    def _heading_level(self, paragraph: Element, layers: list[Element]) -> int:
        name = self._style_name(paragraph)
        if name == "title":
            return 1
        if name.startswith("heading ") and name[8:].isdecimal():
            return int(name[8:])
        outline = _first(layers, qn("w:outlineLvl"))
        # 9 stands for body text.
        if outline is not None and outline.isdecimal() and int(outline) < 9:
            return int(outline) + 1
        return 0

    def _marker(self, number: str, depth: int) -> str:
        kind = self._formats.get((number, depth), "bullet")
        if kind in ("bullet", "none"):
            return "- "
        for deeper in range(depth + 1, 9):
            self._counters.pop((number, deeper), None)
        count = self._counters[(number, depth)] = self._counters.get((number, depth), 0) + 1
        return f"{count}. "


def _number_formats(document: Any) -> dict[tuple[str, int], str]:
    """(list id, level) to "bullet", "decimal" and the like."""
    try:
        root = document.part.numbering_part.element
    except (KeyError, NotImplementedError):
        return {}  # A document without lists has no such part.
    abstract = {
        element.get(qn("w:abstractNumId")): element
        for element in root.iterchildren(qn("w:abstractNum"))
    }
    formats: dict[tuple[str, int], str] = {}
    for number in root.iterchildren(qn("w:num")):
        definition = abstract.get(_first([number], qn("w:abstractNumId")))
        if definition is None:
            continue
        for level in definition.iterchildren(qn("w:lvl")):
            position = level.get(qn("w:ilvl")) or "0"
            if position.isdecimal():
                key = (number.get(qn("w:numId")), int(position))
                formats[key] = _first([level], qn("w:numFmt")) or "bullet"
    return formats


def _first(layers: list[Element], path: str) -> str | None:
    """The `w:val` of the first layer that has an element at `path`."""
    for layer in layers:
        found = layer.find(path)
        if found is not None:
            value: str | None = found.get(_VAL)
            return value
    return None
