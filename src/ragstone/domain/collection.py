"""A named set of documents with one embedder."""

import msgspec


class EmbedderIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """What vectors depend on: two embedders with equal identities give comparable vectors."""

    name: str
    """Model and build, such as `all-MiniLM-L6-v2/onnx-int8`."""
    dimensions: int
    digest: str = ""
    """SHA-256 of the weights where known."""


class Collection(msgspec.Struct, frozen=True, kw_only=True):
    """A collection as the records keep it."""

    tenant: str
    name: str
    embedder: EmbedderIdentity
    generation: int
    """Raised by every change that a search can see, and with `cache_epoch`; at least to the time of
    the change in Unix milliseconds, so that no number comes again in records that were restored
    from a backup."""
    cache_epoch: int = 0
    """Raised likewise when what is kept of its answers is cleared."""
    document_count: int
    chunk_count: int
    created_at: float
    """Unix seconds."""
