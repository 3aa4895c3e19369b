"""What every cache does."""

import pytest

from ragstone.ports import CacheStore


async def held(cache: CacheStore, group: str) -> list[tuple[bytes, bytes]]:
    keys = await cache.members(group)
    values = await cache.values(group, keys)
    return [(key, value) for key, value in zip(keys, values, strict=True) if value is not None]


KEY, OTHER = b"\x00\r\n key" * 5, b"\xff" * 32
GROUPS = ["acme/help", "acme/ä:*?[", "other/help"]


async def test_what_is_put_comes_back_with_its_age(cache: CacheStore) -> None:
    assert await cache.get(KEY) is None
    await cache.put(KEY, b"value\x00\r\n", ttl=60, group="g")
    kept = await cache.get(KEY)
    assert kept is not None
    assert kept.value == b"value\x00\r\n"
    assert 0 <= kept.age < 60
    assert await cache.get(OTHER) is None


async def test_the_last_value_holds_and_is_counted_once(cache: CacheStore) -> None:
    await cache.put(KEY, b"first", ttl=60, group="g")
    await cache.put(KEY, b"second", ttl=60, group="g")
    assert await held(cache, "g") == [(KEY, b"second")]
    assert (await cache.stats()).entries == 1


@pytest.mark.parametrize("value", [b"", b"x" * 300_000])
async def test_empty_and_large_values(cache: CacheStore, value: bytes) -> None:
    await cache.put(KEY, value, ttl=60, group="g")
    kept = await cache.get(KEY)
    assert kept is not None
    assert kept.value == value


async def test_an_entry_ends_with_its_time(cache: CacheStore) -> None:
    await cache.put(KEY, b"v", ttl=0.02, group="g")
    while await cache.get(KEY) is not None:
        pass
    assert await held(cache, "g") == []


async def test_groups_and_their_members(cache: CacheStore) -> None:
    for number, group in enumerate(GROUPS):
        await cache.put(bytes([number]) * 32, group.encode(), ttl=60, group=group)
    assert await cache.groups() == sorted(GROUPS)
    for number, group in enumerate(GROUPS):
        assert await held(cache, group) == [(bytes([number]) * 32, group.encode())]
    assert await cache.members("absent") == []
    assert await cache.values(GROUPS[0], [b"absent", bytes(32)]) == [None, GROUPS[0].encode()]


async def test_many_members(cache: CacheStore) -> None:
    keys = [number.to_bytes(32, "big") for number in range(450)]
    for key in keys:
        await cache.put(key, key[::-1], ttl=60, group="g")
    assert dict(await held(cache, "g")) == {key: key[::-1] for key in keys}
    assert (await cache.stats()).entries == 450
    await cache.delete(keys[:-1])
    assert await held(cache, "g") == [(keys[-1], keys[-1][::-1])]
    assert await cache.clear("g") == 1


async def test_what_is_deleted_is_gone_and_may_be_put_again(cache: CacheStore) -> None:
    await cache.put(KEY, b"v", ttl=60, group="g")
    await cache.put(OTHER, b"v", ttl=60, group="g")
    await cache.delete([KEY, b"absent"])
    assert await cache.get(KEY) is None
    assert await held(cache, "g") == [(OTHER, b"v")]
    await cache.delete([])
    await cache.put(KEY, b"again", ttl=60, group="g")
    assert await cache.get(KEY) is not None


async def test_clearing_a_group_leaves_the_others(cache: CacheStore) -> None:
    for number, group in enumerate(GROUPS):
        await cache.put(bytes([number]) * 32, b"v", ttl=60, group=group)
    assert await cache.clear(GROUPS[0]) == 1
    assert await cache.clear(GROUPS[0]) == 0
    assert await cache.get(bytes(32)) is None
    assert await cache.get(bytes([1]) * 32) is not None
    assert await cache.clear() == 2
    assert (await cache.stats()).entries == 0


async def test_figures(cache: CacheStore) -> None:
    await cache.put(KEY, b"x" * 1_000, ttl=60, group="g")
    stats = await cache.stats()
    assert stats.available
    assert stats.entries == 1
    assert stats.bytes >= 1_000
