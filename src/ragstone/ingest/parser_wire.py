"""What the pool and its parser processes say to each other.

    to the child    Start, once; then for each source SourceHeader, followed by its bytes
    to the pool     Ready, once; then for each source Accepted when it has arrived whole,
                    Batch any number of times, and Ended or Refused

Each message is a frame: its length as four bytes, big-endian, then MessagePack. The bytes of a
source follow their header unframed, so that neither side copies them to wrap them.
"""

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from ragstone.domain.document import Block, DocumentSource, Metadata, ParsedDocument
from ragstone.domain.errors import (
    DamagedDocument,
    DocumentTooLarge,
    EmptyDocument,
    EncryptedDocument,
    ParserCrashed,
    UndecodableText,
    Unreadable,
    UnsupportedFormat,
)
from ragstone.domain.job import DocumentError
from ragstone.ingest.parse.builder import BlockKind
from ragstone.ingest.parse.limits import ParseLimits

LENGTH_BYTES: Final = 4

ParseFunction = Callable[[DocumentSource, ParseLimits], Iterator[ParsedDocument | DocumentError]]
"""`ragstone.ingest.parse.parse_source`, or what a test puts in its place."""

_UNREADABLE = {
    error.code: error
    for error in (
        Unreadable,
        UnsupportedFormat,
        EmptyDocument,
        EncryptedDocument,
        DamagedDocument,
        UndecodableText,
        DocumentTooLarge,
        ParserCrashed,
    )
}


class Start(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The bounds that the child sets for itself before it reads anything else."""

    limits: ParseLimits
    memory_bytes: int
    """Address space."""
    cpu_seconds: float
    """For one source."""
    parent: int
    """The pool's process id."""


class SourceHeader(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A source; `size` bytes follow."""

    name: str
    size: int


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The bounds are set."""


class Accepted(msgspec.Struct, frozen=True, tag=True):
    """The source has arrived whole: from here on, a crash is about this source."""


class WireDocument(msgspec.Struct, frozen=True, array_like=True):
    """A `ParsedDocument` by position: the names of fields are half of a block otherwise."""

    external_id: str
    title: str
    text: str
    blocks: list[tuple[BlockKind, int, int, int, int | None]]
    metadata: Metadata


class BatchItem(msgspec.Struct, frozen=True, array_like=True):
    """One of the two."""

    document: WireDocument | None
    error: DocumentError | None


class Batch(msgspec.Struct, frozen=True, tag=True):
    """Some of the source's documents and errors, in their order."""

    items: list[BatchItem]


class Ended(msgspec.Struct, frozen=True, tag=True):
    """All has been sent."""


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The source as a whole cannot be read."""

    code: str
    message: str
    remedy: str | None
    field: str | None

    @classmethod
    def of(cls, error: Unreadable) -> "Refused":
        return cls(code=error.code, message=error.message, remedy=error.remedy, field=error.field)

    def error(self) -> Unreadable:
        kind = _UNREADABLE.get(self.code, Unreadable)
        return kind(self.message, remedy=self.remedy, field=self.field)


ToChild = Start | SourceHeader
ToPool = Ready | Accepted | Batch | Ended | Refused

_encoder = msgspec.msgpack.Encoder()
decode_to_child: Final = msgspec.msgpack.Decoder(ToChild).decode
decode_to_pool: Final = msgspec.msgpack.Decoder(ToPool).decode


def frame(message: ToChild | ToPool) -> bytes:
    """`message` as it goes over the pipe."""
    payload = _encoder.encode(message)
    return len(payload).to_bytes(LENGTH_BYTES, "big") + payload


def batch_of(items: list[ParsedDocument | DocumentError]) -> Batch:
    return Batch([_packed(item) for item in items])


def items_of(batch: Batch) -> Iterator[ParsedDocument | DocumentError]:
    for item in batch.items:
        if item.document is not None:
            yield _unpacked(item.document)
        elif item.error is not None:
            yield item.error


def _packed(item: ParsedDocument | DocumentError) -> BatchItem:
    if isinstance(item, DocumentError):
        return BatchItem(None, item)
    blocks = [
        (block.kind, block.start, block.end, block.level, block.page) for block in item.blocks
    ]
    return BatchItem(
        WireDocument(item.external_id, item.title, item.text, blocks, item.metadata), None
    )


def _unpacked(document: WireDocument) -> ParsedDocument:
    return ParsedDocument(
        external_id=document.external_id,
        title=document.title,
        text=document.text,
        blocks=[
            Block(kind=kind, start=start, end=end, level=level, page=page)
            for kind, start, end, level, page in document.blocks
        ],
        metadata=document.metadata,
    )
