"""The embedder of the engine process, asked over the hop in OpenAI's wire format.

`openai_http` speaks the same format to any server; this one trusts its engine to send unit
vectors of the right length, and so costs a third.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from ragstone.domain.collection import EmbedderIdentity
from ragstone.domain.errors import EmbedderError
from ragstone.domain.meter import count_tokens
from ragstone.hop.client import ANSWER_SECONDS, EngineClient
from ragstone.hop.messages import EMBEDDINGS, EmbeddingsAsked, EmbeddingsGiven

_CHARS_PER_TOKEN: Final = 4
"""Of English in the vocabularies in use (OpenAI's own rule of thumb)."""

_GIVEN: Final = msgspec.msgpack.Decoder(EmbeddingsGiven)


class RemoteEmbedder:
    """Implements `ports.Embedder`."""

    def __init__(self, engine: EngineClient, identity: EmbedderIdentity) -> None:
        """`engine` is shared, and not closed here; `identity` is as the engine told it."""
        self._engine = engine
        self._identity = identity

    @property
    def identity(self) -> EmbedderIdentity:
        return self._identity

    async def embed_query(self, text: str) -> list[float]:
        return (await self.embed_documents([text]))[0]

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        if not texts:
            return []
        sendable = [text.encode(errors="replace").decode() for text in texts]
        given = await self._engine.ask(
            EMBEDDINGS,
            EmbeddingsAsked(sendable, self._identity.name),
            _GIVEN,
            EmbedderError,
            answer_seconds=ANSWER_SECONDS if len(texts) == 1 else None,
        )
        count_tokens(given.tokens)
        if len(given.data) != len(texts):
            raise EmbedderError(
                f"The engine sent {len(given.data)} vectors for {len(texts)} texts."
            )
        return [row.embedding for row in given.data]

    def count_tokens(self, text: str) -> int:
        """An estimate: the vocabulary is the engine's."""
        return max(len(text.split()), -(-len(text) // _CHARS_PER_TOKEN))

    async def close(self) -> None:
        """Nothing of its own."""
