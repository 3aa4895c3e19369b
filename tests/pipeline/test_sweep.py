"""The bytes of answers over what has changed are freed, in memory and in a cache server."""

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import Redis

from ragstone.caches.memory import MemoryCache
from ragstone.caches.valkey import ValkeyCache
from ragstone.domain.clock import SystemClock
from ragstone.domain.errors import InvalidRequest
from ragstone.domain.kept import KeptAnswer
from ragstone.domain.usage import Usage
from ragstone.pipeline.sweep import Sweeper
from ragstone.ports import CacheStore
from ragstone.records.memory import MemoryRecords
from ragstone.records.storable import storable_name
from tests.clock import VirtualClock
from tests.records.samples import MINILM, a_document, with_text
from tests.redis_server import redis_server

CANARY = b"canary-4711-in-the-coal-mine"
GROUP = "acme/default"


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_server() as url:
        yield url


class World:
    def __init__(self, cache: CacheStore) -> None:
        self.cache = cache
        self.clock = VirtualClock()
        self.records = MemoryRecords(self.clock)
        self.sweeper = Sweeper(cache, self.records, clock=self.clock, pause_seconds=5)
        self.wool, self.silk = a_document("wool.md"), a_document("silk.md")

    async def begin(self) -> None:
        await self.records.ensure_collection("acme", "default", MINILM)
        await self.put(self.wool.external_id, 1)
        await self.put(self.silk.external_id, 1)

    async def put(self, name: str, version: int) -> None:
        document = a_document(name, version=version)
        await self.records.put_documents("acme", "default", [with_text(document)])

    async def keep(self, key: bytes, *documents: tuple[str, int]) -> None:
        collection = await self.records.collection("acme", "default")
        assert collection is not None
        kept = KeptAnswer(
            told=CANARY + key,
            checksum=0,
            documents=list(documents),
            generation=collection.generation,
            epoch=collection.cache_epoch,
            made_at=0.0,
            expires_at=0.0,
            not_found=False,
            model="m",
            usage=Usage(),
            nanodollars=0,
        )
        await self.cache.put(key, msgspec.msgpack.encode(kept), ttl=600, group=GROUP)

    async def left(self) -> set[bytes]:
        keys = await self.cache.members(GROUP)
        values = await self.cache.values(GROUP, keys)
        return {key for key, value in zip(keys, values, strict=True) if value is not None}


