"""A cache in this process: least recently used goes first, bounded in bytes, with expiry."""

from collections import OrderedDict
from typing import Final

from ragstone.ports import Clock

_ENTRY_OVERHEAD: Final = 200
"""Bytes that an entry costs beside key and value: dict slot, tuple, float, object headers."""


class MemoryCache:
    """Implements `ports.CacheStore`."""

    def __init__(self, *, max_bytes: int, clock: Clock) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    async def get(self, key: bytes) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        value, expires = entry
        if self._clock.monotonic() >= expires:
            self._remove(key)
            return None
        self._entries.move_to_end(key)
        return value

    async def put(self, key: bytes, value: bytes, *, ttl: float) -> None:
        """Keeps `value` for `ttl` seconds at most; a value over the whole bound is not kept."""
        self._remove(key)
        size = _weight(key, value)
        if size > self._max_bytes:
            return
        while self.size_bytes + size > self._max_bytes:
            self._remove(next(iter(self._entries)))
        self._entries[key] = (value, self._clock.monotonic() + ttl)
        self.size_bytes += size

    def _remove(self, key: bytes) -> None:
        if (entry := self._entries.pop(key, None)) is not None:
            self.size_bytes -= _weight(key, entry[0])


def _weight(key: bytes, value: bytes) -> int:
    return len(key) + len(value) + _ENTRY_OVERHEAD
