"""What a chunk is embedded and indexed with: title, heading path and table header in front,
and after the first chunk the words of the document's metadata."""

from collections.abc import Sequence

from ragstone.domain.document import Chunk, Metadata, ParsedDocument
from ragstone.ingest.atoms import TokenCounter


def table_headers(document: ParsedDocument, chunks: Sequence[Chunk]) -> list[str]:
    """For each chunk that begins with a row of a table: that table's header line, else empty."""
    blocks = sorted(document.blocks, key=lambda block: block.start)
    headers: list[str] = []
    header, kind, ends, position = "", "", 0, 0
    for chunk in sorted(chunks, key=lambda chunk: chunk.start):
        while position < len(blocks) and blocks[position].start <= chunk.start:
            block = blocks[position]
            kind, ends = block.kind, block.end
            if kind == "table_header":
                header = document.text[block.start : block.end].strip()
            elif kind != "table_row":
                header = ""
            position += 1
        headers.append(header if kind == "table_row" and chunk.start < ends else "")
    return headers


def embedding_text(
    title: str, chunk: Chunk, header: str = "", *, counter: TokenCounter, prefix_tokens: int
) -> str:
    """The chunk's text with at most `prefix_tokens` tokens of context in front.

    What does not fit is dropped from the end of this order: title, innermost heading, table
    header, outer headings. A heading with which the chunk begins is not said twice.
    """
    path = _path(title, chunk)
    innermost = path.pop() if path else ""
    parts = [title, innermost, header, *reversed(path)]
    title, innermost, header, *outer = _within(counter, parts, max(0, prefix_tokens - len(path)))
    return _lines(title, [*reversed(outer), innermost], header, chunk.text)


def lexical_text(title: str, chunk: Chunk, header: str = "") -> str:
    """The chunk's text with all of its context in front, for the index's lexical leg."""
    return _lines(title, _path(title, chunk), header, chunk.text)


def metadata_words(metadata: Metadata, *, codes: bool) -> str:
    """The words among the metadata, a line for each field: "Ridley Scott" or "linen, cotton".

    People ask for what only the metadata names: an actor, a colour, an occasion. Addresses say
    nothing; `codes` decides about single words with digits ("AF-1234"), which the lexical leg
    matches and an embedding only blurs.
    """
    lines = []
    for value in metadata.values():
        values = value if isinstance(value, list) else [value]
        words = [v for v in values if isinstance(v, str) and _is_wording(v, codes=codes)]
        if words:
            lines.append(", ".join(words))
    return "\n".join(lines)


def with_metadata(text: str, words: str, *, counter: TokenCounter, tokens: int) -> str:
    """`text` and after it as much of `words` as makes at most `tokens` tokens in all."""
    shown = _first_tokens(counter, words, tokens - counter.count(text)) if words else ""
    return f"{text}\n{shown}" if shown else text


def _is_wording(value: str, *, codes: bool) -> bool:
    if not value.strip() or "://" in value:
        return False
    return codes or " " in value.strip() or not any(letter.isdigit() for letter in value)


def _path(title: str, chunk: Chunk) -> list[str]:
    """The heading path without what the title or the beginning of the text says already."""
    path = [heading for heading in chunk.heading_path if heading and heading != title]
    if path and chunk.text.lstrip("# ").startswith(path[-1]):
        path.pop()
    return path


def _lines(title: str, path: Sequence[str], header: str, text: str) -> str:
    if title and text.lstrip("# ").startswith(title):
        title = ""
    headings = " > ".join(part for part in path if part)
    return "\n".join(part for part in (title, headings, header, text) if part)


def _within(counter: TokenCounter, parts: Sequence[str], room: int) -> list[str]:
    """The parts cut to `room` tokens in all; the first yields half of it to the others."""
    first, *rest = [counter.count(part) for part in parts]
    if first + sum(rest) <= room:
        return list(parts)
    kept = [_first_tokens(counter, parts[0], max(room // 2, room - sum(rest)))]
    room -= counter.count(kept[0])
    for part in parts[1:]:
        kept.append(_first_tokens(counter, part, room))
        room -= counter.count(kept[-1])
    return kept


def _first_tokens(counter: TokenCounter, text: str, limit: int) -> str:
    if limit <= 0:
        return ""
    if counter.count(text) <= limit:
        return text
    end, size = 0, 0
    for _, right, tokens in counter.words(text, 0, len(text), limit):
        if size + tokens > limit:
            break
        end, size = right, size + tokens
    return text[:end]
