"""What is ingested: documents, their structure, and the chunks cut from them."""

import hashlib
from base64 import b32encode
from typing import Any, Literal
from uuid import UUID, uuid5

import msgspec

from ragstone.domain.principal import EVERYONE, Principal

Scalar = str | int | float | bool
Metadata = dict[str, Scalar | list[Scalar]]
"""Flat, so that every field can be filtered on."""

_CHUNK_NAMESPACE = UUID("6ee8f3a4-3f0d-5f7e-9a55-0f2f6a2f7d10")


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """A structural piece of a parsed document: where in the text, and what it is.

    `start` and `end` are half-open offsets into the document's text in Unicode code points.
    """

    kind: Literal["heading", "paragraph", "list_item", "code", "table_header", "table_row"]
    start: int
    end: int
    level: int = 0
    """Heading level, 1 for the outermost; 0 for everything else."""
    page: int | None = None
    """Page number from 1, where the format has pages."""


class ParsedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One document as a parser delivers it: plain text and the structure over it."""

    external_id: str
    """The caller's own name for it: a relative path, or the `id` of a record."""
    title: str
    text: str
    blocks: list[Block]
    metadata: Metadata = {}


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a document's text: `text == document.text[start:end]`."""

    ordinal: int
    """Position among the document's chunks, from 0."""
    start: int
    end: int
    text: str
    heading_path: tuple[str, ...] = ()
    """The headings above it, outermost first."""
    page: int | None = None


class IndexedChunk(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk as the index stores it."""

    id: UUID
    tenant: str
    collection: str
    document_id: str
    external_id: str
    version: int
    chunk: Chunk
    title: str
    access: list[str]
    """Access tokens (`principal.access_token`); empty: visible to nobody."""
    metadata: Metadata = {}
    vector: list[float] = []
    """Unit length, the collection's dimensions."""
    lexical_text: str = ""
    """What the lexical leg indexes: title, heading path and text."""


class DocumentSource(msgspec.Struct, frozen=True, kw_only=True):
    """Something to ingest: the bytes of a file, as they came."""

    name: str
    """File name or relative path with forward slashes; its ending names the format."""
    content: bytes
    collection: str
    access: list[str] = msgspec.field(default_factory=lambda: [EVERYONE])
    """Who may read: `*`, `group:NAME`, `user:NAME`."""
    metadata: Metadata = {}
    """Added to the metadata that the parser finds."""
    submitter: list[str] | None = []
    """Access tokens of who submitted it, set by the server: a document that none of them can
    read is not replaced. None: an administrator's, which may replace every document."""
    key_id: str | None = None
    user: str | None = None
    """Who submitted it, set by the server, and whose budgets pay beside the tenant's."""


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A document as the records keep it (without its text)."""

    id: str
    tenant: str
    collection: str
    external_id: str
    title: str
    version: int
    """Raised by every change of content, metadata or access; unique in its collection."""
    content_hash: str
    access: list[str]
    """Access tokens (`principal.access_token`)."""
    metadata: Metadata
    chunk_count: int
    character_count: int
    source_name: str
    """The file that it came from."""
    created_at: float
    """Unix seconds."""
    updated_at: float

    def readable_by(self, principal: Principal) -> bool:
        """The same rule that the index applies to its chunks."""
        return not set(self.access).isdisjoint(principal.access_tokens())


def document_id(tenant: str, collection: str, external_id: str) -> str:
    """The stable id of a document: the same names give the same id, so none is ever doubled."""
    key = msgspec.msgpack.encode((tenant, collection, external_id))
    return "doc_" + b32encode(hashlib.sha256(key).digest()[:15]).decode().lower()


def chunk_id(document: str, version: int, ordinal: int) -> UUID:
    """The stable id of a chunk: publishing the same version twice overwrites, never doubles."""
    return uuid5(_CHUNK_NAMESPACE, f"{document}/{version}/{ordinal}")


def content_hash(title: str, text: str, metadata: dict[str, Any], access: list[str]) -> str:
    """SHA-256 over everything whose change makes a new version."""
    payload = msgspec.json.encode([title, text, metadata, sorted(access)], order="sorted")
    return hashlib.sha256(payload).hexdigest()
