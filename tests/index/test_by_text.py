"""A search for words that are embedded on the way: in one process, and over the hop."""

import asyncio
from array import array
from collections.abc import AsyncIterator, Sequence

import pytest

from ragstone.domain.errors import EmbedderError
from ragstone.domain.query import SearchRequest
from ragstone.index.by_text import SearchByText
from ragstone.index.memory import MemoryIndex
from ragstone.index.remote import RemoteIndex
from ragstone.models.embedders.fake import HashingEmbedder
from ragstone.ports import EmbeddingSearcher
from tests.hop.engine import served
from tests.index.corpus import COLLECTION, asker, document, embed, put


class Embedder(HashingEmbedder):
    """Embeds as the corpus does; or fails, or never ends."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.error: Exception | None = None
        self.hangs = False

    async def embed_query(self, text: str) -> list[float]:
        self.texts.append(text)
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return embed(text.encode(errors="replace").decode())


@pytest.fixture
def embedder() -> Embedder:
    return Embedder()


@pytest.fixture
async def index() -> MemoryIndex:
    made = MemoryIndex()
    await put(
        made,
        document("kerb", ["granite kerb stone"]),
        document("chalk", ["soft chalk"]),
        document("secret", ["granite quarry"], access=["group:staff"]),
    )
    return made


@pytest.fixture(params=["here", "remote"])
async def both(
    request: pytest.FixtureRequest, embedder: Embedder, index: MemoryIndex
) -> AsyncIterator[EmbeddingSearcher]:
    if request.param == "here":
        yield SearchByText(embedder, index)
        return
    async with served(index=index, embedder=embedder) as door:
        yield RemoteIndex(door.client())


def wanted(text: str = "granite kerb") -> SearchRequest:
    return SearchRequest(collection=COLLECTION, text=text)


def names(passages: Sequence[object]) -> list[str]:
    return [passage.document_id for passage in passages]  # type: ignore[attr-defined]


async def test_it_finds_what_a_search_with_the_vector_finds(
    both: EmbeddingSearcher, index: MemoryIndex
) -> None:
    for principal in (asker(), asker("staff")):
        given = await both.embed_and_search(principal, wanted(), "granite kerb", seconds=60)
        request = SearchRequest(
            collection=COLLECTION, text="granite kerb", vector=embed("granite kerb")
        )
        assert given.passages == (await index.search(principal, request)).passages
        assert given.degraded == ()
        assert given.vector == array("f", embed("granite kerb")).tobytes()
        assert given.numbers() == array("f", embed("granite kerb")).tolist()
        assert ("secret" in names(given.passages)) == (principal.groups == {"staff"})


async def test_what_is_embedded_may_differ_from_the_words(
    both: EmbeddingSearcher, embedder: Embedder
) -> None:
    await both.embed_and_search(asker(), wanted("granite   kerb"), "granite kerb", seconds=60)
    assert embedder.texts == ["granite kerb"]


@pytest.mark.parametrize("how", ["fails", "hangs"])
async def test_an_embedder_that_fails_or_hangs_leaves_the_words(
    both: EmbeddingSearcher, embedder: Embedder, how: str
) -> None:
    embedder.hangs = how == "hangs"
    embedder.error = EmbedderError("It broke.")
    given = await both.embed_and_search(asker(), wanted(), "granite kerb", seconds=0.01)
    assert names(given.passages) == ["kerb"]
    assert (given.degraded, given.vector, given.numbers()) == (("lexical_only",), None, None)


async def test_half_of_a_character_is_no_obstacle(both: EmbeddingSearcher) -> None:
    given = await both.embed_and_search(asker(), wanted(), "granite \ud800", seconds=60)
    assert given.vector is not None
