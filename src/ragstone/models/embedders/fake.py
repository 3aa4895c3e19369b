"""Vectors from hashed words: no model, no files, the same everywhere. For tests and trials."""

import asyncio
import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ragstone.domain.collection import EmbedderIdentity
from ragstone.domain.errors import EmbedderError

_WORD = re.compile(r"\w+")
_TRIGRAM_WEIGHT = 0.3
"""Of a word's three-letter pieces beside the word: inflections stay near one another."""
_INLINE_CHARS = 2_000
"""A longer text is embedded in a thread."""


class HashingEmbedder:
    """Implements `ports.Embedder`.

    Words and their trigrams are hashed to signed components (Weinberger et al., 2009),
    weighted by 1 + ln(occurrences). Texts that share words are near, meaning is not seen.
    """

    def __init__(self, dimensions: int = 384) -> None:
        if dimensions < 1:
            raise ValueError(f"dimensions must be positive, not {dimensions}")
        self._identity = EmbedderIdentity(name="fake/hashed-words", dimensions=dimensions)
        self._closed = False

    @property
    def identity(self) -> EmbedderIdentity:
        return self._identity

    async def warm(self) -> None:
        """Nothing has to be loaded."""

    async def embed_query(self, text: str) -> list[float]:
        self._refuse_when_closed()
        if len(text) <= _INLINE_CHARS:
            return self.vector(text)
        return await asyncio.to_thread(self.vector, text)

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        self._refuse_when_closed()
        if sum(map(len, texts)) <= _INLINE_CHARS:
            return [self.vector(text) for text in texts]
        return await asyncio.to_thread(lambda: [self.vector(text) for text in texts])

    def count_tokens(self, text: str) -> int:
        return len(_WORD.findall(text))

    async def close(self) -> None:
        self._closed = True

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise EmbedderError("The embedder is closed.")

    def vector(self, text: str) -> list[float]:
        """The same at once, for who has no event loop to spare."""
        vector = np.zeros(self._identity.dimensions)
        for word, occurrences in Counter(_WORD.findall(text.casefold())).items():
            weight = 1 + np.log(occurrences)
            for feature, share in _features(word):
                sign = 1 if feature & 1 else -1
                vector[(feature >> 1) % len(vector)] += sign * share * weight
        if not vector.any():  # no words, or words that cancel out
            vector[0] = 1
        unit: list[float] = (vector / np.linalg.norm(vector)).tolist()
        return unit


@lru_cache(maxsize=65_536)
def _features(word: str) -> tuple[tuple[int, float], ...]:
    """Hashes of a word and its trigrams, with their weights; long words give few trigrams."""
    marked = f"<{word[:64]}>"
    pieces = [marked[start : start + 3] for start in range(len(marked) - 2)]
    share = _TRIGRAM_WEIGHT / max(1, len(pieces)) ** 0.5
    return ((_hash(f"word {word}"), 1.0), *((_hash(piece), share) for piece in pieces))


def _hash(feature: str) -> int:
    encoded = feature.encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(encoded, digest_size=8).digest(), "little")
