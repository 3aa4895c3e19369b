"""A shared cache behind a `Dependency`, as a cache that never fails.

What it cannot tell in time is a miss, what it cannot keep is not kept. After a few failures its
breaker opens, and a look-up is a miss at once until a probe finds the server well again.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import msgspec

from ragstone.domain.errors import DeadlineExceeded, RagstoneError
from ragstone.ports import CacheStats, CacheStore, Clock, Kept
from ragstone.resilience.dependency import Dependency
from ragstone.resilience.time_limit import TimeLimit

_T = TypeVar("_T")

_BULK_SECONDS: Final = 30.0
"""Longest walk through a group, or clearing of it, or part of a walk through all entries, in many
short commands."""


class GuardedCache:
    """Implements `ports.CacheStore` upon one that raises `DependencyError`."""

    def __init__(
        self, store: CacheStore, dependency: Dependency, *, clock: Clock, seconds: float
    ) -> None:
        """`seconds`: longest wait for a look-up; what is put is not waited for longer either."""
        self._store = store
        self._dependency = dependency
        self._clock = clock
        self._seconds = seconds

    async def get(self, key: bytes) -> Kept | None:
        return await self._or(None, lambda: self._store.get(key), self._seconds)

    async def put(self, key: bytes, value: bytes, *, ttl: float, group: str) -> None:
        await self._or(
            None, lambda: self._store.put(key, value, ttl=ttl, group=group), self._seconds
        )

    async def delete(self, keys: Sequence[bytes]) -> None:
        await self._or(None, lambda: self._store.delete(keys), _BULK_SECONDS)

    async def groups(self) -> list[str]:
        return await self._or([], self._store.groups, _BULK_SECONDS)

    async def found_again(self) -> list[str]:
        return await self._or([], self._store.found_again, _BULK_SECONDS)

    async def members(self, group: str) -> list[bytes]:
        return await self._or([], lambda: self._store.members(group), _BULK_SECONDS)

    async def values(self, group: str, keys: Sequence[bytes]) -> list[bytes | None]:
        unknown: list[bytes | None] = [None] * len(keys)
        return await self._or(unknown, lambda: self._store.values(group, keys), _BULK_SECONDS)

    async def clear(self, group: str | None = None) -> int:
        return await self._or(0, lambda: self._store.clear(group), _BULK_SECONDS)

    async def stats(self) -> CacheStats:
        unknown = CacheStats(store="redis", entries=0, bytes=0, max_bytes=None, available=False)
        stats = await self._or(unknown, self._store.stats, _BULK_SECONDS)
        return msgspec.structs.replace(stats, available=stats is not unknown)

    async def close(self) -> None:
        await self._store.close()

    async def _or(self, otherwise: _T, ask: Callable[[], Awaitable[_T]], seconds: float) -> _T:
        try:
            self._dependency.check()  # quicker than being refused an attempt
            async with (
                self._dependency.attempt(deadline=self._clock.monotonic() + seconds),
                TimeLimit(seconds, _late),
            ):
                return await ask()
        except RagstoneError:
            return otherwise


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("The cache server did not answer in time.")
