"""Which formats are read, by the ending of a name or else by the first bytes."""

import re
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Final, NamedTuple

from ragstone.domain.document import ParsedDocument
from ragstone.domain.errors import UndecodableText, UnsupportedFormat
from ragstone.domain.job import DocumentError
from ragstone.ingest.parse.decode import decode_text
from ragstone.ingest.parse.limits import ParseLimits

ParseFormat = Callable[[str, bytes, ParseLimits], Iterator[ParsedDocument | DocumentError]]
"""(name, content, limits) to documents. Raises `Unreadable`."""


class Format(NamedTuple):
    """A format, and how its parser is loaded: only once a file needs it."""

    name: str
    endings: tuple[str, ...]
    load: Callable[[], ParseFormat]


def _markdown() -> ParseFormat:
    from ragstone.ingest.parse import markdown

    return markdown.parse


def _plain() -> ParseFormat:
    from ragstone.ingest.parse import plain

    return plain.parse


def _html() -> ParseFormat:
    from ragstone.ingest.parse import html

    return html.parse


def _pdf() -> ParseFormat:
    from ragstone.ingest.parse import pdf

    return pdf.parse


def _docx() -> ParseFormat:
    from ragstone.ingest.parse import docx

    return docx.parse


def _tabular() -> ParseFormat:
    from ragstone.ingest.parse import tabular

    return tabular.parse


def _json() -> ParseFormat:
    from ragstone.ingest.parse import records

    return records.parse_json


def _json_lines() -> ParseFormat:
    from ragstone.ingest.parse import records

    return records.parse_json_lines


MARKDOWN = Format("Markdown", ("md", "markdown", "mdown", "mkd"), _markdown)
PLAIN = Format("text", ("txt", "text", "log", "rst"), _plain)
HTML = Format("HTML", ("html", "htm", "xhtml"), _html)
PDF = Format("PDF", ("pdf",), _pdf)
DOCX = Format("DOCX", ("docx", "docm"), _docx)
TABULAR = Format("CSV", ("csv", "tsv", "tab"), _tabular)
JSON = Format("JSON", ("json",), _json)
JSON_LINES = Format("JSONL", ("jsonl", "ndjson"), _json_lines)

FORMATS: Final = (MARKDOWN, PLAIN, HTML, PDF, DOCX, TABULAR, JSON, JSON_LINES)

_BY_ENDING = {ending: known for known in FORMATS for ending in known.endings}

ENDINGS: Final = frozenset(_BY_ENDING)
"""Endings without the dot, lower case; each also with `.gz` behind it."""

_GZIP = b"\x1f\x8b"
_SNIFFED_BYTES = 4096
_HTML_START = re.compile(
    rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype html|html)\b", re.I | re.S
)
_JSON_START = re.compile(rb"\s*[\[{]\s*(?:[\"\[{\]}]|-?\d)")
_BINARY_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"PK\x05\x06", b"Rar!", b"7z\xbc\xaf")
_TEXT_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
_OTHER_DOCUMENTS = {
    "doc": "Save it as DOCX.",
    "odt": "Save it as DOCX or PDF.",
    "rtf": "Save it as DOCX.",
    "xls": "Save each sheet as CSV.",
    "xlsx": "Save each sheet as CSV.",
    "ods": "Save each sheet as CSV.",
    "ppt": "Save it as PDF.",
    "pptx": "Save it as PDF.",
    "epub": "Convert it to HTML or PDF.",
}


def is_gzip(content: bytes) -> bool:
    return content.startswith(_GZIP)


def inner_name(name: str) -> str:
    """The name without `.gz`."""
    return name[:-3] if name.lower().endswith(".gz") else name


def detect_format(name: str, content: bytes) -> Format:
    """The format that the name's ending says, or else the content.

    Raises `UnsupportedFormat` naming the formats that are read.
    """
    ending = PurePosixPath(name).suffix.lstrip(".").lower()
    if (known := _BY_ENDING.get(ending)) is not None:
        return known
    if ending in _OTHER_DOCUMENTS:
        raise unsupported(name, f".{ending} files are not read.", _OTHER_DOCUMENTS[ending])
    return _sniff(name, content)


def unsupported(name: str, problem: str, remedy: str = "") -> UnsupportedFormat:
    formats = ", ".join(known.name for known in FORMATS)
    return UnsupportedFormat(
        f"{name} cannot be read: {problem}",
        remedy=f"{remedy} Formats that are read: {formats}.".strip(),
    )


def _sniff(name: str, content: bytes) -> Format:
    start = content[:_SNIFFED_BYTES]
    if start.lstrip().startswith(b"%PDF"):
        return PDF
    if start.startswith(b"PK\x03\x04"):
        # A zip archive's directory, with all names, stands at its end.
        if b"word/document.xml" in content:
            return DOCX
        raise unsupported(name, "it is a zip archive.", "Unpack it.")
    if _HTML_START.match(start):
        return HTML
    if _JSON_START.match(start):
        return _one_or_many(content)
    if start.startswith(_BINARY_STARTS) or not _is_text(name, content):
        raise unsupported(name, "it is a binary file of an unknown format.")
    return PLAIN


def _is_text(name: str, content: bytes) -> bool:
    if not content.startswith(_TEXT_MARKS):
        return b"\0" not in content
    try:
        decode_text(name, content)
    except UndecodableText:
        return False
    return True


def _one_or_many(content: bytes) -> Format:
    """JSON Lines if the first line is a whole object and another follows."""
    first, _, rest = content.strip().partition(b"\n")
    whole = first.startswith(b"{") and first.rstrip().endswith(b"}")
    return JSON_LINES if whole and rest.lstrip().startswith(b"{") else JSON
