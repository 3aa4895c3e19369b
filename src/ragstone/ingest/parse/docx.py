"""DOCX: headings, paragraphs, lists and tables in the order of the document's body.

The body is walked as XML, since python-docx passes over text inside of tracked insertions and
content controls.
"""

import io
import zipfile
from collections.abc import Iterator
from typing import Any

import docx
from docx.oxml.ns import qn

from ragstone.domain.document import ParsedDocument
from ragstone.domain.errors import DamagedDocument, EncryptedDocument, UnsupportedFormat
from ragstone.ingest.parse.archive import check_zip
from ragstone.ingest.parse.builder import DocumentBuilder
from ragstone.ingest.parse.limits import ParseLimits
from ragstone.ingest.parse.metadata import flatten
from ragstone.ingest.parse.tables import add_table
from ragstone.ingest.parse.titles import choose_title
from ragstone.ingest.parse.wordstyles import ParagraphStyles

Element = Any
"""An lxml element; lxml ships no types."""

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED_STREAM = "EncryptedPackage".encode("utf-16-le")
_WIDEST_SPAN = 100

_P, _TBL, _TR, _TC = qn("w:p"), qn("w:tbl"), qn("w:tr"), qn("w:tc")
_TEXT_RUNS = (qn("w:t"), qn("m:t"))
_TEXT = {qn("w:tab"): "\t", qn("w:br"): "\n", qn("w:cr"): "\n", qn("w:noBreakHyphen"): "-"}
_SKIPPED = frozenset(
    qn(tag)
    for tag in ("w:del", "w:moveFrom", "w:pPr", "w:rPr", "w:instrText", "w:delText", "w:sdtPr")
) | {"{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"}


def parse(name: str, content: bytes, limits: ParseLimits) -> Iterator[ParsedDocument]:
    """One document; title from its properties, else its first heading. Raises `Unreadable`."""
    if content.startswith(_OLE):
        raise _ole_error(name, content)
    if "word/document.xml" not in check_zip(name, content, limits):
        raise DamagedDocument(
            f"{name} is not a Word document.", remedy="Save it as DOCX in a word processor."
        )
    document = _open(name, content)
    builder = DocumentBuilder(name, limits)
    styles = ParagraphStyles(document)
    _Body(builder, styles).walk(document.element.body)
    properties = document.core_properties
    title = choose_title(name, properties.title, styles.title, builder.first_heading)
    fields: dict[object, object] = {"author": properties.author, "subject": properties.subject}
    fields["keywords"] = properties.keywords
    yield builder.build(name, title, flatten({k: v for k, v in fields.items() if v}))


def _open(name: str, content: bytes) -> Any:
    try:
        return docx.Document(io.BytesIO(content))
    except MemoryError:
        raise
    except (zipfile.BadZipFile, RuntimeError) as error:
        if "password" in str(error) or "encrypted" in str(error):
            raise _encrypted(name) from None
        raise _damaged(name) from None
    except Exception as error:
        # python-docx lets the errors of every layer below it through.
        raise _damaged(name) from error


def _ole_error(name: str, content: bytes) -> Exception:
    if _ENCRYPTED_STREAM in content:
        return _encrypted(name)
    return UnsupportedFormat(
        f"{name} is in the binary Word format of before 2007.", remedy="Save it as DOCX."
    )


def _encrypted(name: str) -> EncryptedDocument:
    return EncryptedDocument(
        f"{name} is protected by a password.", remedy="Save a copy without the password."
    )


def _damaged(name: str) -> DamagedDocument:
    return DamagedDocument(
        f"{name} is a damaged Word document.",
        remedy="Open it in a word processor, which may repair it, and save it again.",
    )


class _Body:
    """Walks block elements, through content controls and other wrappers."""

    def __init__(self, builder: DocumentBuilder, styles: ParagraphStyles) -> None:
        self._builder = builder
        self._styles = styles

    def walk(self, parent: Element) -> None:
        for element in parent:
            if element.tag == _P:
                self._paragraph(element)
            elif element.tag == _TBL:
                rows = [list(_cells(row)) for row in element.iterchildren(_TR)]
                add_table(self._builder, rows, has_header=len(rows) > 1 and len(rows[0]) > 1)
            elif isinstance(element.tag, str) and element.tag not in _SKIPPED:
                self.walk(element)

    def _paragraph(self, element: Element) -> None:
        text = paragraph_text(element)
        if not text.strip():
            return
        role = self._styles.role(element, text)
        if role.heading:
            self._builder.add("heading", text, level=role.heading)
        elif role.marker is not None:
            self._builder.begin_item(role.marker, role.depth)
            self._builder.add("paragraph", text)
            self._builder.end_item()
        else:
            self._builder.add("paragraph", text)


def paragraph_text(element: Element) -> str:
    """The visible text: tracked insertions and links are in, deletions and hidden text out."""
    parts: list[str] = []
    for child in element:
        if child.tag in _SKIPPED or not isinstance(child.tag, str):
            continue
        if child.tag == qn("w:r") and _is_hidden(child):
            continue
        if child.tag in _TEXT_RUNS:
            parts.append(child.text or "")
        elif child.tag in _TEXT:
            parts.append(_TEXT[child.tag])
        elif child.tag == _P:
            parts.append(paragraph_text(child) + "\n")
        else:
            parts.append(paragraph_text(child))
    return "".join(parts)


def _is_hidden(run: Element) -> bool:
    """Marked as hidden, or white with no shading behind it."""
    properties = run.find(qn("w:rPr"))
    if properties is None:
        return False
    vanish = properties.find(qn("w:vanish"))
    if vanish is not None and vanish.get(qn("w:val")) not in ("0", "false", "off"):
        return True
    colour = properties.find(qn("w:color"))
    if colour is None or (colour.get(qn("w:val")) or "").upper() != "FFFFFF":
        return False
    shaded = [run, *run.iterancestors(_P, _TC)]
    return not any(_has_shading(element) for element in shaded)


def _has_shading(element: Element) -> bool:
    for properties in element.iterchildren(qn("w:rPr"), qn("w:pPr"), qn("w:tcPr")):
        if properties.find(qn("w:highlight")) is not None:
            return True
        shading = properties.find(qn("w:shd"))
        if shading is not None and (shading.get(qn("w:fill")) or "auto").upper() not in (
            "AUTO",
            "FFFFFF",
        ):
            return True
    return False


def _cells(row: Element) -> Iterator[str]:
    """The row's texts; a cell that spans columns is repeated, so that columns stay aligned."""
    for cell in row.iterdescendants(_TC):
        if next(cell.iterancestors(_TR)) is not row:
            continue  # Of a table inside of a cell, whose text the outer cell has.
        text = paragraph_text(cell)
        span = cell.find(f"{qn('w:tcPr')}/{qn('w:gridSpan')}")
        value = span.get(qn("w:val"), "1") if span is not None else "1"
        yield from [text] * (min(int(value), _WIDEST_SPAN) if value.isdecimal() else 1)
