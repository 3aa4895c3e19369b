"""Which entries should a byte-bounded cache keep? Hit ratio and cost of four policies.

A Zipf(1.0) stream over 20,000 keys of mixed sizes (log-normal, mean 4 kB), without and with
scans: every tenth request is for a key that never comes again, or in runs of 2,000. Half-way
through "shift" other keys become the popular ones. Every miss is put. Equal bytes for all.

    python benchmarks/cache_policy.py
"""

import random
import time
from bisect import bisect
from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Protocol

from theine_core import TlfuCore

from ragstone.caches.tinylfu import TinyLfu

KEYS = 20_000
REQUESTS = 200_000


class Policy(Protocol):
    def get(self, key: bytes) -> bool: ...

    def put(self, key: bytes, weight: int) -> None: ...


class Lru:
    def __init__(self, max_bytes: int) -> None:
        self.most, self.size = max_bytes, 0
        self.entries: OrderedDict[bytes, int] = OrderedDict()

    def get(self, key: bytes) -> bool:
        if key in self.entries:
            self.entries.move_to_end(key)
            return True
        return False

    def put(self, key: bytes, weight: int) -> None:
        self.entries[key] = weight
        self.size += weight
        while self.size > self.most:
            self.size -= self.entries.popitem(last=False)[1]


class TheineUnits:
    """An entry spans units of 1 KiB, each an entry of the core; it goes with the first of them."""

    def __init__(self, max_bytes: int) -> None:
        self.core = TlfuCore(max_bytes >> 10)
        self.units: dict[bytes, list[int]] = {}
        self.keys: dict[int, bytes] = {}

    def get(self, key: bytes) -> bool:
        units = self.units.get(key)
        if units is None:
            return False
        self.core.access(units)
        return True

    def put(self, key: bytes, weight: int) -> None:
        digest = hash(key) & ((1 << 56) - 1)
        units = [digest + i for i in range((weight + 1023) >> 10)]
        self.units[key] = units
        self.keys.update((unit, key) for unit in units)
        for unit in self.core.set([(unit, 0) for unit in units]):
            owner = self.keys.get(unit)
            if owner is not None:
                for other in self.units.pop(owner):
                    self.keys.pop(other, None)
                    if other != unit:
                        self.core.remove(other)


class TheineCounted:
    """A capacity in entries by the mean size; above the bytes the oldest go as well."""

    def __init__(self, max_bytes: int) -> None:
        self.most, self.size = max_bytes, 0
        self.core = TlfuCore(max_bytes // MEAN_SIZE)
        self.entries: OrderedDict[bytes, int] = OrderedDict()
        self.keys: dict[int, bytes] = {}

    def get(self, key: bytes) -> bool:
        if key not in self.entries:
            return False
        self.entries.move_to_end(key)
        self.core.access([hash(key) & ((1 << 62) - 1)])
        return True

    def put(self, key: bytes, weight: int) -> None:
        digest = hash(key) & ((1 << 62) - 1)
        self.keys[digest] = key
        self.entries[key] = weight
        self.size += weight
        for other in self.core.set([(digest, 0)]):
            self._drop(self.keys[other])
        while self.size > self.most:
            oldest = next(iter(self.entries))
            self.core.remove(hash(oldest) & ((1 << 62) - 1))
            self._drop(oldest)

    def _drop(self, key: bytes) -> None:
        if (weight := self.entries.pop(key, None)) is not None:
            self.size -= weight
            del self.keys[hash(key) & ((1 << 62) - 1)]


class Ours:
    def __init__(self, max_bytes: int) -> None:
        self.policy = TinyLfu(max_bytes)
        self.present: set[bytes] = set()

    def get(self, key: bytes) -> bool:
        if key in self.present:
            self.policy.used(key)
            return True
        self.policy.missed(key)
        return False

    def put(self, key: bytes, weight: int) -> None:
        self.present.add(key)
        self.present.difference_update(self.policy.add(key, weight))


def zipf(rng: random.Random, count: int, shift: int) -> Iterator[int]:
    bounds = list(accumulate(1 / rank for rank in range(1, KEYS + 1)))
    for position in range(count):
        found = bisect(bounds, rng.random() * bounds[-1])
        yield (found + (KEYS // 2 if position > count // 2 else 0) * shift) % KEYS


def stream(kind: str) -> list[tuple[bytes, int]]:
    rng = random.Random(7)
    requests: list[int] = []
    fresh = KEYS
    for number in zipf(rng, REQUESTS, shift=kind == "shift"):
        if kind == "one in ten new" and rng.random() < 0.1:
            fresh += 1
            requests.append(fresh)
        if kind == "scans" and len(requests) % 20_000 == 10_000:
            requests += range(fresh + 1, fresh + 2_001)
            fresh += 2_000
        requests.append(number)
    return [(number.to_bytes(32, "big"), SIZES[number % len(SIZES)]) for number in requests]


_rng = random.Random(1)
SIZES = [min(64_000, max(200, int(_rng.lognormvariate(7.8, 1.0)))) for _ in range(KEYS * 2)]
MEAN_SIZE = sum(SIZES) // len(SIZES)
POLICIES: dict[str, Callable[[int], Policy]] = {
    "LRU": Lru,
    "theine-core, units of 1 KiB": TheineUnits,
    "theine-core, entries by mean size": TheineCounted,
    "own W-TinyLFU by weight": Ours,
}


def main() -> None:
    print(f"mean size {MEAN_SIZE} bytes, all keys {MEAN_SIZE * KEYS >> 20} MiB")
    for kind in ("zipf", "one in ten new", "scans", "shift"):
        requests = stream(kind)
        for share in (0.02, 0.1, 0.3):
            most = int(MEAN_SIZE * KEYS * share)
            for name, make in POLICIES.items():
                policy = make(most)
                hits = 0
                began = time.perf_counter()
                for key, weight in requests:
                    if policy.get(key):
                        hits += 1
                    else:
                        policy.put(key, weight)
                micros = (time.perf_counter() - began) / len(requests) * 1e6
                ratio = hits / len(requests)
                print(f"{kind:16} {share:5.0%}  {name:36} {ratio:6.1%} {micros:6.2f} us")


if __name__ == "__main__":
    main()
