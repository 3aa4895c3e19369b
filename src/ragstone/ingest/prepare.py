"""Parsed documents to what the embedder and the publisher need."""

import asyncio

from ragstone.domain.document import Document, ParsedDocument, content_hash, document_id
from ragstone.ingest.chunk import Chunker
from ragstone.ingest.context import (
    embedding_text,
    lexical_text,
    metadata_words,
    table_headers,
    with_metadata,
)
from ragstone.ingest.intake import Ticket
from ragstone.ingest.publish import Prepared
from ragstone.ingest.validate import require_document

_INLINE_CHARS = 10_000
"""Longer texts are cut in a thread: this much takes about three milliseconds."""


def identified(ticket: Ticket, parsed: ParsedDocument) -> Prepared:
    """The document with its id and hash, not yet cut. Raises `InvalidRequest`."""
    require_document(parsed)
    tenant, collection = ticket.lane
    metadata = {**parsed.metadata, **ticket.metadata}
    return Prepared(
        ticket=ticket,
        document_id=document_id(tenant, collection, parsed.external_id),
        parsed=parsed,
        metadata=metadata,
        access=ticket.access,
        content_hash=content_hash(parsed.title, parsed.text, metadata, ticket.access),
        chunks=[],
        embedding_texts=[],
        lexical_texts=[],
        vectors=[],
        missing=0,
    )


def same(item: Prepared, known: dict[str, Document]) -> bool:
    """Whether the records hold just this content."""
    existing = known.get(item.document_id)
    return existing is not None and existing.content_hash == item.content_hash


async def cut(chunker: Chunker, item: Prepared) -> None:
    """Fill in the chunks and their texts, off the event loop where that takes long."""
    if len(item.parsed.text) <= _INLINE_CHARS:
        _cut(chunker, item)
        await asyncio.sleep(0)
    else:
        await asyncio.to_thread(_cut, chunker, item)


def _cut(chunker: Chunker, item: Prepared) -> None:
    title, settings = item.parsed.title, chunker.settings
    item.chunks = chunker.chunk(item.parsed)
    headers = table_headers(item.parsed, item.chunks)
    for piece, header in zip(item.chunks, headers, strict=True):
        embedded = embedding_text(
            title, piece, header, counter=chunker.counter, prefix_tokens=settings.prefix_tokens
        )
        indexed = lexical_text(title, piece, header)
        if piece.ordinal == 0:  # once a document: on every chunk it would drown their own words
            embedded = with_metadata(
                embedded,
                metadata_words(item.metadata, codes=False),
                counter=chunker.counter,
                tokens=settings.target_tokens + settings.prefix_tokens,
            )
            indexed = "\n".join(filter(None, [indexed, metadata_words(item.metadata, codes=True)]))
        item.embedding_texts.append(embedded)
        item.lexical_texts.append(indexed)
    item.vectors = [[] for _ in item.chunks]
    item.missing = len(item.chunks)
