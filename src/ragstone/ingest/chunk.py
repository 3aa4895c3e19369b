"""Documents to chunks that follow their structure.

A section that fits into a chunk is one chunk. A larger one is cut at its subsections, then
between paragraphs, list items and table rows, then between sentences, and inside of a sentence
only where that alone exceeds a chunk. A chunk never crosses a heading of its own or a higher
level, except that a tiny section joins its neighbour. docs/decisions/0002-chunking.md has the
measurements behind the defaults.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from ragstone.domain.document import Block, Chunk, ParsedDocument
from ragstone.ingest.atoms import (
    CUT_AFTER_HEADING,
    CUT_HEADING,
    Atom,
    TokenCounter,
    sentences,
    trimmed,
    whole,
)
from ragstone.ingest.packing import pack

_DEEPEST = 9


class ChunkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in tokens of the embedder."""

    target_tokens: int = 200
    """Largest chunk, what it repeats from the one before included."""
    overlap_tokens: int = 0
    """Most that a chunk repeats from the one before, in whole sentences where one fits."""
    prefix_tokens: int = 48
    """Most of title, heading path and table header that is embedded in front of a chunk. The
    local embedder reads 256 tokens, so target and prefix together should stay under that."""


class _Section(NamedTuple):
    level: int
    path: tuple[str, ...]
    atoms: list[Atom]
    tokens: int
    bare: bool
    """A heading with nothing under it."""


class _Run(NamedTuple):
    """Atoms that may share chunks."""

    atoms: list[Atom]
    paths: list[tuple[str, ...]]
    tokens: int
    bare: bool


class Chunker:
    """Cuts documents; keeps the sizes of words that it has met, so reuse it."""

    def __init__(self, settings: ChunkSettings, count_tokens: Callable[[str], int]) -> None:
        if settings.target_tokens < 1 or not 0 <= settings.overlap_tokens < settings.target_tokens:
            raise ValueError("0 <= overlap_tokens < target_tokens must hold")
        self.settings = settings
        self.counter = TokenCounter(count_tokens)

    def chunk(self, document: ParsedDocument) -> list[Chunk]:
        """The chunks in reading order; together they cover all text but white space."""
        pages = _Pages(document.blocks)
        chunks: list[Chunk] = []
        for run in _runs(self._sections(document), self.settings.target_tokens):
            for start, end, path in self._cut(document.text, run):
                chunks.append(
                    Chunk(
                        ordinal=len(chunks),
                        start=start,
                        end=end,
                        text=document.text[start:end],
                        heading_path=path,
                        page=pages.at(start),
                    )
                )
        return chunks

    def _sections(self, document: ParsedDocument) -> list[_Section]:
        text = document.text
        sections: list[_Section] = []
        stack: list[tuple[int, str]] = []
        atoms: list[Atom] = []
        level, blocks, hold = 0, 0, False

        def close() -> None:
            if atoms:
                path = tuple(name for _, name in stack)
                tokens = sum(atom.tokens for atom in atoms)
                sections.append(_Section(level, path, atoms, tokens, level > 0 and blocks == 1))

        for block in _covering(document):
            found = self._atoms(text, block)
            if not found:
                continue
            if block.kind == "heading":
                close()
                level, blocks = min(max(block.level, 1), _DEEPEST), 0
                while stack and stack[-1][0] >= level:
                    stack.pop()
                stack.append((level, heading_text(text[block.start : block.end])))
                atoms = [found[0]._replace(cut=CUT_HEADING), *found[1:]]
            else:
                if hold:
                    found[0] = found[0]._replace(cut=CUT_AFTER_HEADING)
                atoms.extend(found)
            blocks += 1
            hold = block.kind in ("heading", "table_header")
        close()
        return sections

    def _atoms(self, text: str, block: Block) -> list[Atom]:
        limit = self.settings.target_tokens
        split = sentences if block.kind in ("paragraph", "list_item", "code") else whole
        return split(self.counter, text, block.start, block.end, limit)

    def _cut(self, text: str, run: _Run) -> Iterator[tuple[int, int, tuple[str, ...]]]:
        starts, carried = self._carried(text, run.atoms)
        previous = -1
        for begin, end in pack(run.atoms, self.settings.target_tokens, carried):
            start = run.atoms[begin].start
            if begin and starts and starts[begin] > previous:
                start = starts[begin]
            previous = start
            yield start, run.atoms[end - 1].end, _common(run.paths[begin:end])

    def _carried(self, text: str, atoms: Sequence[Atom]) -> tuple[list[int], list[int] | None]:
        """For a chunk beginning at each atom: where its overlap begins, and its tokens."""
        limit = self.settings.overlap_tokens
        if not limit:
            return [], None
        starts, carried = [atoms[0].start], [0]
        for index in range(1, len(atoms)):
            room = min(limit, self.settings.target_tokens - atoms[index].tokens)
            first, size = index, 0
            while first and size + atoms[first - 1].tokens <= room:
                first -= 1
                size += atoms[first].tokens
            start = atoms[first].start
            if not size and room > 0:
                start, size = self._last_words(text, atoms[index - 1], room, atoms[index].start)
            starts.append(start)
            carried.append(size)
        return starts, carried

    def _last_words(self, text: str, atom: Atom, room: int, start: int) -> tuple[int, int]:
        size = 0
        words = list(self.counter.words(text, atom.start, atom.end, room))
        for left, _, tokens in reversed(words):
            if size + tokens > room:
                break
            start, size = left, size + tokens
        return start, size


