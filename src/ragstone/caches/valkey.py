"""A cache that all processes share, in a Valkey or Redis server (7.0 or later).

    PREFIX:e:KEY     an entry, framed, with its time to live
    PREFIX:m:GROUP   the keys of a group, sorted by when they expire
    PREFIX:groups    the groups, sorted by when their last entry expires

Entries end by the server's clock, and the sorted sets are in the time of whoever put: what has
expired leaves them an hour later, with the next entry that is put, so that clocks less than an hour
apart hide nothing from an erasure. What the server evicted leaves them when the group is looked
through; where it evicted a sorted set itself, `found_again` makes it anew from the entries. Run the
server without persistence: a file of its own would outlive an erasure.
"""

from collections.abc import Sequence
from typing import Final

from ragstone.caches.commands import Commands
from ragstone.caches.frame import Framed, framed, unframed
from ragstone.caches.lists import Lists, batches
from ragstone.caches.walk import Walks
from ragstone.ports import CacheStats, Clock, Kept

_CONNECTIONS: Final = 64
"""At most, for look-ups and puts: many answers may end at the same moment, and that is no failure
of the server."""
_BULK_CONNECTIONS: Final = 4
_BULK_SECONDS: Final = 2.0
"""Longest wait for one reply while sweeping or clearing."""


class ValkeyCache:
    """Implements `ports.CacheStore`, but raises `DependencyError`: what a server that fails costs
    is for `resilience.guarded_cache` to decide.
    """

    def __init__(self, url: str, *, prefix: str, timeout_seconds: float, clock: Clock) -> None:
        """Connects when first used. Raises `InvalidSettings`."""
        self._clock = clock
        self._quick = Commands(url, connections=_CONNECTIONS, seconds=timeout_seconds)
        self._bulk = Commands(
            url, connections=_BULK_CONNECTIONS, seconds=max(timeout_seconds, _BULK_SECONDS)
        )
        self._lists = Lists(self._bulk, prefix.encode() + b":2:", clock)
        self._walks = Walks(self._bulk, self._lists, clock)

    async def get(self, key: bytes) -> Kept | None:
        frame = await self._quick.reply(self._quick.redis.get(self._lists.entry(key)))
        found = unframed(key, frame)
        if found is None:
            return None
        return Kept(found.value, max(0.0, self._clock.time() - found.put_at))

    async def put(self, key: bytes, value: bytes, *, ttl: float, group: str) -> None:
        await self._quick.reply(self._put(key, value, max(1, int(ttl * 1000)), group.encode()))

    async def delete(self, keys: Sequence[bytes]) -> None:
        for batch in batches(keys):
            await self._bulk.reply(self._bulk.redis.delete(*map(self._lists.entry, batch)))

    async def groups(self) -> list[str]:
        return sorted(map(_text, await self._lists.listed(self._lists.groups)))

    async def found_again(self) -> list[str]:
        return sorted(map(_text, await self._walks.found_again()))

    async def members(self, group: str) -> list[bytes]:
        return await self._lists.listed(self._lists.members(group.encode()))

    async def values(self, group: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """What the server has evicted is struck off the group's list."""
        values: list[bytes | None] = []
        for batch in batches(keys):
            frames = await self._bulk.reply(self._bulk.redis.mget(map(self._lists.entry, batch)))
            pairs = list(zip(batch, frames, strict=True))
            if gone := [key for key, frame in pairs if frame is None]:
                await self._walks.strike_off(group.encode(), gone)
            for key, frame in pairs:
                found = unframed(key, frame)
                values.append(None if found is None else found.value)
        return values

    async def clear(self, group: str | None = None) -> int:
        count = 0
        for name in await self.groups() if group is None else [group]:
            for batch in batches(await self.members(name)):
                count += await self._bulk.reply(self._drop(name.encode(), batch))
        return count

    async def stats(self) -> CacheStats:
        """Bytes and bound are the whole server's. Entries are counted by this process's clock: as
        far as others' differ, the count may be wrong."""
        count = await self._lists.count(await self._lists.listed(self._lists.groups))
        memory = await self._bulk.reply(self._bulk.redis.info("memory"))
        return CacheStats(
            store="redis",
            entries=count,
            bytes=memory.get("used_memory", 0),
            max_bytes=memory.get("maxmemory") or None,
        )

    async def close(self) -> None:
        """Waits for what is under way, which its time limits end."""
        await self._quick.close()
        await self._bulk.close()

    async def _drop(self, group: bytes, keys: Sequence[bytes]) -> int:
        """How many were there. Together, so that what is put meanwhile is listed."""
        async with self._bulk.redis.pipeline(transaction=True) as together:
            together.delete(*map(self._lists.entry, keys))
            together.zrem(self._lists.members(group), *keys)
            count: int = (await together.execute())[0]
            return count

    async def _put(self, key: bytes, value: bytes, ttl_ms: int, group: bytes) -> None:
        now = self._clock.time()
        expires = now + ttl_ms / 1000
        async with self._quick.redis.pipeline(transaction=True) as together:
            self._lists.note(together, group, {key: expires}, now)
            frame = framed(key, Framed(value, now, expires, group))
            together.set(self._lists.entry(key), frame, px=ttl_ms)
            await together.execute()


def _text(group: bytes) -> str:
    return group.decode(errors="replace")
