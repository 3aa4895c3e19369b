"""Entries that no list of a cache server names any more are found by walks through all entries."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from ragstone.caches.commands import Commands
from ragstone.caches.frame import unframed
from ragstone.caches.lists import ADDED, NOTES, SCANNED, Lists, batches
from ragstone.domain.errors import DependencyError
from ragstone.ports import Clock

_WALK_SECONDS: Final = 3.0
"""Longest part of a walk through all entries: what waits for it does not wait for the whole."""
_WALK_SHARE: Final = 0.05
"""Of the time that may go into walks through all entries, while the server evicts on and on."""
_GLOB: Final = re.compile(rb"[*?\[\]\\]")


class Walk:
    """How far one has come: first through the lists, then through the entries, of which only those
    that are not listed need be read. What is struck off a list behind its back is for the next walk
    to find."""

    def __init__(self, evicted: int | None, groups: list[bytes]) -> None:
        """`evicted`: as the server counted before; None where another walk has to follow."""
        self.evicted = evicted
        self.unread = groups
        """Groups whose lists are not read to the end."""
        self.cursor = 0
        """In the list of the last of them; with none left, among the entries."""
        self._listed: set[bytes] = set()

    def read(self, keys: Iterable[bytes]) -> None:
        """Keys of the last unread group, whose list ends where the cursor is 0 again."""
        self._listed.update(keys)
        if not self.cursor:
            self.unread.pop()

    def unlisted(self, keys: Iterable[bytes]) -> list[bytes]:
        return [key for key in keys if key not in self._listed]


class Walks:
    """One process's through the entries of `lists`."""

    def __init__(self, bulk: Commands, lists: Lists, clock: Clock) -> None:
        self._bulk = bulk
        self._lists = lists
        self._clock = clock
        self._evicted: int | None = None
        """As the server counted before the last walk through all entries."""
        self._walk: Walk | None = None
        self._walked = 0.0
        """Seconds, since walks last rested."""
        self._next_walk = 0.0
        self._found: set[bytes] = set()
        """Groups found again, also by a walk that was broken off, and not told yet."""

    async def found_again(self) -> set[bytes]:
        """Looks at all entries when the server has evicted since it last did, for a few seconds:
        the next call goes on. Seldom enough to take a twentieth of the time in the long run: what
        is evicted meanwhile is found the next time."""
        if self._clock.monotonic() >= self._next_walk:
            await self._walk_on()
        found, self._found = self._found, set()  # also by a call that failed
        return found

    async def strike_off(self, group: bytes, keys: Sequence[bytes]) -> None:
        """But for those that were put meanwhile."""
        try:
            await self._bulk.reply(self._bulk.redis.zrem(self._lists.members(group), *keys))
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
        return Walk(evicted, await self._lists.listed(self._lists.groups))

    async def _step(self, walk: Walk) -> bool:
        """A few names further; whether that was the end."""
        if walk.unread:
            listing = self._lists.members(walk.unread[-1])
            part = self._bulk.redis.zscan(listing, walk.cursor, count=SCANNED)
            walk.cursor, pairs = await self._bulk.reply(part)
            walk.read(name for name, _ in pairs)
            return False
        start = self._lists.entry(b"")
        pattern = _GLOB.sub(rb"\\\g<0>", start) + b"*"
        asked = self._bulk.redis.scan(walk.cursor, match=pattern, count=SCANNED)
        cursor, names = await self._bulk.reply(asked)
        for batch in batches(walk.unlisted(name[len(start) :] for name in names)):
            await self._bulk.reply(self._list(batch))
        walk.cursor = cursor
        return not cursor

    async def _list(self, keys: Sequence[bytes]) -> None:
        """Those that are there. What cannot be read, and so never be given, is removed."""
        now, groups = self._clock.time(), dict[bytes, dict[bytes, float]]()
        unreadable: list[bytes] = []
        frames = await self._bulk.redis.mget(map(self._lists.entry, keys))
        for key, frame in zip(keys, frames, strict=True):
            if (found := unframed(key, frame)) is not None:
                ends = now + (found.expires - found.put_at)  # at the latest, whose clock it may be
                groups.setdefault(found.group, {})[key] = ends
            elif frame is not None:
                unreadable.append(self._lists.entry(key))
        async with self._bulk.redis.pipeline(transaction=False) as together:
            for group, expires in groups.items():
                self._lists.note(together, group, expires, now)
            if unreadable:
                together.delete(*unreadable)
            untold = groups.keys() - self._found
            self._found |= untold  # it may be carried out, and the reply not come
            added = (await together.execute())[ADDED : NOTES * len(groups) : NOTES]
        self._found -= {name for name, n in zip(groups, added, strict=True) if not n} & untold

    async def _evictions(self) -> int | None:
        """How many the server has counted; None where it does not tell us."""
        try:
            stats = await self._bulk.reply(self._bulk.redis.info("stats"))
        except DependencyError:
            return None
        count: int | None = stats.get("evicted_keys")
        return count
