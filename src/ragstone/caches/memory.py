"""A cache in this process: least recently used goes first, bounded in bytes, with expiry."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from ragstone.ports import CacheStats, Clock, Kept

_ENTRY_OVERHEAD: Final = 200
"""Bytes that an entry costs beside key and value: dict slot, tuple, float, object headers."""


class MemoryCache:
    """Implements `ports.CacheStore`."""

    def __init__(self, *, max_bytes: int, clock: Clock) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[bytes, tuple[bytes, float, float, str]] = OrderedDict()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    async def get(self, key: bytes) -> Kept | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        value, put_at, expires, _ = entry
        now = self._clock.monotonic()
        if now >= expires:
            self._remove(key)
            return None
        self._entries.move_to_end(key)
        return Kept(value, now - put_at)

    async def put(self, key: bytes, value: bytes, *, ttl: float, group: str) -> None:
        """Keeps `value` for `ttl` seconds at most; a value over the whole bound is not kept."""
        self._remove(key)
        size = _weight(key, value)
        if size > self._max_bytes:
            return
        while self.size_bytes + size > self._max_bytes:
            self._remove(next(iter(self._entries)))
        now = self._clock.monotonic()
        self._entries[key] = (value, now, now + ttl, group)
        self.size_bytes += size

    async def delete(self, keys: Sequence[bytes]) -> None:
        for key in keys:
            self._remove(key)

    async def groups(self) -> list[str]:
        return sorted({group for *_, group in self._entries.values()})

    async def members(self, group: str) -> list[tuple[bytes, bytes]]:
        return [(key, entry[0]) for key, entry in self._entries.items() if entry[3] == group]

    async def clear(self, group: str | None = None) -> int:
        gone = [key for key, entry in self._entries.items() if group in (None, entry[3])]
        await self.delete(gone)
        return len(gone)

    async def stats(self) -> CacheStats:
        return CacheStats(
            store="memory",
            entries=len(self._entries),
            bytes=self.size_bytes,
            max_bytes=self._max_bytes,
        )

    async def close(self) -> None:
        """Nothing to close."""

    def _remove(self, key: bytes) -> None:
        if (entry := self._entries.pop(key, None)) is not None:
            self.size_bytes -= _weight(key, entry[0])


def _weight(key: bytes, value: bytes) -> int:
    return len(key) + len(value) + _ENTRY_OVERHEAD
