"""A cache that all processes share, in a Valkey or Redis server (7.0 or later).

    PREFIX:e:KEY     an entry, framed, with its time to live
    PREFIX:m:GROUP   the keys of a group, sorted by when they expire
    PREFIX:groups    the groups, sorted by when their last entry expires

What has expired leaves the sorted sets with the next entry that is put, so they are no larger than
what was put within one life. What the server evicted leaves them when the group is looked
through; where it evicted a sorted set itself, `found_again` makes it anew from the entries. Run the
server without persistence: a file of its own would outlive an erasure.
"""

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from ragstone.caches.commands import Commands
from ragstone.caches.frame import Framed, framed, unframed
from ragstone.domain.errors import DependencyError
from ragstone.ports import CacheStats, Clock, Kept

_CONNECTIONS: Final = 64
"""At most, for look-ups and puts: many answers may end at the same moment, and that is no failure
of the server."""
_BULK_CONNECTIONS: Final = 4
_BULK_SECONDS: Final = 2.0
"""Longest wait for one reply while sweeping or clearing."""
_BATCH: Final = 200
"""Entries read or removed with one command: other clients wait no longer than that takes."""
_SCANNED: Final = 250
"""Names looked at with one command: reading a reply holds the loop for about two milliseconds."""
_WALK_SHARE: Final = 0.05
"""Of the time that may go into walks through all entries, while the server evicts on and on."""
_GLOB: Final = re.compile(rb"[*?\[\]\\]")


