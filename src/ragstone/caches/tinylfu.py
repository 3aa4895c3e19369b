"""Which entries of a byte-bounded cache stay: W-TinyLFU, weighted.

Einziger, Friedman and Manes, "TinyLFU: A Highly Efficient Cache Admission Policy" (2017): new
entries pass a small window, and only those that are asked for more often than what they would
push out get from there into the main part. For entries of different sizes that comparison is
with all victims together, as in "Lightweight Robust Size Aware Cache Management" by the same
authors and Eytan (2022), where it is called aggregated victims. docs/decisions/0009-caches.md has
the measurement.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

_WINDOW_SHARE: Final = 0.01
"""Of the bytes: what is new and has no history yet."""
_PROTECTED_SHARE: Final = 0.8
"""Of the main part: what was asked for again while there."""
_ROW: Final = 1 << 16
"""Counters in each of the sketch's four rows."""
_SAMPLE: Final = 10
"""All counts are halved after this many look-ups for each entry, so that what was popular once
gives way (10 as in the paper)."""
_LEAST_SAMPLE: Final = 1_000
_MOST: Final = 15
_HALVED: Final = bytes(count >> 1 for count in range(256))

_Segment = OrderedDict[bytes, int]
"""Keys and weights, the least recently used first."""


class TinyLfu:
    """Weights are in bytes; what `add` accepts never sums up to more than `max_bytes`."""

    __slots__ = (
        "_main_bytes",
        "_most_main",
        "_most_protected",
        "_most_window",
        "_probation",
        "_protected",
        "_protected_bytes",
        "_sketch",
        "_window",
        "_window_bytes",
    )

    def __init__(self, max_bytes: int) -> None:
        self._most_window = int(max_bytes * _WINDOW_SHARE)
        self._most_main = max_bytes - self._most_window
        self._most_protected = int(self._most_main * _PROTECTED_SHARE)
        self._window: _Segment = OrderedDict()
        self._probation: _Segment = OrderedDict()
        self._protected: _Segment = OrderedDict()
        self._window_bytes = self._main_bytes = self._protected_bytes = 0
        self._sketch = FrequencySketch()

    def __len__(self) -> int:
        return len(self._window) + len(self._probation) + len(self._protected)

    @property
    def size_bytes(self) -> int:
        return self._window_bytes + self._main_bytes

    def missed(self, key: bytes) -> None:
        """It was asked for and is not there: when it comes, it has a history."""
        self._sketch.count(hash(key), len(self))

    def used(self, key: bytes) -> None:
        """It was asked for and is there."""
        self._sketch.count(hash(key), len(self))
        if key in self._protected:
            self._protected.move_to_end(key)
        elif key in self._window:
            self._window.move_to_end(key)
        else:
            self._protect(key)

    def add(self, key: bytes, weight: int) -> list[bytes]:
        """A new key comes in; returns those that leave for it, of which it may itself be one."""
        self._window[key] = weight
        self._window_bytes += weight
        gone: list[bytes] = []
        while self._window_bytes > self._most_window:
            candidate, size = self._window.popitem(last=False)
            self._window_bytes -= size
            gone += self._admit(candidate, size)
        return gone

    def remove(self, key: bytes) -> None:
        """A key that is there leaves."""
        if (weight := self._window.pop(key, None)) is not None:
            self._window_bytes -= weight
        elif (weight := self._protected.pop(key, None)) is not None:
            self._protected_bytes -= weight
            self._main_bytes -= weight
        elif (weight := self._probation.pop(key, None)) is not None:
            self._main_bytes -= weight

    def _admit(self, candidate: bytes, size: int) -> list[bytes]:
        """Into the main part, if it is worth more than what would have to go."""
        victims = self._victims(candidate, size)
        if victims is None:
            return [candidate]
        for victim in victims:
            self.remove(victim)
        self._probation[candidate] = size
        self._main_bytes += size
        return victims

    def _victims(self, candidate: bytes, size: int) -> list[bytes] | None:
        """Enough of the main part for the candidate's size; None if those are worth more."""
        missing = self._main_bytes + size - self._most_main
        if missing <= 0:
            return []
        if size > self._most_main:
            return None
        victims: list[bytes] = []
        estimate = self._sketch.estimate
        worth = estimate(hash(candidate))
        for victim, weight, frequency in self._oldest():
            worth -= frequency
            if worth < 0:
                return None
            victims.append(victim)
            missing -= weight
            if missing <= 0:
                break
        return victims

    def _oldest(self) -> Iterator[tuple[bytes, int, int]]:
        """Of the main part, with weight and frequency: of the oldest on probation and the oldest
        protected each time the one that is asked for less, so that nothing is protected for ever.
        """
        estimate = self._sketch.estimate
        protected = ((k, w, estimate(hash(k))) for k, w in self._protected.items())
        spared = next(protected, None)
        for key, weight in self._probation.items():
            frequency = estimate(hash(key))
            while spared is not None and 2 * spared[2] < frequency:
                yield spared
                spared = next(protected, None)
            yield key, weight, frequency
        if spared is not None:
            yield spared
            yield from protected

    def _protect(self, key: bytes) -> None:
        """Asked for while on probation; the protected part's oldest make room for it."""
        weight = self._probation.pop(key)
        self._protected[key] = weight
        self._protected_bytes += weight
        while self._protected_bytes > self._most_protected:
            oldest, size = self._protected.popitem(last=False)
            self._protected_bytes -= size
            self._probation[oldest] = size


class FrequencySketch:
    """How often was asked for a key lately, up to 15 (Cormode and Muthukrishnan's count-min sketch,
    2005, 256 KiB)."""

    __slots__ = ("_counted", "_counts")

    def __init__(self) -> None:
        self._counts = bytearray(4 * _ROW)
        self._counted = 0

    def count(self, digest: int, entries: int) -> None:
        """Once more; of the four counters the smallest are raised, which errs least."""
        counts = self._counts
        a = digest & 0xFFFF
        b = 0x10000 | (digest >> 16) & 0xFFFF
        c = 0x20000 | (digest >> 32) & 0xFFFF
        d = 0x30000 | (digest >> 48) & 0xFFFF
        least = min(counts[a], counts[b], counts[c], counts[d])
        self._counted += 1
        if least < _MOST:
            more = least + 1
            if counts[a] == least:
                counts[a] = more
            if counts[b] == least:
                counts[b] = more
            if counts[c] == least:
                counts[c] = more
            if counts[d] == least:
                counts[d] = more
        if self._counted >= _SAMPLE * entries and self._counted >= _LEAST_SAMPLE:
            self._counts = counts.translate(_HALVED)
            self._counted //= 2

    def estimate(self, digest: int) -> int:
        counts = self._counts
        return min(
            counts[digest & 0xFFFF],
            counts[0x10000 | (digest >> 16) & 0xFFFF],
            counts[0x20000 | (digest >> 32) & 0xFFFF],
            counts[0x30000 | (digest >> 48) & 0xFFFF],
        )
