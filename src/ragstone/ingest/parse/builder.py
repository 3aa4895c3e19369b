"""Puts a document's text together block by block, so that offsets are right by construction."""

from typing import Literal

from ragstone.domain.document import Block, Metadata, ParsedDocument
from ragstone.domain.errors import DocumentTooLarge, EmptyDocument
from ragstone.ingest.parse.limits import ParseLimits
from ragstone.ingest.parse.normalize import clean, clean_lines, one_line

BlockKind = Literal["heading", "paragraph", "list_item", "code", "table_header", "table_row"]

_DEEPEST_HEADING = 9
_JOINED_BY_ONE_BREAK: frozenset[tuple[BlockKind, BlockKind]] = frozenset(
    {
        ("list_item", "list_item"),
        ("table_header", "table_row"),
        ("table_row", "table_row"),
    }
)


class DocumentBuilder:
    """Collects blocks; between them stands whitespace that belongs to none.

    `name` is how errors call the document.
    """

    def __init__(self, name: str, limits: ParseLimits) -> None:
        self.name = name
        self.limits = limits
        self.first_heading: str | None = None
        self.empty_remedy = "Check that the file is the one you meant."
        self._parts: list[str] = []
        self._blocks: list[Block] = []
        self._length = 0
        self._marker: str | None = None
        self._depth = 0

    @property
    def length(self) -> int:
        """Code points so far."""
        return self._length

    def begin_item(self, marker: str, depth: int) -> None:
        """The next paragraph is a list item that starts with `marker`, `depth` lists deep."""
        self._marker = marker
        self._depth = depth

    def end_item(self) -> None:
        """Forget an item that turned out to have no text."""
        self._marker = None

    def add(
        self,
        kind: BlockKind,
        text: str,
        *,
        level: int = 0,
        page: int | None = None,
        tight: bool = False,
    ) -> None:
        """Append a block; text of nothing but whitespace is passed over.

        `tight` keeps it in the line after the block before, as kinds that form rows do anyway.
        Raises `DocumentTooLarge`.
        """
        if not (text := _normal(kind, text)):
            return
        indent = ""
        if kind == "paragraph" and self._marker is not None:
            kind, text, indent = "list_item", self._marker + text, "  " * (self._depth - 1)
            self._marker = None
        if kind == "heading":
            level = min(max(level, 1), _DEEPEST_HEADING)
            self.first_heading = self.first_heading or text
        gap = self._gap_before(kind, tight=tight) + indent
        start = self._length + len(gap)
        self._parts += (gap, text)
        self._length = start + len(text)
        self.expect(0)
        self._blocks.append(Block(kind=kind, start=start, end=self._length, level=level, page=page))

    def expect(self, characters: int) -> None:
        """Raise `DocumentTooLarge` if so many more would be too many."""
        if self._length + characters > self.limits.max_document_chars:
            raise DocumentTooLarge(
                f"{self.name} has more than {self.limits.max_document_chars:,} characters of text.",
                remedy="Split it, or raise ingest.max_document_chars.",
                field="ingest.max_document_chars",
            )

    def build(self, external_id: str, title: str, metadata: Metadata) -> ParsedDocument:
        """The document. Raises `EmptyDocument` when no block was added."""
        if not self._blocks:
            raise EmptyDocument(f"{self.name} holds no text.", remedy=self.empty_remedy)
        return ParsedDocument(
            external_id=external_id,
            title=title,
            text="".join(self._parts),
            blocks=self._blocks,
            metadata=metadata,
        )

    def _gap_before(self, kind: BlockKind, *, tight: bool) -> str:
        if not self._blocks:
            return ""
        close = tight or (self._blocks[-1].kind, kind) in _JOINED_BY_ONE_BREAK
        return "\n" if close else "\n\n"


def _normal(kind: BlockKind, text: str) -> str:
    if kind == "code":
        lines = [line.rstrip() for line in clean(text).split("\n")]
        return "\n".join(lines).strip("\n") if any(lines) else ""
    if kind in ("paragraph", "list_item"):
        return clean_lines(text)
    return one_line(text)
