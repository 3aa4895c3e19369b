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

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from ragstone.caches.commands import Commands
from ragstone.caches.frame import Framed, framed, unframed
from ragstone.caches.walk import Walk
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
_WALK_SECONDS: Final = 3.0
"""Longest part of a walk through all entries: what waits for it does not wait for the whole."""
_WALK_SHARE: Final = 0.05
"""Of the time that may go into walks through all entries, while the server evicts on and on."""
_CLOCKS_APART: Final = 3600.0
"""Seconds that a process's clock may be ahead of another's."""
_NOTES: Final = 6
_ADDED: Final = 1
"""Commands that `_note` gives for a group, and which of them tells how many are new there."""
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
        self._walk: Walk | None = None
        self._walked = 0.0
        """Seconds, since walks last rested."""
        self._next_walk = 0.0
        self._found: set[bytes] = set()
        """Groups found again, also by a walk that was broken off, and not told yet."""

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
        return sorted(map(_text, await self._listed(self._groups)))

    async def found_again(self) -> list[str]:
        """Looks at all entries when the server has evicted since it last did, for a few seconds:
        the next call goes on. Seldom enough to take a twentieth of the time in the long run: what
        is evicted meanwhile is found the next time."""
        if self._clock.monotonic() >= self._next_walk:
            await self._walk_on()
        found, self._found = self._found, set()  # also by a call that failed
        return sorted(map(_text, found))

    async def members(self, group: str) -> list[bytes]:
        return await self._listed(self._members(group.encode()))

    async def values(self, group: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """What the server has evicted is struck off the group's list."""
        values: list[bytes | None] = []
        for batch in _batches(keys):
            frames = await self._bulk.reply(self._bulk.redis.mget(map(self._entry, batch)))
            pairs = list(zip(batch, frames, strict=True))
            if gone := [key for key, frame in pairs if frame is None]:
                await self._strike_off(group.encode(), gone)
            for key, frame in pairs:
                found = unframed(key, frame)
                values.append(None if found is None else found.value)
        return values

    async def clear(self, group: str | None = None) -> int:
        count = 0
        for name in await self.groups() if group is None else [group]:
            for batch in _batches(await self.members(name)):
                count += await self._bulk.reply(self._drop(name.encode(), batch))
        return count

    async def stats(self) -> CacheStats:
        """Bytes and bound are the whole server's. Entries are counted by this process's clock: as
        far as others' differ, the count may be wrong."""
        count = await self._count(await self._listed(self._groups))
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

    async def _listed(self, listing: bytes) -> list[bytes]:
        """All of a sorted set, in no order; whatever stays there meanwhile."""
        found, cursor = dict[bytes, None](), 0
        while True:
            asked = self._bulk.redis.zscan(listing, cursor, count=_SCANNED)
            cursor, pairs = await self._bulk.reply(asked)
            found.update((name, None) for name, _ in pairs)
            if not cursor:
                return list(found)

    async def _count(self, groups: Sequence[bytes]) -> int:
        """Their entries that have not expired by this process's clock."""
        now, count = self._clock.time(), 0
        for batch in _batches(groups):
            async with self._bulk.redis.pipeline(transaction=False) as together:
                for group in batch:
                    together.zcount(self._members(group), now, "+inf")
                count += sum(await self._bulk.reply(together.execute()))
        return count

    async def _evictions(self) -> int | None:
        """How many the server has counted; None where it does not tell us."""
        try:
            stats = await self._bulk.reply(self._bulk.redis.info("stats"))
        except DependencyError:
            return None
        count: int | None = stats.get("evicted_keys")
        return count

    async def _strike_off(self, group: bytes, keys: Sequence[bytes]) -> None:
        """But for those that were put meanwhile."""
        try:
            await self._bulk.reply(self._bulk.redis.zrem(self._members(group), *keys))
            await self._bulk.reply(self._list(keys))
        except BaseException:  # struck off perhaps, and not listed again: that is for a walk to do
            self._evicted = None
            if self._walk:
                self._walk.evicted = None
            raise

    async def _walk_on(self) -> None:
        """Lists what is not. Rests when it is through, and when the server fails."""
        started, rests = self._clock.monotonic(), True
        try:
            walk = self._walk = self._walk or await self._new_walk()
            while walk and not await self._step(walk):
                if self._clock.monotonic() >= started + _WALK_SECONDS:
                    rests = False
                    return
            if walk:
                self._walk, self._evicted = None, walk.evicted
        finally:
            now = self._clock.monotonic()
            self._walked += now - started
            if rests:
                self._next_walk = now + self._walked / _WALK_SHARE
                self._walked = 0.0

    async def _new_walk(self) -> Walk | None:
        """None while nothing was evicted."""
        evicted = await self._evictions()
        if evicted is not None and evicted == self._evicted:
            return None
        return Walk(evicted, await self._listed(self._groups))

    async def _step(self, walk: Walk) -> bool:
        """A few names further; whether that was the end."""
        if walk.unread:
            listing = self._members(walk.unread[-1])
            part = self._bulk.redis.zscan(listing, walk.cursor, count=_SCANNED)
            walk.cursor, pairs = await self._bulk.reply(part)
            walk.read(name for name, _ in pairs)
            return False
        start = self._entry(b"")
        pattern = _GLOB.sub(rb"\\\g<0>", start) + b"*"
        asked = self._bulk.redis.scan(walk.cursor, match=pattern, count=_SCANNED)
        cursor, names = await self._bulk.reply(asked)
        for batch in _batches(walk.unlisted(name[len(start) :] for name in names)):
            await self._bulk.reply(self._list(batch))
        walk.cursor = cursor
        return not cursor

    async def _list(self, keys: Sequence[bytes]) -> None:
        """Those that are there. What cannot be read, and so never be given, is removed."""
        now, groups = self._clock.time(), dict[bytes, dict[bytes, float]]()
        unreadable: list[bytes] = []
        frames = await self._bulk.redis.mget(map(self._entry, keys))
        for key, frame in zip(keys, frames, strict=True):
            if (found := unframed(key, frame)) is not None:
                ends = now + (found.expires - found.put_at)  # at the latest, whose clock it may be
                groups.setdefault(found.group, {})[key] = ends
            elif frame is not None:
                unreadable.append(self._entry(key))
        async with self._bulk.redis.pipeline(transaction=False) as together:
            for group, expires in groups.items():
                self._note(together, group, expires, now)
            if unreadable:
                together.delete(*unreadable)
            untold = groups.keys() - self._found
            self._found |= untold  # it may be carried out, and the reply not come
            added = (await together.execute())[_ADDED : _NOTES * len(groups) : _NOTES]
        self._found -= {name for name, n in zip(groups, added, strict=True) if not n} & untold

    async def _drop(self, group: bytes, keys: Sequence[bytes]) -> int:
        """How many were there. Together, so that what is put meanwhile is listed."""
        async with self._bulk.redis.pipeline(transaction=True) as together:
            together.delete(*map(self._entry, keys))
            together.zrem(self._members(group), *keys)
            count: int = (await together.execute())[0]
            return count

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
        together.zremrangebyscore(members, "-inf", now - _CLOCKS_APART)
        together.zadd(members, entries, gt=True)
        together.pexpire(members, left_ms, nx=True)
        together.pexpire(members, left_ms, gt=True)
        together.zremrangebyscore(self._groups, "-inf", now - _CLOCKS_APART)
        together.zadd(self._groups, {group: last}, gt=True)

    def _entry(self, key: bytes) -> bytes:
        return self._prefix + b"e:" + key

    def _members(self, group: bytes) -> bytes:
        return self._prefix + b"m:" + group


def _text(group: bytes) -> str:
    return group.decode(errors="replace")


def _batches(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(keys), _BATCH):
        yield keys[start : start + _BATCH]
