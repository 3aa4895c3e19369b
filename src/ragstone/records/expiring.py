"""A bounded map whose entries grow old."""

from collections import OrderedDict
from typing import Generic, TypeVar

from ragstone.ports import Clock

K = TypeVar("K")
V = TypeVar("V")


class ExpiringMap(Generic[K, V]):
    """Keeps at most `size` values, each for `ttl` seconds; what was put or asked for in the second
    half of its time the longest ago goes first."""

    def __init__(self, clock: Clock, *, ttl: float, size: int) -> None:
        self._clock = clock
        self._ttl = ttl
        self._size = size
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def get(self, key: K) -> V | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        born, value = entry
        if self._clock.monotonic() - born >= self._ttl:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return value

    def fresh(self, key: K) -> V | None:
        """The value, until half of its time is over."""
        entry = self._entries.get(key)
        if entry is None or self._clock.monotonic() - entry[0] >= self._ttl / 2:
            return None
        return entry[1]

    def put(self, key: K, value: V, *, born: float) -> None:
        """`born`: when what it was read from was asked, in `Clock.monotonic` seconds."""
        self._entries[key] = (born, value)
        self._entries.move_to_end(key)
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def discard(self, key: K) -> None:
        self._entries.pop(key, None)

    def clear(self) -> None:
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)
