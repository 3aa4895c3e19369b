"""Markdown (CommonMark with pipe tables) to readable text.

The markup goes, except for list markers: `- ` and `1. ` are how a reader sees a list, and the
numbers of steps are content. A link leaves its text, an image its alternative text.
"""

import re
from collections.abc import Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

from ragstone.domain.document import ParsedDocument
from ragstone.ingest.parse.builder import DocumentBuilder
from ragstone.ingest.parse.decode import decode_text
from ragstone.ingest.parse.frontmatter import split_front_matter
from ragstone.ingest.parse.limits import ParseLimits
from ragstone.ingest.parse.metadata import flatten
from ragstone.ingest.parse.normalize import clean
from ragstone.ingest.parse.tables import add_table
from ragstone.ingest.parse.titles import choose_title
from ragstone.ingest.parse.wrapping import unwrap

_HIDDEN_TAG = re.compile(
    r"<([a-z][a-z0-9]*)\b[^>]*(?:\bhidden\b|display\s*:\s*none|visibility\s*:\s*hidden)",
    re.IGNORECASE,
)
_MARKUP = re.compile(r"<!--.*?(?:-->|\Z)|<[a-zA-Z/!?]", re.DOTALL)

_HARD_BREAK = "\v"
"""Survives unwrapping, and normalisation makes it a line break."""


def parse(name: str, content: bytes, limits: ParseLimits) -> Iterator[ParsedDocument]:
    """One document; title from front matter, else its first heading. Raises `Unreadable`."""
    fields, text = split_front_matter(name, clean(decode_text(name, content)))
    builder = DocumentBuilder(name, limits)
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    _Walker(builder).walk(parser.parse(text))
    title = choose_title(name, fields.pop("title", None), builder.first_heading)
    yield builder.build(name, title, flatten(fields))


class _Walker:
    """Turns the flat token list into blocks."""

    def __init__(self, builder: DocumentBuilder) -> None:
        self._builder = builder
        self._lists = 0
        self._rows: list[list[str]] = []
        self._heading = 0

    def walk(self, tokens: Sequence[Token]) -> None:
        for token in tokens:
            if token.type == "inline":
                self._inline(token)
            elif token.type in ("fence", "code_block"):
                self._builder.add("code", token.content)
            elif token.type == "html_block":
                self._html(token.content)
            elif token.type.startswith(("table", "tr", "th", "td")):
                self._table(token)
            else:
                self._nesting(token)

    def _nesting(self, token: Token) -> None:
        if token.type == "heading_open" and self._lists == 0:
            self._heading = int(token.tag[1:])
        elif token.type == "heading_close":
            self._heading = 0
        elif token.type in ("bullet_list_open", "ordered_list_open"):
            self._lists += 1
        elif token.type in ("bullet_list_close", "ordered_list_close"):
            self._lists -= 1
        elif token.type == "list_item_open":
            self._builder.begin_item(f"{token.info}. " if token.info else "- ", self._lists)
        elif token.type == "list_item_close":
            self._builder.end_item()

    def _inline(self, token: Token) -> None:
        text = inline_text(token.children or [])
        if self._rows:
            self._rows[-1].append(text)
        elif self._heading:
            self._builder.add("heading", text, level=self._heading)
        else:
            self._builder.add("paragraph", unwrap(text))

    def _table(self, token: Token) -> None:
        if token.type == "tr_open":
            self._rows.append([])
        elif token.type == "table_close":
            rows, self._rows = self._rows, []
            add_table(self._builder, rows, has_header=True)

    def _html(self, markup: str) -> None:
        if not _MARKUP.sub("", markup).strip(" \n\t/>") and "<!--" in markup:
            return  # A comment alone is common, and loading the HTML reader for it is slow.
        from ragstone.ingest.parse.html import add_fragment

        add_fragment(self._builder, markup)


def inline_text(tokens: Sequence[Token]) -> str:
    """What a reader sees of a run of inline tokens."""
    parts: list[str] = []
    hidden: str | None = None
    for token in tokens:
        if token.type == "html_inline":
            tag = token.content.lower()
            if hidden is not None:
                hidden = None if tag.startswith(f"</{hidden}") else hidden
            elif match := _HIDDEN_TAG.match(tag):
                hidden = match.group(1)
            elif tag.startswith("<br"):
                parts.append(_HARD_BREAK)
        elif hidden is not None:
            continue
        elif token.type == "softbreak":
            parts.append("\n")
        elif token.type == "hardbreak":
            parts.append(_HARD_BREAK)
        elif token.type == "image":
            parts.append(inline_text(token.children or []))
        else:
            parts.append(token.content)
    return "".join(parts)
