"""The cache keeps to its bound, forgets in time, and forgets the least recently used first."""

from hypothesis import given
from hypothesis import strategies as st

from ragstone.caches.memory import MemoryCache
from ragstone.ports import Kept
from tests.clock import VirtualClock


async def test_an_entry_ends_with_its_time(clock: VirtualClock) -> None:
    cache = MemoryCache(max_bytes=10_000, clock=clock)
    await cache.put(b"k", b"v", ttl=10, group="g")
    clock.advance(9.9)
    assert await cache.get(b"k") == Kept(b"v", 9.9)
    clock.advance(0.1)
    assert await cache.get(b"k") is None
    assert cache.size_bytes == 0


async def test_the_least_recently_used_goes_first(clock: VirtualClock) -> None:
    cache = MemoryCache(max_bytes=650, clock=clock)
    for key in (b"a", b"b", b"c"):
        await cache.put(key, b"x", ttl=10, group="g")
    await cache.get(b"a")
    await cache.put(b"d", b"x", ttl=10, group="g")
    assert await cache.get(b"b") is None
    assert await cache.get(b"a") == Kept(b"x", 0.0)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.binary(max_size=900), st.floats(0.1, 5)), max_size=60)
)
async def test_never_more_than_the_bound(puts: list[tuple[int, bytes, float]]) -> None:
    clock = VirtualClock()
    cache = MemoryCache(max_bytes=2_000, clock=clock)
    for key, value, ttl in puts:
        await cache.put(bytes([key]), value, ttl=ttl, group="g")
        clock.advance(0.2)
        assert cache.size_bytes <= 2_000
