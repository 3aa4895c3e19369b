"""What is found: passages with their scores, and where in a document they stand."""

from array import array

import msgspec

from ragstone.domain.document import Metadata


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """A passage's scores: `fused` orders the result, the legs say why."""

    fused: float
    dense: float | None = None
    """Cosine similarity in [-1, 1]; None where the dense leg did not find it."""
    lexical: float | None = None
    """BM25 score, unbounded; None where the lexical leg did not find it."""


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk retrieved for a question."""

    chunk_id: str
    document_id: str
    external_id: str
    version: int
    ordinal: int
    title: str
    text: str
    start: int
    """Half-open character offsets into the document's text."""
    end: int
    heading_path: tuple[str, ...] = ()
    page: int | None = None
    metadata: Metadata = {}
    scores: Scores


class SearchResult(msgspec.Struct, frozen=True, kw_only=True):
    """Passages, best first, and what the search could not do."""

    passages: list[Passage]
    degraded: tuple[str, ...] = ()
    """Rungs of the ladder, such as `index_partial`."""


class EmbeddedSearch(SearchResult, frozen=True, kw_only=True):
    """What was found for a text that was embedded on the way."""

    vector: bytes | None
    """The text's, as float32 (little-endian). None where the embedder failed or took too long:
    then only words were searched for, and `degraded` has `lexical_only`."""

    def numbers(self) -> list[float] | None:
        if self.vector is None:
            return None
        numbers = array("f")
        numbers.frombytes(self.vector)
        return numbers.tolist()
