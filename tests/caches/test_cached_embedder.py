"""The vectors of questions are kept by embedder and text, and made once at a time."""

import asyncio

import pytest

from ragstone.caches.embeddings import CachedEmbedder
from ragstone.caches.memory import MemoryCache
from ragstone.domain.errors import EmbedderError
from ragstone.models.embedders.fake import HashingEmbedder
from tests.clock import VirtualClock


class Slow(HashingEmbedder):
    """Waits to be let go, and counts."""

    def __init__(self, dimensions: int = 8) -> None:
        super().__init__(dimensions)
        self.texts: list[str] = []
        self.cancelled = 0
        self.go = asyncio.Event()
        self.error: EmbedderError | None = None

    async def embed_query(self, text: str) -> list[float]:
        self.texts.append(text)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return await super().embed_query(text)


class World:
    def __init__(self, max_bytes: int = 100_000) -> None:
        self.inner = Slow()
        self.store = MemoryCache(max_bytes=max_bytes, clock=VirtualClock())
        self.outcomes: list[str] = []
        self.shared = CachedEmbedder(self.inner, self.store, on_outcome=self.outcomes.append)
        self.embedder = self.shared.of_tenant("acme")

    def ask(self, text: str = "wool") -> "asyncio.Task[list[float]]":
        return asyncio.create_task(self.embedder.embed_query(text))


@pytest.fixture
async def world() -> World:
    return World()


async def test_a_text_is_embedded_once_however_it_is_spaced_and_composed(world: World) -> None:
    world.inner.go.set()
    first = await world.embedder.embed_query("é wool  coat")
    assert await world.embedder.embed_query(" e\u0301 wool\tcoat\n") == first
    assert world.inner.texts == ["é wool coat"]
    assert world.outcomes == ["miss", "hit"]


async def test_letter_case_tells_texts_apart(world: World) -> None:
    world.inner.go.set()
    await world.embedder.embed_query("IT")
    await world.embedder.embed_query("it")
    assert world.outcomes == ["miss", "miss"]


async def test_embedders_do_not_share_vectors(world: World) -> None:
    world.inner.go.set()
    other = CachedEmbedder(HashingEmbedder(9), world.store).of_tenant("acme")
    assert len(await world.embedder.embed_query("wool")) == 8
    assert len(await other.embed_query("wool")) == 9


async def test_what_one_tenant_asked_saves_no_time_to_another(world: World) -> None:
    asked = [world.ask(), asyncio.create_task(world.shared.of_tenant("zenith").embed_query("wool"))]
    await asyncio.sleep(0)
    world.inner.go.set()
    one, other = await asyncio.gather(*asked)
    assert one == other
    assert world.outcomes == ["miss", "miss"]
    assert await world.shared.of_tenant("acme").recall("wool") == one
    assert await world.shared.of_tenant("else").recall("wool") is None


async def test_what_is_embedded_for_nobody_is_not_kept(world: World) -> None:
    world.inner.go.set()
    await world.embedder.embed_query("wool")
    for _ in range(2):
        await world.shared.embed_query("wool")
    assert world.inner.texts == ["wool"] * 3
    assert world.outcomes == ["miss"]


async def test_equal_texts_at_once_are_embedded_once(world: World) -> None:
    tasks = [world.ask() for _ in range(5)]
    await asyncio.sleep(0)
    world.inner.go.set()
    vectors = await asyncio.gather(*tasks)
    assert world.inner.texts == ["wool"]
    assert vectors == [vectors[0]] * 5
    assert world.outcomes == ["miss", *["joined"] * 4]


async def test_who_leaves_takes_nobody_along_and_the_last_ends_the_work(world: World) -> None:
    leader, follower = world.ask(), world.ask()
    await asyncio.sleep(0.001)
    leader.cancel()
    await asyncio.sleep(0.001)
    assert not follower.done()
    world.inner.go.set()
    assert len(await follower) == 8
    world.inner.go.clear()
    tasks = [world.ask("silk"), world.ask("silk")]
    await asyncio.sleep(0.001)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)
    assert world.inner.cancelled == 1
    assert not world.shared._flights
    again = world.ask("silk")
    await asyncio.sleep(0)
    world.inner.go.set()
    assert len(await again) == 8


async def test_an_error_reaches_all_and_is_not_kept(world: World) -> None:
    world.inner.error = EmbedderError("down")
    tasks = [world.ask(), world.ask()]
    await asyncio.sleep(0)
    world.inner.go.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, EmbedderError) for outcome in outcomes)
    world.inner.error = None
    assert len(await world.embedder.embed_query("wool")) == 8


async def test_what_is_kept_stays_within_its_bytes() -> None:
    world = World(max_bytes=5_000)
    world.inner.go.set()
    for number in range(200):
        await world.embedder.embed_query(f"text {number}")
        assert world.store.size_bytes <= 5_000