@pytest.fixture(params=["memory", "redis"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    cache: CacheStore
    if request.param == "memory":
        cache = MemoryCache(max_bytes=1_000_000, clock=VirtualClock())
    else:
        url = request.getfixturevalue("redis_url")
        cache = ValkeyCache(url, prefix="sweep", timeout_seconds=60, clock=SystemClock())
        await cache.clear()
    world = World(cache)
    await world.begin()
    yield world
    await cache.close()


async def test_answers_over_what_was_changed_or_deleted_go_and_others_stay(world: World) -> None:
    wool, silk = world.wool.id, world.silk.id
    await world.keep(b"wool", (wool, 1))
    await world.keep(b"silk", (silk, 1))
    await world.keep(b"both", (silk, 1), (wool, 1))
    await world.keep(b"none")
    await world.cache.put(b"broken", b"\xc1", ttl=600, group=GROUP)
    assert await world.sweeper.sweep() == 1
    await world.put("wool.md", 2)
    world.clock.advance(5)
    assert await world.sweeper.sweep() == 2
    assert await world.left() == {b"silk", b"none"}
    await world.records.delete_document("acme", silk)
    world.clock.advance(5)
    assert await world.sweeper.sweep() == 1
    assert await world.left() == {b"none"}


async def test_clearing_and_a_deleted_collection_leave_nothing(world: World) -> None:
    await world.keep(b"old", (world.wool.id, 1))
    assert await world.records.raise_cache_epoch("acme", "default") == ["default"]
    await world.keep(b"new", (world.wool.id, 1))
    await world.sweeper.sweep()
    assert await world.left() == {b"new"}
    await world.records.delete_collection("acme", "default")
    world.clock.advance(5)
    await world.sweeper.sweep()
    assert await world.left() == set()


async def test_an_answer_left_late_is_found_too(world: World) -> None:
    await world.keep(b"other", (world.silk.id, 1))
    await world.records.delete_document("acme", world.wool.id)
    await world.sweeper.sweep()
    for _ in range(12):
        world.clock.advance(5)
        await world.sweeper.sweep()
    await world.keep(b"late", (world.wool.id, 1))
    for _ in range(12):
        world.clock.advance(5)
        await world.sweeper.sweep()
    assert await world.left() == {b"other"}


async def test_no_byte_of_a_deleted_document_is_left_in_this_process() -> None:
    cache = MemoryCache(max_bytes=1_000_000, clock=VirtualClock())
    world = World(cache)
    await world.begin()
    await world.keep(b"k", (world.wool.id, 1))
    assert CANARY in _bytes_of(cache)
    await world.records.delete_document("acme", world.wool.id)
    await world.sweeper.sweep()
    assert CANARY not in _bytes_of(cache)


async def test_no_byte_of_a_deleted_document_is_left_in_the_cache_server(redis_url: str) -> None:
    cache = ValkeyCache(redis_url, prefix="erase", timeout_seconds=60, clock=SystemClock())
    world = World(cache)
    await world.begin()
    raw = Redis.from_url(redis_url)
    await raw.flushall()
    await raw.config_set("rdbcompression", "no")
    await world.keep(b"k", (world.wool.id, 1))
    assert CANARY in await _saved(raw)
    await world.records.delete_document("acme", world.wool.id)
    await world.sweeper.sweep()
    assert CANARY not in await _saved(raw)
    await raw.aclose()
    await cache.close()


async def test_no_byte_is_left_where_the_server_evicted_the_lists() -> None:
    options = ("--maxmemory", "3mb", "--maxmemory-policy", "allkeys-random")
    with redis_server(*options) as url:
        cache = ValkeyCache(url, prefix="full", timeout_seconds=60, clock=SystemClock())
        world = World(cache)
        await world.begin()
        raw = Redis.from_url(url)
        await raw.config_set("rdbcompression", "no")
        try:
            await world.sweeper.sweep()
            for number in range(100):
                await world.keep(bytes([number]), (world.wool.id, 1))
            while not (await raw.info("stats"))["evicted_keys"]:
                await raw.set(secrets.token_hex(8), b"x" * 1_000)
            # Left to chance, the lists may be the last to go, when there is nothing to find.
            assert await raw.delete("full:2:m:" + GROUP, "full:2:groups")
            assert CANARY in await _saved(raw)
            await world.records.delete_document("acme", world.wool.id)
            await world.sweeper.sweep()
            while CANARY in await _saved(raw):  # evicted in the course of a walk: in the next one
                world.clock.advance(5)
                await world.sweeper.sweep()
        finally:
            await raw.aclose()
            await cache.close()


def _bytes_of(cache: MemoryCache) -> bytes:
    return b"".join(key + entry.value for key, entry in cache._entries.items())


async def _saved(raw: Redis) -> bytes:
    """All that the server holds, as it would write it to a disk."""
    await raw.save()
    folder = (await raw.config_get("dir"))["dir"]
    return (Path(folder) / "dump.rdb").read_bytes()


async def test_a_group_that_the_records_refuse_keeps_none_from_being_swept(world: World) -> None:
    await world.keep(b"wool", (world.wool.id, 1))
    rests = msgspec.msgpack.encode({"documents": [], "epoch": 0})
    await world.cache.put(b"odd", rests, ttl=600, group="ac\x00me/default")
    await world.records.delete_document("acme", world.wool.id)
    known = world.records.generation

    async def refusing(tenant: str, name: str) -> int | None:
        return await known(storable_name(tenant), name)

    world.records.generation = refusing  # type: ignore[method-assign]
    with pytest.raises(InvalidRequest):
        await world.sweeper.sweep()
    assert await world.left() == set()


async def test_a_tenant_with_a_slash_in_its_name_is_swept_as_its_own() -> None:
    clock = VirtualClock()
    cache, records = MemoryCache(max_bytes=1_000_000, clock=clock), MemoryRecords(clock)
    sweeper = Sweeper(cache, records, clock=clock, pause_seconds=5)
    await records.ensure_collection("acme/north", "default", MINILM)
    wool = msgspec.structs.replace(a_document("wool.md", version=1), tenant="acme/north")
    await records.put_documents("acme/north", "default", [with_text(wool)])
    rests = msgspec.msgpack.encode({"documents": [(wool.id, 1)], "epoch": 0})
    await cache.put(b"key", rests, ttl=600, group="acme/north/default")
    assert await sweeper.sweep() == 0
    clock.advance(300)
    assert await sweeper.sweep() == 0
    await records.delete_document("acme/north", wool.id)
    assert await sweeper.sweep() == 1
