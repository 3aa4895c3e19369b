"""PDF: text with page numbers. Pictures of text are not read."""

import re
from collections.abc import Iterator
from typing import Any

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from ragstone.domain.document import ParsedDocument
from ragstone.domain.errors import DamagedDocument, EncryptedDocument
from ragstone.ingest.parse.builder import DocumentBuilder
from ragstone.ingest.parse.limits import ParseLimits
from ragstone.ingest.parse.metadata import flatten
from ragstone.ingest.parse.pdflayout import add_lines
from ragstone.ingest.parse.pdflines import Line, open_pdf, page_lines
from ragstone.ingest.parse.titles import choose_title

_NO_TITLE = re.compile(
    r"^(?:untitled.*|microsoft \w+ - .*|.*\.(?:docx?|pptx?|xlsx?|odt|indd|qxd|tex|pdf|rtf|tmp))$",
    re.IGNORECASE,
)
_KEPT = {"Author": "author", "Subject": "subject", "Keywords": "keywords"}


def parse(name: str, content: bytes, limits: ParseLimits) -> Iterator[ParsedDocument]:
    """One document; title from its properties, else its first heading. Raises `Unreadable`."""
    document = _open(name, content)
    try:
        builder = DocumentBuilder(name, limits)
        builder.empty_remedy = (
            "It looks scanned: run text recognition (OCR) over it, and ingest the result."
        )
        add_lines(builder, _pages(document, builder))
        properties = document.get_metadata_dict()
    except pdfium.PdfiumError:
        raise _damaged(name) from None
    finally:
        document.close()
    title = properties.get("Title", "")
    title = "" if _NO_TITLE.match(title) else title
    fields: dict[object, object] = {
        ours: properties[theirs] for theirs, ours in _KEPT.items() if properties.get(theirs)
    }
    yield builder.build(name, choose_title(name, title, builder.first_heading), flatten(fields))


def _open(name: str, content: bytes) -> Any:
    try:
        return open_pdf(content)
    except pdfium.PdfiumError as error:
        if error.err_code in (pdfium_c.FPDF_ERR_PASSWORD, pdfium_c.FPDF_ERR_SECURITY):
            raise EncryptedDocument(
                f"{name} is protected by a password.", remedy="Save a copy without the password."
            ) from None
        raise _damaged(name) from None


def _pages(document: Any, builder: DocumentBuilder) -> list[list[Line]]:
    pages: list[list[Line]] = []
    characters = 0
    for number in range(1, len(document) + 1):
        page = document[number - 1]
        try:
            pages.append(page_lines(page, number))
        finally:
            page.close()
        # Counted as pages come: a document that is too large is refused before it fills memory.
        characters += sum(len(line.text) for line in pages[-1])
        builder.expect(characters)
    return pages


def _damaged(name: str) -> DamagedDocument:
    return DamagedDocument(
        f"{name} is a damaged or incomplete PDF.",
        remedy="Open it in a PDF viewer and print it to a new PDF.",
    )
