"""Plain text: paragraphs are what blank lines separate.

A heading is a line in capitals, or one underlined with `===` or `---`, at the start of a
paragraph; a short first line alone, with no stop at its end, is the title.
"""

import re
from collections.abc import Iterator

from ragstone.domain.document import ParsedDocument
from ragstone.ingest.parse.builder import DocumentBuilder
from ragstone.ingest.parse.decode import decode_text
from ragstone.ingest.parse.limits import ParseLimits
from ragstone.ingest.parse.normalize import clean
from ragstone.ingest.parse.titles import choose_title
from ragstone.ingest.parse.wrapping import unwrap

_BLANK_LINES = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")


_UNDERLINE = re.compile(r"(?:={3,}|-{3,})$")
_LONGEST_HEADING = 80


def parse(name: str, content: bytes, limits: ParseLimits) -> Iterator[ParsedDocument]:
    """One document; title from its first line if that is one. Raises `Unreadable`."""
    builder = DocumentBuilder(name, limits)
    paragraphs = _paragraphs(decode_text(name, content))
    for position, paragraph in enumerate(paragraphs):
        level, heading, rest = _split_heading(paragraph)
        if position == 0 and len(paragraphs) > 1 and not heading and _could_be_title(paragraph):
            heading, rest = paragraph, ""
        builder.add("heading", heading, level=1 if position == 0 else level)
        builder.add("paragraph", unwrap(rest if heading else paragraph))
    yield builder.build(name, choose_title(name, builder.first_heading), {})


def add_paragraphs(builder: DocumentBuilder, text: str) -> None:
    """Append the paragraphs of `text`; line breaks that only wrap one are undone."""
    for paragraph in _paragraphs(text):
        builder.add("paragraph", unwrap(paragraph))


def _paragraphs(text: str) -> list[str]:
    return [part for part in _BLANK_LINES.split(clean(text)) if part.strip()]


def _split_heading(paragraph: str) -> tuple[int, str, str]:
    """(level, heading, what follows it); no heading: level 0 and two empty texts."""
    first, _, rest = paragraph.strip("\n").partition("\n")
    line = first.strip()
    if not 0 < len(line) <= _LONGEST_HEADING:
        return 0, "", ""
    underline, _, after = rest.partition("\n")
    if _UNDERLINE.fullmatch(underline.strip()):
        return (1 if underline.lstrip().startswith("=") else 2), line, after
    letters = [character for character in line if character.isalpha()]
    if len(letters) > 3 and line.isupper() and not line.endswith((".", ",", ";")):
        return 2, line, rest
    return 0, "", ""


def _could_be_title(paragraph: str) -> bool:
    line = paragraph.strip()
    ends = (".", ",", ";", ":", "!", "?")
    return "\n" not in line and len(line) <= _LONGEST_HEADING and not line.endswith(ends)
