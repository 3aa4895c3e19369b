"""A cache server that is full, down, slow or answers garbage, and clients that leave."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Coroutine

import pytest
from redis.asyncio import Redis

from ragstone.caches.frame import Framed, framed, unframed
from ragstone.caches.valkey import ValkeyCache
from ragstone.caches.walk import Walk
from ragstone.domain.clock import SystemClock
from ragstone.domain.errors import DependencyError, InvalidSettings
from ragstone.lab.fault_proxy.proxy import FaultProxy
from ragstone.resilience.breaker import Breaker, BreakerSettings
from ragstone.resilience.dependency import Dependency
from ragstone.resilience.guarded_cache import GuardedCache
from tests.clock import VirtualClock
from tests.lab.simulators import proxy_to
from tests.redis_server import garbage_server, redis_server

KEY = b"k" * 32


@pytest.fixture
async def raw(redis_url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(redis_url)
    yield client
    await client.aclose()


def over(url: str, seconds: float = 60.0) -> ValkeyCache:
    return ValkeyCache(url, prefix="test", timeout_seconds=seconds, clock=SystemClock())


def guarded(store: ValkeyCache, seconds: float) -> GuardedCache:
    clock = SystemClock()
    breaker = Breaker(
        "cache", BreakerSettings(calls=3, open_seconds=60), clock=clock, random=random.Random(1)
    )
    dependency = Dependency("cache", clock=clock, breaker=breaker, fair_seconds=0.9 * seconds)
    return GuardedCache(store, dependency, clock=clock, seconds=seconds)


def test_a_frame_is_known_by_its_key_and_every_bit() -> None:
    content = Framed(b"value", 12.5, 72.5, b"g")
    frame = framed(KEY, content)
    assert unframed(KEY, frame) == content
    assert unframed(b"other", frame) is None
    for bit in range(8 * len(frame)):
        broken = bytearray(frame)
        broken[bit // 8] ^= 1 << bit % 8
        assert unframed(KEY, bytes(broken)) is None
    for end in range(len(frame)):
        assert unframed(KEY, frame[:end]) is None
    assert unframed(KEY, frame + b"x") is None
    assert unframed(KEY, None) is None


async def test_corrupt_and_exchanged_values_are_misses(
    shared_cache: ValkeyCache, raw: Redis
) -> None:
    await shared_cache.put(KEY, b"value", ttl=60, group="g")
    await shared_cache.put(b"other", b"else", ttl=60, group="g")
    (name,) = await raw.keys("test:2:e:k*")
    for garbage in (b"", b"\x00" * 30, await raw.get(b"test:2:e:other")):
        await raw.set(name, garbage)
        assert await shared_cache.get(KEY) is None
        assert await shared_cache.values("g", [KEY, b"other"]) == [None, b"else"]
    await raw.delete(name)
    await raw.rpush(name, "a list")
    with pytest.raises(DependencyError):
        await shared_cache.get(KEY)


async def test_entries_and_the_books_about_them_expire(redis_url: str, raw: Redis) -> None:
    await raw.flushdb()
    clock = VirtualClock()
    cache = ValkeyCache(redis_url, prefix="test", timeout_seconds=60, clock=clock)
    await cache.put(b"long", b"v", ttl=10_000, group="g")
    await cache.put(b"short", b"v", ttl=0.001, group="g")
    await cache.put(b"short", b"v", ttl=0.001, group="h")
    assert 9_990 < await raw.ttl(b"test:2:m:g") <= 10_000  # not as short as the last entry's
    clock.advance(3_601)
    await cache.put(b"last", b"v", ttl=100, group="g")
    assert sorted(await raw.zrange(b"test:2:m:g", 0, -1)) == [b"last", b"long"]
    assert await cache.groups() == ["g"]
    assert await raw.ttl(b"test:2:e:long") > 9_900
    await cache.close()


@pytest.mark.parametrize("apart", [-3_500.0, 3_500.0])
async def test_clocks_that_differ_hide_no_entry(redis_url: str, raw: Redis, apart: float) -> None:
    await raw.flushdb()
    clock, other = VirtualClock(), VirtualClock()
    (other if apart > 0 else clock).advance(abs(apart))
    writer, eraser = (
        ValkeyCache(redis_url, prefix="test", timeout_seconds=60, clock=time)
        for time in (clock, other)
    )
    await writer.put(KEY, b"value", ttl=60, group="g")
    await eraser.put(b"other", b"value", ttl=60, group="g")
    await writer.put(b"third", b"value", ttl=60, group="h")
    assert await eraser.groups() == ["g", "h"]
    assert sorted(await eraser.members("g")) == sorted([KEY, b"other"])
    assert await eraser.values("g", [KEY]) == [b"value"]
    await raw.delete("test:2:m:g", "test:2:groups")
    assert await eraser.found_again() == ["g"]
    assert sorted(await writer.members("g")) == sorted([KEY, b"other"])
    assert await eraser.clear() == 3
    assert await raw.keys("test:2:e:*") == []
    await writer.close()
    await eraser.close()


async def test_a_server_that_evicts_what_it_likes() -> None:
    with redis_server("--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru") as url:
        cache = over(url)
        try:
            for number in range(1_000):
                await cache.put(number.to_bytes(32, "big"), b"x" * 5_000, ttl=60, group="g")
            values = await cache.values("g", await cache.members("g"))
            kept = len(values) - values.count(None)
            assert kept < 1_000
            # It may strike off the lists too, whose entries are found again.
            assert await cache.found_again() in ([], ["g"])
            values = await cache.values("g", await cache.members("g"))
            # What was evicted is counted no longer.
            assert (await cache.stats()).entries in (0, len(values) - values.count(None))
            await cache.clear("g")
            assert await cache.members("g") == []
        finally:
            await cache.close()


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random", "volatile-lru"])
async def test_every_entry_is_listed_again_whatever_was_evicted(policy: str) -> None:
    options = ("--maxmemory", "3mb", "--maxmemory-policy", policy)
    with redis_server(*options) as url:
        clock = VirtualClock()
        cache = ValkeyCache(url, prefix="te*t[1]", timeout_seconds=60, clock=clock)
        raw, rng = Redis.from_url(url), random.Random(4)
        try:
            for _ in range(4):
                for _ in range(300):
                    group = f"tenant/{rng.randrange(20)}"
                    await cache.put(rng.randbytes(32), b"x" * 5_000, ttl=600, group=group)
                for _ in range(10):  # a full server may evict for the walk itself
                    await cache.found_again()
                    groups = await cache.groups()
                    listed = {key for group in groups for key in await cache.members(group)}
                    names = [name async for name in raw.scan_iter("te[*]t[[]1]:2:e:*")]
                    if {name.removeprefix(b"te*t[1]:2:e:") for name in names} <= listed:
                        break
                else:
                    pytest.fail("entries are out of sight")
                assert names
        finally:
            await raw.aclose()
            await cache.close()


async def test_without_evictions_entries_are_walked_through_once(
    shared_cache: ValkeyCache, raw: Redis
) -> None:
    await shared_cache.put(KEY, b"value", ttl=60, group="g")
    for expected in (["g"], []):
        await raw.delete(b"test:2:m:g", b"test:2:groups")
        assert await shared_cache.found_again() == expected
        shared_cache._walks._next_walk = 0.0
    assert await shared_cache.groups() == []


async def test_groups_of_which_nothing_was_lost_are_not_told(
    shared_cache: ValkeyCache, raw: Redis
) -> None:
    for group in ("g", "h"):
        await shared_cache.put(group.encode(), b"value", ttl=60, group=group)
    await raw.delete(b"test:2:groups", b"test:2:m:h")  # then both keys are new to the walk
    assert await shared_cache.found_again() == ["h"]
    assert await shared_cache.groups() == ["g", "h"]


async def test_a_walk_frees_what_cannot_be_read(shared_cache: ValkeyCache, raw: Redis) -> None:
    await raw.set(b"test:2:e:torn", b"x" * 100, ex=60)
    await raw.set(b"test:other", b"another's")
    assert await shared_cache.found_again() == []
    assert await raw.keys("test:*") == [b"test:other"]
    await raw.delete(b"test:other")


@pytest.mark.parametrize("passing", range(1, 6))
async def test_a_server_that_goes_in_the_middle_of_a_walk_is_walked_through_again(
    redis_url: str, shared_cache: ValkeyCache, raw: Redis, passing: int
) -> None:
    for number in range(3):
        await shared_cache.put(bytes([number]) * 32, b"value", ttl=60, group=f"g/{number}")
    await raw.delete(*[f"test:2:m:g/{number}" for number in range(3)], "test:2:groups")
    cache = over(redis_url)
    reply, told = cache._bulk.reply, 0

    async def broken(command: Coroutine[object, object, object]) -> object:
        nonlocal told
        told += 1
        if told == passing:
            command.close()
            raise DependencyError("The cache server did not answer.")
        return await reply(command)

    cache._bulk.reply = broken  # type: ignore[method-assign]
    found: list[str] = []
    with contextlib.suppress(DependencyError):
        found += await cache.found_again()
    cache._walks._next_walk = 0.0
    found += await cache.found_again()
    assert found == await cache.groups() == ["g/0", "g/1", "g/2"]
    await cache.close()


class _Slow:
    """Makes every command of a cache last two seconds of its clock; the one numbered `fails`
    raises."""

    def __init__(self, cache: ValkeyCache, clock: VirtualClock, fails: int = 0) -> None:
        self._reply, self._clock, self._fails = cache._bulk.reply, clock, fails
        self.told = 0
        cache._bulk.reply = self  # type: ignore[method-assign]

    async def __call__(self, command: Coroutine[object, object, object]) -> object:
        self.told += 1
        self._clock.advance(2)
        if self.told == self._fails:
            command.close()
            raise DependencyError("The cache server did not answer.")
        return await self._reply(command)


async def _unlisted(cache: ValkeyCache, raw: Redis, entries: int) -> set[str]:
    """Entries, each in a group of its own, of which no list tells."""
    groups = {f"g/{number}" for number in range(entries)}
    for group in groups:
        await cache.put(group.encode(), b"value", ttl=6_000, group=group)
    await raw.delete("test:2:groups", *[f"test:2:m:{group}" for group in groups])
    return groups


async def test_a_long_walk_goes_on_where_it_was_left_and_then_rests(
    redis_url: str, shared_cache: ValkeyCache, raw: Redis
) -> None:
    groups = await _unlisted(shared_cache, raw, 1_200)
    clock = VirtualClock()
    cache = ValkeyCache(redis_url, prefix="test", timeout_seconds=60, clock=clock)
    slow, found, calls = _Slow(cache, clock), list[str](), 0
    began = clock.monotonic()
    while not cache._walks._next_walk:
        started = clock.monotonic()
        part = await cache.found_again()
        assert part  # told before the walk is through
        assert clock.monotonic() - started <= 10
        found += part
        calls += 1
    assert calls > 2
    assert set(found) == groups
    assert len(found) == len(groups)
    told, walked = slow.told, clock.monotonic() - began
    assert await cache.found_again() == []
    assert slow.told == told
    clock.advance(20 * walked)
    assert await cache.found_again() == []
    assert slow.told == told + 1  # asked whether anything was evicted
    await cache.close()


async def test_a_walk_that_fails_rests_tells_what_it_found_and_goes_on(
    redis_url: str, shared_cache: ValkeyCache, raw: Redis
) -> None:
    groups = await _unlisted(shared_cache, raw, 1_200)
    clock = VirtualClock()
    cache = ValkeyCache(redis_url, prefix="test", timeout_seconds=60, clock=clock)
    slow = _Slow(cache, clock, fails=7)
    found = await cache.found_again()
    while slow.told < 7:
        with contextlib.suppress(DependencyError):
            found += await cache.found_again()
    walk = cache._walks._walk
    assert walk is not None
    assert walk.cursor
    found += await cache.found_again()
    assert slow.told == 7  # at rest
    assert found
    while cache._walks._walk is walk:
        clock.advance(cache._walks._next_walk)
        found += await cache.found_again()
    assert set(found) == groups
    await cache.close()


@pytest.mark.parametrize("passing", range(1, 5))
async def test_what_is_put_while_others_are_struck_off_stays_listed(
    redis_url: str, shared_cache: ValkeyCache, raw: Redis, passing: int
) -> None:
    cache = over(redis_url)
    for ends in (lambda: cache.values("g", [KEY]), lambda: cache.clear("g")):
        await shared_cache.put(KEY, b"value", ttl=60, group="g")
        await raw.delete(b"test:2:e:" + KEY)
        reply, told = cache._bulk.reply, 0

        async def putting(command: Coroutine[object, object, object]) -> object:
            nonlocal told
            told += 1
            if told == passing:
                await shared_cache.put(KEY, b"again", ttl=60, group="g")
            return await reply(command)  # noqa: B023

        cache._bulk.reply = putting  # type: ignore[method-assign]
        await ends()
        cache._bulk.reply = reply  # type: ignore[method-assign]
        assert await cache.get(KEY) is None or await cache.members("g") == [KEY]
        await raw.flushdb()
    await cache.close()


@pytest.mark.parametrize("walking", [False, True])
async def test_what_is_put_while_the_server_goes_is_listed_by_a_walk(
    redis_url: str, shared_cache: ValkeyCache, raw: Redis, walking: bool
) -> None:
    cache = over(redis_url)
    assert await cache.found_again() == []
    await shared_cache.put(KEY, b"value", ttl=60, group="g")
    await raw.delete(b"test:2:e:" + KEY)
    if walking:  # it has come past the list
        cache._walks._walk = Walk(cache._walks._evicted, [b"g"])
        cache._walks._walk.read([KEY])
    reply, told = cache._bulk.reply, 0

    async def going(command: Coroutine[object, object, object]) -> object:
        nonlocal told
        told += 1
        if told == 2:  # seen as evicted, and about to be struck off
            await shared_cache.put(KEY, b"again", ttl=60, group="g")
        if told == 3:
            command.close()
            raise DependencyError("The cache server did not answer.")
        return await reply(command)

    cache._bulk.reply = going  # type: ignore[method-assign]
    with pytest.raises(DependencyError):
        await cache.values("g", [KEY])
    cache._bulk.reply = reply  # type: ignore[method-assign]
    assert await cache.members("g") == []
    found: list[str] = []
    for _ in range(1 + walking):
        cache._walks._next_walk = 0.0
        found += await cache.found_again()
    assert found == ["g"]
    assert await cache.members("g") == [KEY]
    await cache.close()


async def test_callers_that_leave_spoil_no_connection(redis_url: str) -> None:
    async with proxy_to(redis_url, to_client={"latency_seconds": 0.002}) as (_, url):
        cache = over(url)
        keys = [number.to_bytes(32, "big") for number in range(20)]
        for key in keys:
            await cache.put(key, key * 50, ttl=60, group="churn")
        rng = random.Random(3)

        async def ask(key: bytes) -> None:
            kept = await cache.get(key)
            assert kept is not None
            assert kept.value == key * 50

        for _ in range(20):
            tasks = [asyncio.create_task(ask(rng.choice(keys))) for _ in range(40)]
            for task in tasks:
                await asyncio.sleep(rng.choice([0, 0, 0.0005]))
                if rng.random() < 0.6:
                    task.cancel()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                assert outcome is None or isinstance(outcome, asyncio.CancelledError)
        await asyncio.gather(*map(ask, keys))
        await cache.clear("churn")
        await cache.close()
        assert not len(cache._quick)


async def test_more_at_once_than_there_are_connections_is_no_failure(redis_url: str) -> None:
    cache = over(redis_url)
    keys = [number.to_bytes(32, "big") for number in range(200)]
    await asyncio.gather(*(cache.put(key, key, ttl=60, group="burst") for key in keys))
    found = await asyncio.gather(*map(cache.get, keys))
    assert [kept.value if kept else None for kept in found] == keys
    await asyncio.gather(*(cache.delete([key]) for key in keys))
    assert await asyncio.gather(*map(cache.get, keys)) == [None] * len(keys)
    await cache.close()


@pytest.mark.parametrize(
    "reply",
    [b"HTTP/1.1 200 OK\r\n\r\n", b"\x00" * 4_000, b"$99999999\r\nx", b":1\r\n", b"*-5\r\n", b"$-"],
)
async def test_garbage_is_a_miss(reply: bytes) -> None:
    server, url = await garbage_server(reply)
    cache = guarded(over(url, 0.05), 0.1)
    async with server:
        for _ in range(5):
            assert await cache.get(KEY) is None
            await cache.put(KEY, b"v", ttl=60, group="g")
        assert await cache.members("g") == []
        assert await cache.values("g", [KEY]) == [None]
        assert not (await cache.stats()).available
        await cache.close()


class _Counted(ValkeyCache):
    """Counts the look-ups that reach the store."""

    looked_up = 0

    async def get(self, key: bytes):  # type: ignore[no-untyped-def]
        self.looked_up += 1
        return await super().get(key)


async def _hide(proxy: FaultProxy, how: str) -> None:
    if how == "down":
        await proxy.change({"connect": "refuse"})
        proxy.reset_all()
    elif how == "hangs":
        await proxy.change({"connect": "swallow"})
        proxy.reset_all()
    else:
        await proxy.change({"to_client": {"latency_seconds": 3}})


@pytest.mark.parametrize("how", ["down", "hangs", "slow"])
async def test_a_server_that_fails_costs_a_few_misses_and_then_nothing(
    redis_url: str, shared_cache: ValkeyCache, how: str
) -> None:
    async with proxy_to(redis_url) as (proxy, url):
        store = _Counted(url, prefix="test", timeout_seconds=0.1, clock=SystemClock())
        cache = guarded(store, 0.1)
        await shared_cache.put(KEY, b"value", ttl=60, group="g")
        while await cache.get(KEY) is None:  # the machine of the tests may be busy
            cache = guarded(store, 0.1)
        await _hide(proxy, how)
        store.looked_up = 0
        for _ in range(50):
            assert await cache.get(KEY) is None
            await cache.put(KEY, b"other", ttl=60, group="g")
        assert store.looked_up <= 3
        await cache.close()


async def test_the_breaker_lets_a_healed_server_back(redis_url: str) -> None:
    clock = SystemClock()
    async with proxy_to(redis_url) as (proxy, url):
        store = over(url)
        settings = BreakerSettings(calls=3, open_seconds=0.01)
        breaker = Breaker("cache", settings, clock=clock, random=random.Random(1))
        cache = GuardedCache(
            store, Dependency("cache", clock=clock, breaker=breaker), clock=clock, seconds=60.0
        )
        await _hide(proxy, "down")
        for _ in range(5):
            assert await cache.get(KEY) is None
        await proxy.change({"connect": "pass"})
        while breaker.state != "closed":
            await asyncio.sleep(0.005)
            await cache.get(KEY)
        await cache.put(KEY, b"value", ttl=60, group="g")
        assert await cache.get(KEY) is not None
        await cache.clear("g")
        await cache.close()


@pytest.mark.parametrize("url", ["localhost:6379", "http://localhost", "redis://host:port"])
def test_a_wrong_address_is_told_without_its_password(url: str) -> None:
    with pytest.raises(InvalidSettings, match=r"cache\.url is not the address"):
        over(url)
