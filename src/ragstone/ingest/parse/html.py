"""HTML: the main content of a page, without its navigation, notices and hidden text."""

import codecs
import copy
import functools
import re
from collections.abc import Iterator
from configparser import ConfigParser

import lxml.html  # type: ignore[import-untyped]
import trafilatura
from lxml import etree
from lxml.html import HtmlElement
from trafilatura.settings import use_config

from ragstone.domain.document import ParsedDocument
from ragstone.domain.errors import DamagedDocument
from ragstone.ingest.parse.builder import DocumentBuilder
from ragstone.ingest.parse.decode import decode_text
from ragstone.ingest.parse.flow import Flow
from ragstone.ingest.parse.limits import ParseLimits
from ragstone.ingest.parse.metadata import flatten
from ragstone.ingest.parse.normalize import clean
from ragstone.ingest.parse.titles import choose_title
from ragstone.ingest.parse.visibility import drop_unseen

_DECLARED = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]+)", re.IGNORECASE)
_XML_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*\?>")
_KEPT_META = ("author", "description", "keywords")
_WIDEST_SPAN = 100
_LEAST_SHARE = 0.25
_LEAST_SHARE_OF_MARKED = 0.75
"""trafilatura is believed when it keeps at least this share of the text outside of navigation,
or of what the page itself marks as its main part. It is made for articles: on a page of short
entries it may keep next to nothing."""


def parse(name: str, content: bytes, limits: ParseLimits) -> Iterator[ParsedDocument]:
    """One document; title from `<title>`, else its first heading. Raises `Unreadable`."""
    page = _tree(name, decode_text(name, content, declared=_declared_encoding(content)))
    title = page.findtext(".//title")
    fields = _meta_fields(page)
    drop_unseen(page)
    _spread_spans(page)
    _mark_code(page)
    builder = _main_content(name, page, limits)
    yield builder.build(name, choose_title(name, title, builder.first_heading), flatten(fields))


def add_fragment(builder: DocumentBuilder, markup: str) -> None:
    """Append the visible content of a piece of HTML inside of another format."""
    fragment = lxml.html.fragment_fromstring(clean(markup), create_parent="div")
    drop_unseen(fragment)
    _spread_spans(fragment)
    Flow(builder).walk(fragment)


def _main_content(name: str, page: HtmlElement, limits: ParseLimits) -> DocumentBuilder:
    _drop_boilerplate(page)
    found = trafilatura.bare_extraction(
        copy.deepcopy(page),
        include_comments=False,
        include_tables=True,
        favor_recall=True,
        with_metadata=False,
        # Its other algorithms, for pages on which the first finds little, lose all structure.
        fast=True,
        config=_extraction_config(),
    )
    marked = _marked_as_main(page)
    whole = DocumentBuilder(name, limits)
    Flow(whole).walk(page if marked is None else marked)
    whole.empty_remedy = (
        "If its text appears only once scripts have run, save the page from a browser instead."
    )
    body = getattr(found, "body", None)
    if body is None:
        return whole
    main = DocumentBuilder(name, limits)
    Flow(main).walk(body)
    least = _LEAST_SHARE if marked is None else _LEAST_SHARE_OF_MARKED
    return main if main.length > whole.length * least else whole


def _marked_as_main(page: HtmlElement) -> HtmlElement | None:
    """The one `<main>` of a page, or else its one `<article>`."""
    for tag in ("main", "article"):
        elements = list(page.iter(tag))
        if len(elements) == 1 and elements[0].text_content().strip():
            return elements[0]
    return None


@functools.cache
def _extraction_config() -> ConfigParser:
    config: ConfigParser = use_config()
    config.set("DEFAULT", "MIN_EXTRACTED_SIZE", "0")
    return config


def _tree(name: str, text: str) -> HtmlElement:
    parser = lxml.html.HTMLParser(remove_comments=True, remove_pis=True)
    try:
        return lxml.html.document_fromstring(
            _XML_DECLARATION.sub("", clean(text)), parser=parser, ensure_head_body=True
        )
    except (etree.LxmlError, ValueError, AssertionError):
        raise DamagedDocument(
            f"{name} is not HTML that can be read.", remedy="Check that the file is complete."
        ) from None


def _declared_encoding(content: bytes) -> str | None:
    match = _DECLARED.search(content, 0, 4096)
    if match is None:
        return None
    try:
        return codecs.lookup(match.group(1).decode("ascii")).name
    except LookupError:
        return None


def _meta_fields(page: HtmlElement) -> dict[object, object]:
    fields: dict[object, object] = {}
    for element in page.iter("meta"):
        key = element.get("name", "").lower()
        if key in _KEPT_META and element.get("content", "").strip():
            fields.setdefault(key, element.get("content"))
    if page.get("lang"):
        fields["language"] = page.get("lang")
    return fields


def _drop_boilerplate(page: HtmlElement) -> None:
    for element in list(page.iter("nav", "footer", "aside", "header")):
        if element.getparent() is None:
            continue
        if element.tag != "header" or next(element.iter("h1", "h2"), None) is None:
            element.drop_tree()


def _mark_code(root: HtmlElement) -> None:
    """Put `<code>` into each `<pre>`, without which trafilatura takes it for a quotation."""
    for element in list(root.iter("pre")):
        if len(element) == 0:
            code = etree.SubElement(element, "code")
            code.text, element.text = element.text, None


def _spread_spans(root: HtmlElement) -> None:
    """Repeat spanning cells, so that every cell stands below its own column."""
    for table in list(root.iter("table")):
        waiting: dict[int, tuple[int, HtmlElement]] = {}
        for row in [row for row in table.iter("tr") if _table_of(row) is table]:
            _spread_row(row, waiting)


def _spread_row(row: HtmlElement, waiting: dict[int, tuple[int, HtmlElement]]) -> None:
    column = 0
    own = [cell for cell in row if cell.tag in ("td", "th")]
    while own or column in waiting:
        if column in waiting:
            left, cell = waiting.pop(column)
            row.insert(column, copy.deepcopy(cell))
            if left > 1:
                waiting[column] = (left - 1, cell)
            column += 1
            continue
        cell = own.pop(0)
        across, down = _span(cell, "colspan"), _span(cell, "rowspan")
        plain = copy.deepcopy(cell)
        plain.tail = None
        for extra in range(across):
            if extra:
                row.insert(row.index(cell) + extra, copy.deepcopy(plain))
            if down > 1:
                waiting[column + extra] = (down - 1, plain)
        column += across


def _span(cell: HtmlElement, attribute: str) -> int:
    value = cell.attrib.pop(attribute, "1").strip()
    if not (value.isascii() and value.isdigit() and len(value) < 6):
        return 1
    return min(max(int(value), 1), _WIDEST_SPAN)


def _table_of(row: HtmlElement) -> HtmlElement | None:
    return next(row.iterancestors("table"), None)
