"""The vector of a query and what it finds: in one call where the index can, else in two."""

from typing import Any, cast

import msgspec
import pytest

from ragstone.caches.embeddings import CachedEmbedder
from ragstone.caches.memory import MemoryCache
from ragstone.domain.errors import EmbedderError
from ragstone.domain.passage import EmbeddedSearch, SearchResult
from ragstone.domain.principal import Principal
from ragstone.domain.query import SearchRequest
from ragstone.governance.prices import ALL_FREE
from ragstone.index.by_text import SearchByText
from ragstone.models.embedders.fake import HashingEmbedder
from tests.pipeline.world import World


class Index(SearchByText):
    """Says how it was asked."""

    def __init__(self, world: World) -> None:
        self.embedder = Embedder()
        super().__init__(self.embedder, world.index)
        self.calls: list[str] = []

    async def search(self, principal: Principal, request: SearchRequest) -> SearchResult:
        self.calls.append(request.mode)
        return await super().search(principal, request)

    async def embed_and_search(
        self, principal: Principal, request: SearchRequest, text: str, *, seconds: float
    ) -> EmbeddedSearch:
        self.calls.append(f"both: {text}")
        return await super().embed_and_search(principal, request, text, seconds=seconds)


class Embedder(HashingEmbedder):
    fails = False

    async def embed_query(self, text: str) -> list[float]:
        if self.fails:
            raise EmbedderError("It broke.")
        return await super().embed_query(text)


@pytest.fixture
async def world() -> World:
    made = World()
    await made.put("help")
    made.cache = cast(Any, None)
    return made


@pytest.fixture
def index(world: World) -> Index:
    made = Index(world)
    cast(Any, world).index = made
    store = MemoryCache(max_bytes=1_000_000, clock=world.clock)
    cast(Any, world).embedder = CachedEmbedder(world.embedder, store)
    return made


async def test_one_call_does_both_until_the_vector_is_kept(world: World, index: Index) -> None:
    first = (await world.ask("How  long may I return items?"))[1]
    assert index.calls == ["both: How long may I return items?"]
    again = (await world.ask("How long may I return items?"))[1]
    assert index.calls[1:] == ["hybrid"]
    assert [p.chunk_id for p in again.passages] == [p.chunk_id for p in first.passages]
    assert [p.scores for p in again.passages] == [p.scores for p in first.passages]
    assert {"embed", "retrieve"} <= set(first.timings_ms)


async def test_what_one_tenant_asked_is_not_kept_for_another(world: World, index: Index) -> None:
    assert isinstance(world.embedder, CachedEmbedder)
    await world.ask("How long?")
    assert await world.embedder.of_tenant("acme").recall("How long?") is not None
    assert await world.embedder.of_tenant("other").recall("How long?") is None


async def test_an_embedder_that_fails_there_is_told_as_one_that_fails_here(
    world: World, index: Index
) -> None:
    index.embedder.fails = True
    answer = (await world.ask())[1]
    assert "lexical_only" in answer.degraded
    assert [p.scores.dense for p in answer.passages] == [None]
    assert isinstance(world.embedder, CachedEmbedder)
    assert await world.embedder.of_tenant("acme").recall("How long?") is None


@pytest.mark.parametrize("mode", ["dense", "lexical"])
async def test_a_search_of_one_leg_is_asked_for_by_itself(
    world: World, index: Index, mode: str
) -> None:
    await world.ask(mode=mode)
    assert index.calls == [mode]


async def test_what_is_paid_for_is_embedded_apart(world: World, index: Index) -> None:
    dear = msgspec.structs.replace(ALL_FREE.embedder, call=1000)
    world.prices = msgspec.structs.replace(ALL_FREE, embedder=dear)
    await world.ask()
    assert index.calls == ["hybrid"]


async def test_without_a_cache_of_vectors_each_question_is_one_call(
    world: World, index: Index
) -> None:
    cast(Any, world).embedder = HashingEmbedder()
    await world.ask()
    await world.ask()
    assert [call.partition(":")[0] for call in index.calls] == ["both", "both"]
