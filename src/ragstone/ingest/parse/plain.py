"""Plain text: paragraphs are what blank lines separate."""

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


def parse(name: str, content: bytes, limits: ParseLimits) -> Iterator[ParsedDocument]:
    """One document, titled after the file. Raises `Unreadable`."""
    builder = DocumentBuilder(name, limits)
    add_paragraphs(builder, decode_text(name, content))
    yield builder.build(name, choose_title(name), {})


def add_paragraphs(builder: DocumentBuilder, text: str) -> None:
    """Append the paragraphs of `text`; line breaks that only wrap one are undone."""
    for paragraph in _BLANK_LINES.split(clean(text)):
        builder.add("paragraph", unwrap(paragraph))
