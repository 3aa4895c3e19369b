"""A chunk as kept beside its vectors, and back again as a passage."""

from collections.abc import Iterable
from typing import Any

import msgspec

from ragstone.domain.document import IndexedChunk
from ragstone.domain.errors import EmbedderMismatch, InvalidRequest
from ragstone.domain.passage import Passage, Scores
from ragstone.index.fusion import Fused


class StoredPassage(msgspec.Struct, frozen=True, array_like=True):
    """Everything of a passage but its scores. Fields are stored in order: add at the end."""

    chunk_id: str
    document_id: str
    external_id: str
    version: int
    ordinal: int
    title: str
    text: str
    start: int
    end: int
    heading_path: tuple[str, ...]
    page: int | None
    metadata: dict[str, Any]


def stored(indexed: IndexedChunk) -> StoredPassage:
    chunk = indexed.chunk
    return StoredPassage(
        chunk_id=str(indexed.id),
        document_id=indexed.document_id,
        external_id=indexed.external_id,
        version=indexed.version,
        ordinal=chunk.ordinal,
        title=indexed.title,
        text=chunk.text,
        start=chunk.start,
        end=chunk.end,
        heading_path=chunk.heading_path,
        page=chunk.page,
        metadata=indexed.metadata,
    )


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(StoredPassage)


def encode(indexed: IndexedChunk) -> str:
    return _ENCODER.encode(stored(indexed)).decode()


def decode(body: str) -> StoredPassage:
    return _DECODER.decode(body)


def passage(kept: StoredPassage, hit: Fused) -> Passage:
    return Passage(
        chunk_id=kept.chunk_id,
        document_id=kept.document_id,
        external_id=kept.external_id,
        version=kept.version,
        ordinal=kept.ordinal,
        title=kept.title,
        text=kept.text,
        start=kept.start,
        end=kept.end,
        heading_path=kept.heading_path,
        page=kept.page,
        metadata=kept.metadata,
        scores=Scores(fused=hit.score, dense=hit.dense, lexical=hit.lexical),
    )


def check_chunks(
    tenant: str, collection: str, chunks: Iterable[IndexedChunk], dimensions: int | None
) -> int | None:
    """Refuse chunks of another shard, or vectors of another length; returns the length.

    Raises `InvalidRequest` or `EmbedderMismatch` before anything has been written.
    """
    for chunk in chunks:
        if (chunk.tenant, chunk.collection) != (tenant, collection):
            raise InvalidRequest(
                f"A chunk of {chunk.external_id!r} belongs to another tenant or collection.",
                remedy="Publish each collection's chunks with its own name.",
            )
        if dimensions is None:
            dimensions = len(chunk.vector)
        check_dimensions(collection, len(chunk.vector), dimensions)
    return dimensions


def check_dimensions(collection: str, given: int, expected: int) -> None:
    if given != expected or not given:
        raise EmbedderMismatch(
            f"The collection {collection!r} holds vectors of {expected} dimensions, "
            f"not of {given}.",
            remedy="Use the embedder with which the collection was made.",
        )
