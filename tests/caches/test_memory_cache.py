"""The cache keeps to its bound, forgets in time, and keeps what is asked for most."""

from hypothesis import given
from hypothesis import strategies as st

from ragstone.caches.memory import MemoryCache
from tests.clock import VirtualClock

_KEYS = st.integers(0, 12).map(lambda number: bytes([number]) * 32)
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), _KEYS, st.integers(0, 5_000), st.sampled_from("ab")),
        st.tuples(st.sampled_from(["get", "delete"]), _KEYS, st.just(0), st.just("")),
        st.tuples(st.just("clear"), st.just(b""), st.just(0), st.sampled_from("ab")),
        st.tuples(st.just("wait"), st.just(b""), st.integers(0, 20), st.just("")),
    ),
    max_size=150,
)


@given(_STEPS, st.sampled_from([0, 1, 1_000, 6_000, 40_000]))
async def test_never_more_than_the_bound_and_never_what_was_not_put(
    steps: list[tuple[str, bytes, int, str]], bound: int
) -> None:
    clock = VirtualClock()
    cache = MemoryCache(max_bytes=bound, clock=clock)
    put: dict[bytes, tuple[bytes, float, str]] = {}
    for kind, key, size, group in steps:
        if kind == "put":
            await cache.put(key, b"x" * size, ttl=10, group=group)
            put[key] = (b"x" * size, clock.monotonic(), group)
        elif kind == "get":
            kept = await cache.get(key)
            if kept is not None:
                value, at, _ = put[key]
                assert (kept.value, kept.age) == (value, clock.monotonic() - at)
                assert kept.age < 10
        elif kind == "delete":
            await cache.delete([key])
            put.pop(key, None)
        elif kind == "clear":
            await cache.clear(group)
            put = {key: entry for key, entry in put.items() if entry[2] != group}
        else:
            clock.advance(size)
        assert cache.size_bytes <= bound
    held = {
        key: value
        for group in await cache.groups()
        for key in await cache.members(group)
        for value in await cache.values(group, [key])
    }
    assert held.items() <= {key: value for key, (value, _, _) in put.items()}.items()
    assert len(cache) == len(held)
    assert await cache.clear() == len(held)
    assert (cache.size_bytes, len(cache), await cache.groups()) == (0, 0, [])


async def test_a_value_larger_than_the_bound_is_not_kept_and_pushes_nothing_out(
    clock: VirtualClock,
) -> None:
    cache = MemoryCache(max_bytes=10_000, clock=clock)
    await cache.put(b"small", b"x", ttl=10, group="g")
    await cache.put(b"large", b"x" * 20_000, ttl=10, group="g")
    assert await cache.get(b"small") is not None
    assert await cache.get(b"large") is None


async def test_what_is_asked_for_again_outlives_a_scan(clock: VirtualClock) -> None:
    cache = MemoryCache(max_bytes=100_000, clock=clock)
    await cache.put(b"popular", b"x" * 500, ttl=10, group="g")
    for number in range(2_000):
        if number % 10 == 0:
            assert await cache.get(b"popular") is not None
        key = number.to_bytes(8, "big")
        if await cache.get(key) is None:
            await cache.put(key, b"x" * 500, ttl=10, group="g")


async def test_what_was_popular_gives_way(clock: VirtualClock) -> None:
    cache = MemoryCache(max_bytes=20_000, clock=clock)

    async def ask(number: int) -> bool:
        key = number.to_bytes(8, "big")
        if await cache.get(key) is not None:
            return True
        await cache.put(key, b"x" * 500, ttl=1e9, group="g")
        return False

    for _ in range(50):
        for number in range(15):
            await ask(number)
    hits = [await ask(number) for _ in range(100) for number in range(100, 115)]
    assert all(hits[-15:])


async def test_what_has_expired_frees_its_bytes_when_its_group_is_looked_through(
    clock: VirtualClock,
) -> None:
    cache = MemoryCache(max_bytes=10_000, clock=clock)
    await cache.put(b"k", b"v", ttl=10, group="g")
    clock.advance(10)
    assert await cache.members("g") == []
    assert (cache.size_bytes, await cache.groups()) == (0, [])
