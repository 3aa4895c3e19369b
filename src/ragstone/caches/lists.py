"""Where a cache server finds its entries: their names, and the sorted sets that list them."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

from ragstone.caches.commands import Commands
from ragstone.ports import Clock

SCANNED: Final = 250
"""Names looked at with one command: reading a reply holds the loop for about two milliseconds."""
NOTES: Final = 6
ADDED: Final = 1
"""Commands that `note` gives for a group, and which of them tells how many are new there."""
_BATCH: Final = 200
"""Entries read or removed with one command: other clients wait no longer than that takes."""
_CLOCKS_APART: Final = 3600.0
"""Seconds that a process's clock may be ahead of another's."""


class Lists:
    """Those of one prefix; see `valkey`."""

    def __init__(self, bulk: Commands, prefix: bytes, clock: Clock) -> None:
        self._bulk = bulk
        self._prefix = prefix
        self._clock = clock
        self.groups = prefix + b"groups"

    def entry(self, key: bytes) -> bytes:
        return self._prefix + b"e:" + key

    def members(self, group: bytes) -> bytes:
        return self._prefix + b"m:" + group

    def note(self, together: Any, group: bytes, entries: dict[bytes, float], now: float) -> None:
        """The commands that list entries with the times at which they expire."""
        members, last = self.members(group), max(entries.values())
        left_ms = math.ceil((last - now) * 1000)
        together.zremrangebyscore(members, "-inf", now - _CLOCKS_APART)
        together.zadd(members, entries, gt=True)
        together.pexpire(members, left_ms, nx=True)
        together.pexpire(members, left_ms, gt=True)
        together.zremrangebyscore(self.groups, "-inf", now - _CLOCKS_APART)
        together.zadd(self.groups, {group: last}, gt=True)

    async def listed(self, listing: bytes) -> list[bytes]:
        """All of a sorted set, in no order; whatever stays there meanwhile."""
        found, cursor = dict[bytes, None](), 0
        while True:
            asked = self._bulk.redis.zscan(listing, cursor, count=SCANNED)
            cursor, pairs = await self._bulk.reply(asked)
            found.update((name, None) for name, _ in pairs)
            if not cursor:
                return list(found)

    async def count(self, groups: Sequence[bytes]) -> int:
        """Their entries that have not expired by this process's clock."""
        now, count = self._clock.time(), 0
        for batch in batches(groups):
            async with self._bulk.redis.pipeline(transaction=False) as together:
                for group in batch:
                    together.zcount(self.members(group), now, "+inf")
                count += sum(await self._bulk.reply(together.execute()))
        return count


def batches(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(keys), _BATCH):
        yield keys[start : start + _BATCH]
