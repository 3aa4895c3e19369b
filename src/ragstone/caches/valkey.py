"""A cache that all processes share, in a Valkey or Redis server (7.0 or later).

    PREFIX:e:KEY     an entry, framed, with its time to live
    PREFIX:m:GROUP   the keys of a group, sorted by when they expire
    PREFIX:groups    the groups, sorted by when their last entry expires

What has expired leaves the sorted sets with the next entry that is put, so they are no larger than
what was put within one life. What the server evicted leaves them when the group is looked
through. Run the server without persistence: a file of its own would outlive an erasure.
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from ragstone.caches.frame import framed, unframed
from ragstone.domain.errors import DependencyError, InvalidSettings
from ragstone.ports import CacheStats, Clock, Kept

if TYPE_CHECKING:
    from redis.asyncio import Redis

_CONNECTIONS: Final = 64
"""At most, for look-ups and puts; with all in use a command waits for one. Many answers may end at
the same moment, and that is no failure of the server."""
_BULK_CONNECTIONS: Final = 4
_BULK_SECONDS: Final = 2.0
"""Longest wait for one reply while sweeping or clearing."""
_BATCH: Final = 200
"""Entries read or removed with one command: other clients wait no longer than that takes."""


class ValkeyCache:
    """Implements `ports.CacheStore`, but raises `DependencyError`: what a server that fails costs
    is for `resilience.guarded_cache` to decide.

    Commands run in tasks of their own, which end by their time limits and are never cancelled: a
    connection that is given back halfway through a reply, or never, would spoil the pool.
    """

    def __init__(self, url: str, *, prefix: str, timeout_seconds: float, clock: Clock) -> None:
        """Connects when first used. Raises `InvalidSettings`."""
        self._clock = clock
        self._prefix = prefix.encode() + b":1:"
        self._groups = self._prefix + b"groups"
        self._quick = _client(url, _CONNECTIONS, timeout_seconds)
        self._bulk = _client(url, _BULK_CONNECTIONS, max(timeout_seconds, _BULK_SECONDS))
        self._quick_places = asyncio.Semaphore(_CONNECTIONS)
        self._bulk_places = asyncio.Semaphore(_BULK_CONNECTIONS)
        self._running: set[asyncio.Task[Any]] = set()

    async def get(self, key: bytes) -> Kept | None:
        frame = await self._run(self._quick.get(self._entry(key)), self._quick_places)
        found = unframed(key, frame)
        if found is None:
            return None
        value, put_at = found
        return Kept(value, max(0.0, self._clock.time() - put_at))

    async def put(self, key: bytes, value: bytes, *, ttl: float, group: str) -> None:
        putting = self._put(key, value, max(1, int(ttl * 1000)), group)
        await self._run(putting, self._quick_places)

    async def delete(self, keys: Sequence[bytes]) -> None:
        for batch in _batches(keys):
            await self._run(self._bulk.delete(*map(self._entry, batch)))

    async def groups(self) -> list[str]:
        return sorted(group for group, count in await self._counts() if count)

    async def members(self, group: str) -> list[bytes]:
        members, now = self._members(group), self._clock.time()
        keys: list[bytes] = await self._run(self._bulk.zrangebyscore(members, now, "+inf"))
        return keys

    async def values(self, group: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """What the server has evicted is struck off the group's list."""
        values: list[bytes | None] = []
        for batch in _batches(keys):
            frames = await self._run(self._bulk.mget(map(self._entry, batch)))
            pairs = list(zip(batch, frames, strict=True))
            if gone := [key for key, frame in pairs if frame is None]:
                await self._run(self._bulk.zrem(self._members(group), *gone))
            for key, frame in pairs:
                found = unframed(key, frame)
                values.append(None if found is None else found[0])
        return values

    async def clear(self, group: str | None = None) -> int:
        count = 0
        for name in await self.groups() if group is None else [group]:
            members = self._members(name)
            keys = await self._run(self._bulk.zrange(members, 0, -1))
            for batch in _batches(keys):
                count += await self._run(self._bulk.delete(*map(self._entry, batch)))
                await self._run(self._bulk.zrem(members, *batch))
        return count

    async def stats(self) -> CacheStats:
        """Bytes and bound are the whole server's."""
        counts = await self._counts()
        memory = await self._run(self._bulk.info("memory"))
        return CacheStats(
            store="redis",
            entries=sum(count for _, count in counts),
            bytes=memory.get("used_memory", 0),
            max_bytes=memory.get("maxmemory") or None,
        )

    async def close(self) -> None:
        """Waits for what is under way, which its time limits end."""
        if self._running:
            await asyncio.wait(self._running)
        await self._quick.aclose()
        await self._bulk.aclose()

    async def _counts(self) -> list[tuple[str, int]]:
        """Groups, and how many entries each has that have not expired."""
        now = self._clock.time()
        names = await self._run(self._bulk.zrangebyscore(self._groups, now, "+inf"))
        groups = [name.decode(errors="replace") for name in names]
        async with self._bulk.pipeline(transaction=False) as together:
            for group in groups:
                together.zcount(self._members(group), now, "+inf")
            return list(zip(groups, await self._run(together.execute()), strict=True))

    async def _put(self, key: bytes, value: bytes, ttl_ms: int, group: str) -> None:
        now = self._clock.time()
        expires = now + ttl_ms / 1000
        members, name = self._members(group), group.encode()
        async with self._quick.pipeline(transaction=True) as together:
            together.zremrangebyscore(members, "-inf", now)
            together.zadd(members, {key: expires})
            together.pexpire(members, ttl_ms, nx=True)
            together.pexpire(members, ttl_ms, gt=True)
            together.zremrangebyscore(self._groups, "-inf", now)
            together.zadd(self._groups, {name: expires}, gt=True)
            together.set(self._entry(key), framed(key, value, now), px=ttl_ms)
            await together.execute()

    async def _run(self, command: Any, places: asyncio.Semaphore | None = None) -> Any:
        """The reply to a command of the client, whose own types say too much and too little.

        Raises `DependencyError` whatever goes wrong: a server that answers garbage makes the
        client raise all kinds of errors."""
        waiting = _in_its_turn(command, places or self._bulk_places)
        task: asyncio.Task[Any] = asyncio.create_task(waiting)
        self._running.add(task)
        task.add_done_callback(self._ended)
        await asyncio.wait({task})
        error = task.exception()
        if error is None:
            return task.result()
        raise DependencyError(
            f"The cache server did not answer: {type(error).__name__}.",
            remedy="Check cache.url, and that a Valkey or Redis server 7.0 or later runs there.",
            field="cache.url",
        ) from error

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # its asker may have gone

    def _entry(self, key: bytes) -> bytes:
        return self._prefix + b"e:" + key

    def _members(self, group: str) -> bytes:
        return self._prefix + b"m:" + group.encode()


def _client(url: str, connections: int, seconds: float) -> "Redis":
    try:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        from redis.maint_notifications import MaintNotificationsConfig
    except ModuleNotFoundError as error:
        raise InvalidSettings(
            "The setting cache.url names a cache server, whose client is not installed.",
            remedy="Install it with: pip install 'ragstone[redis]'",
            field="cache.url",
        ) from error
    try:
        return Redis.from_url(
            url,
            max_connections=connections,
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
            retry=Retry(NoBackoff(), 0),
            driver_info=None,
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
        )
    except ValueError as error:  # the address itself is left out: it may hold a password
        raise InvalidSettings(
            "The setting cache.url is not the address of a cache server.",
            remedy="Write redis://HOST:PORT/NUMBER, rediss:// for TLS, or unix:///PATH.",
            field="cache.url",
        ) from error


async def _in_its_turn(command: Any, places: asyncio.Semaphore) -> Any:
    async with places:
        return await command


def _batches(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(keys), _BATCH):
        yield keys[start : start + _BATCH]
