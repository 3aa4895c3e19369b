"""Texts to vectors."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from ragstone.domain.collection import EmbedderIdentity


class Embedder(Protocol):
    """Texts to unit vectors. Never blocks the event loop."""

    @property
    def identity(self) -> EmbedderIdentity: ...

    async def embed_query(self, text: str) -> list[float]:
        """One vector, of `identity.dimensions`. Raises `EmbedderError`."""
        ...

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """A vector for each text, in order. Raises `EmbedderError`."""
        ...

    def count_tokens(self, text: str) -> int:
        """Tokens of `text` in this embedder's vocabulary, special tokens not counted."""
        ...

    async def close(self) -> None: ...


@runtime_checkable
class QueryVectors(Protocol):
    """The vectors of earlier queries."""

    async def recall(self, text: str) -> list[float] | None:
        """The vector of a query, if it is kept; nothing is computed, or paid, for it."""
        ...

    async def keep(self, text: str, vector: bytes) -> None:
        """Keeps the float32 vector of a query's `embedded_form` that was computed elsewhere."""
        ...


@runtime_checkable
class RecallingEmbedder(Embedder, QueryVectors, Protocol):
    """One that keeps vectors of earlier queries."""


@runtime_checkable
class KeepingEmbedder(Protocol):
    """One that keeps vectors of queries, for each tenant apart: neither its time nor its price may
    tell one tenant what another has asked."""

    def of_tenant(self, tenant: str) -> RecallingEmbedder: ...