def chunk(
    document: ParsedDocument,
    *,
    target_tokens: int,
    overlap_tokens: int,
    count_tokens: Callable[[str], int],
) -> list[Chunk]:
    """Cut one document; for many, make one `Chunker`."""
    settings = ChunkSettings(target_tokens=target_tokens, overlap_tokens=overlap_tokens)
    return Chunker(settings, count_tokens).chunk(document)


def heading_text(line: str) -> str:
    """A heading without its Markdown marks, on one line."""
    return " ".join(line.strip().strip("#").split())


def _covering(document: ParsedDocument) -> Iterator[Block]:
    """The blocks in order and disjoint; text that no block covers becomes paragraphs."""
    position = 0
    page: int | None = None
    length = len(document.text)
    for block in sorted(document.blocks, key=lambda block: (block.start, block.end)):
        start, end = max(block.start, position), min(block.end, length)
        if start >= end:
            continue
        left, right = trimmed(document.text, position, start)
        if left < right:
            yield Block(kind="paragraph", start=left, end=right, page=page)
        yield (
            block
            if (start, end) == (block.start, block.end)
            else Block(kind=block.kind, start=start, end=end, level=block.level, page=block.page)
        )
        position, page = end, block.page
    left, right = trimmed(document.text, position, length)
    if left < right:
        yield Block(kind="paragraph", start=left, end=right, page=page)


def _runs(sections: Sequence[_Section], target: int) -> list[_Run]:
    """Sections that share a chunk, joined: whole subtrees that fit, and tiny neighbours."""
    if not sections:
        return []
    total = sum(section.tokens for section in sections)
    if len(sections) == 1 or total <= target:
        return [_joined(sections)]
    top = min(section.level for section in sections)
    heads = [index for index, section in enumerate(sections) if section.level == top]
    if heads == [0]:
        parts = [_joined(sections[:1]), *_runs(sections[1:], target)]
    else:
        borders = sorted({0, *heads, len(sections)})
        parts = []
        for left, right in itertools.pairwise(borders):
            parts.extend(_runs(sections[left:right], target))
    return _tiny_joined(parts, target)


def _joined(sections: Sequence[_Section]) -> _Run:
    return _Run(
        [atom for section in sections for atom in section.atoms],
        [section.path for section in sections for _ in section.atoms],
        sum(section.tokens for section in sections),
        all(section.bare for section in sections),
    )


def _tiny_joined(runs: Sequence[_Run], target: int) -> list[_Run]:
    """Runs under an eighth of the target join a neighbour; a bare heading joins what follows."""
    joined: list[_Run] = []
    for run in runs:
        if joined:
            last = joined[-1]
            tiny = min(last.tokens, run.tokens) * 8 < target
            if last.bare or (tiny and last.tokens + run.tokens <= target):
                atoms = run.atoms
                if last.bare:
                    atoms = [atoms[0]._replace(cut=CUT_AFTER_HEADING), *atoms[1:]]
                last.atoms.extend(atoms)
                last.paths.extend(run.paths)
                joined[-1] = last._replace(
                    tokens=last.tokens + run.tokens, bare=last.bare and run.bare
                )
                continue
        joined.append(run)
    return joined


def _common(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    low, high = min(paths), max(paths)
    length = 0
    while length < min(len(low), len(high)) and low[length] == high[length]:
        length += 1
    return low[:length]


class _Pages:
    """The page at an offset, asked in rising order."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._blocks = sorted(blocks, key=lambda block: block.start)
        self._next = 0
        self._page: int | None = None

    def at(self, offset: int) -> int | None:
        while self._next < len(self._blocks) and self._blocks[self._next].start <= offset:
            self._page = self._blocks[self._next].page
            self._next += 1
        return self._page