class ValkeyCache:
    """Implements `ports.CacheStore`, but raises `DependencyError`: what a server that fails costs
    is for `resilience.guarded_cache` to decide.
    """

    def __init__(self, url: str, *, prefix: str, timeout_seconds: float, clock: Clock) -> None:
        """Connects when first used. Raises `InvalidSettings`."""
        self._clock = clock
        self._prefix = prefix.encode() + b":2:"
        self._groups = self._prefix + b"groups"
        self._quick = Commands(url, connections=_CONNECTIONS, seconds=timeout_seconds)
        self._bulk = Commands(
            url, connections=_BULK_CONNECTIONS, seconds=max(timeout_seconds, _BULK_SECONDS)
        )
        self._evicted: int | None = None
        """As the server counted before the last walk through all entries."""
        self._next_walk = 0.0

    async def get(self, key: bytes) -> Kept | None:
        frame = await self._quick.reply(self._quick.redis.get(self._entry(key)))
        found = unframed(key, frame)
        if found is None:
            return None
        return Kept(found.value, max(0.0, self._clock.time() - found.put_at))

    async def put(self, key: bytes, value: bytes, *, ttl: float, group: str) -> None:
        await self._quick.reply(self._put(key, value, max(1, int(ttl * 1000)), group.encode()))

    async def delete(self, keys: Sequence[bytes]) -> None:
        for batch in _batches(keys):
            await self._bulk.reply(self._bulk.redis.delete(*map(self._entry, batch)))

    async def groups(self) -> list[str]:
        return sorted(group for group, count in await self._counts() if count)

    async def found_again(self) -> list[str]:
        """Looks at all entries when the server has evicted since it last did. Seldom enough to take
        a twentieth of the time: what is evicted meanwhile is found the next time."""
        evicted = await self._evictions()
        started = self._clock.monotonic()
        if started < self._next_walk or (evicted is not None and evicted == self._evicted):
            return []
        groups = await self._list_anew()
        self._evicted = evicted
        now = self._clock.monotonic()
        self._next_walk = now + (now - started) / _WALK_SHARE
        return sorted(group.decode(errors="replace") for group in groups)

    async def members(self, group: str) -> list[bytes]:
        now, listed = self._clock.time(), await self._listed(group.encode())
        return [key for key, expires in listed.items() if expires >= now]

    async def values(self, group: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """What the server has evicted is struck off the group's list."""
        values: list[bytes | None] = []
        for batch in _batches(keys):
            frames = await self._bulk.reply(self._bulk.redis.mget(map(self._entry, batch)))
            pairs = list(zip(batch, frames, strict=True))
            if gone := [key for key, frame in pairs if frame is None]:
                await self._bulk.reply(self._bulk.redis.zrem(self._members(group.encode()), *gone))
            for key, frame in pairs:
                found = unframed(key, frame)
                values.append(None if found is None else found.value)
        return values

    async def clear(self, group: str | None = None) -> int:
        count = 0
        for name in await self.groups() if group is None else [group]:
            keys = list(await self._listed(name.encode()))
            for batch in _batches(keys):
                count += await self._bulk.reply(self._bulk.redis.delete(*map(self._entry, batch)))
                await self._bulk.reply(self._bulk.redis.zrem(self._members(name.encode()), *batch))
        return count

    async def stats(self) -> CacheStats:
        """Bytes and bound are the whole server's."""
        counts = await self._counts()
        memory = await self._bulk.reply(self._bulk.redis.info("memory"))
        return CacheStats(
            store="redis",
            entries=sum(count for _, count in counts),
            bytes=memory.get("used_memory", 0),
            max_bytes=memory.get("maxmemory") or None,
        )

    async def close(self) -> None:
        """Waits for what is under way, which its time limits end."""
        await self._quick.close()
        await self._bulk.close()

    async def _counts(self) -> list[tuple[str, int]]:
        """Groups, and how many entries each has that have not expired."""
        now = self._clock.time()
        names = await self._bulk.reply(self._bulk.redis.zrangebyscore(self._groups, now, "+inf"))
        async with self._bulk.redis.pipeline(transaction=False) as together:
            for name in names:
                together.zcount(self._members(name), now, "+inf")
            counts = await self._bulk.reply(together.execute())
        return list(zip((name.decode(errors="replace") for name in names), counts, strict=True))

    async def _listed(self, group: bytes) -> dict[bytes, float]:
        """The keys of a group, and when they expire."""
        listed: dict[bytes, float] = {}
        cursor = 0
        while True:
            asked = self._bulk.redis.zscan(self._members(group), cursor, count=_SCANNED)
            cursor, pairs = await self._bulk.reply(asked)
            listed.update(pairs)
            if not cursor:
                return listed

    async def _evictions(self) -> int | None:
        """How many the server has counted; None where it does not tell us."""
        try:
            stats = await self._bulk.reply(self._bulk.redis.info("stats"))
        except DependencyError:
            return None
        count: int | None = stats.get("evicted_keys")
        return count

    async def _list_anew(self) -> set[bytes]:
        """Lists what is not; the groups of it."""
        listed: set[bytes] = set()
        for name, _ in await self._counts():
            listed.update(await self._listed(name.encode()))
        groups: set[bytes] = set()
        start = self._entry(b"")
        pattern, cursor = _GLOB.sub(rb"\\\g<0>", start) + b"*", 0
        while True:
            asked = self._bulk.redis.scan(cursor, match=pattern, count=_SCANNED)
            cursor, names = await self._bulk.reply(asked)
            keys = [key for name in names if (key := name[len(start) :]) not in listed]
            for batch in _batches(keys):
                groups |= await self._bulk.reply(self._list(batch))
            if not cursor:
                return groups

    async def _list(self, keys: Sequence[bytes]) -> set[bytes]:
        """What cannot be read, and so never be given, is removed."""
        now, groups = self._clock.time(), dict[bytes, dict[bytes, float]]()
        frames = await self._bulk.redis.mget(map(self._entry, keys))
        async with self._bulk.redis.pipeline(transaction=False) as together:
            for key, frame in zip(keys, frames, strict=True):
                if (found := unframed(key, frame)) is None:
                    together.delete(self._entry(key))
                elif found.expires > now:
                    groups.setdefault(found.group, {})[key] = found.expires
            for group, expires in groups.items():
                self._note(together, group, expires, now)
            await together.execute()
        return set(groups)

    async def _put(self, key: bytes, value: bytes, ttl_ms: int, group: bytes) -> None:
        now = self._clock.time()
        expires = now + ttl_ms / 1000
        async with self._quick.redis.pipeline(transaction=True) as together:
            self._note(together, group, {key: expires}, now)
            frame = framed(key, Framed(value, now, expires, group))
            together.set(self._entry(key), frame, px=ttl_ms)
            await together.execute()

    def _note(self, together: Any, group: bytes, entries: dict[bytes, float], now: float) -> None:
        """The commands that list entries with the times at which they expire."""
        members, last = self._members(group), max(entries.values())
        left_ms = math.ceil((last - now) * 1000)
        together.zremrangebyscore(members, "-inf", now)
        together.zadd(members, entries, gt=True)
        together.pexpire(members, left_ms, nx=True)
        together.pexpire(members, left_ms, gt=True)
        together.zremrangebyscore(self._groups, "-inf", now)
        together.zadd(self._groups, {group: last}, gt=True)

    def _entry(self, key: bytes) -> bytes:
        return self._prefix + b"e:" + key

    def _members(self, group: bytes) -> bytes:
        return self._prefix + b"m:" + group


def _batches(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(keys), _BATCH):
        yield keys[start : start + _BATCH]
