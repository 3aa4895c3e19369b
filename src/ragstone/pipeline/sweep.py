"""Frees the bytes of kept answers that nobody can reach any more.

That an answer over a changed or deleted document is never given is the keys' doing, and holds at
once. Its bytes are gone `cache.sweep_seconds` later, and the time of the walk; a cache server that
evicts may hide them from one walk, and not from that after it has found them again.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec
import structlog

from ragstone.domain.errors import DependencyError, RagstoneError
from ragstone.ports import CacheStore, Clock, RecordsReader

_BATCH: Final = 200
"""Entries looked at before others get their turn: about a millisecond."""
_SETTLING_SECONDS: Final = 120.0
"""A question that was under way when a document was deleted may leave its answer later: as long as
that, groups are looked through again, after ever longer pauses."""

_log = structlog.get_logger("ragstone.sweep")


class _Rests(msgspec.Struct, frozen=True):
    """What of a `KeptAnswer` says whether it can still be reached."""

    documents: list[tuple[str, int]]
    epoch: int


_DECODER = msgspec.msgpack.Decoder(_Rests)


class _Seen:
    """A group's collection as it was when the group was first looked through for it."""

    def __init__(self, state: tuple[int, int] | None, now: float) -> None:
        self.state = state
        self.since = now
        self.next_at = now

    def is_due(self, now: float) -> bool:
        return self.next_at <= now and self.next_at - self.since <= _SETTLING_SECONDS

    def swept(self, now: float, pause: float) -> None:
        self.next_at = now + max(pause, now - self.since)


class Sweeper:
    """Looks through the groups of a store whose collection has changed."""

    def __init__(
        self, cache: CacheStore, records: RecordsReader, *, clock: Clock, pause_seconds: float
    ) -> None:
        self._cache = cache
        self._records = records
        self._clock = clock
        self._pause = pause_seconds
        self._seen: dict[str, _Seen] = {}

    async def run(self) -> None:
        """For ever; a failure is told, and what it left is found the next time."""
        while True:
            await asyncio.sleep(self._pause)
            try:
                await self.sweep()
            except RagstoneError as error:
                _log.warning("not swept", code=error.code, reason=error.message)
            except Exception:
                _log.exception("not swept")

    async def sweep(self) -> int:
        """Once through all groups that are due; how many entries were removed.

        Raises `RecordsUnavailable`, and when it is through what a single group raised."""
        for group in await self._cache.found_again():
            self._seen.pop(group, None)
        groups = await self._cache.groups()
        self._seen = {group: seen for group, seen in self._seen.items() if group in groups}
        removed, refused = 0, list[RagstoneError]()
        for group in groups:
            try:
                removed += await self._look_at(group)
            except DependencyError:
                raise
            except RagstoneError as error:  # a name that the records cannot hold, for instance
                refused.append(error)
        if refused:
            raise refused[0]
        return removed

    async def _look_at(self, group: str) -> int:
        tenant, _, name = group.rpartition("/")  # a collection's name has no slash
        await self._records.generation(tenant, name)  # what is remembered of it is brought up
        collection = await self._records.collection(tenant, name)
        state = None if collection is None else (collection.generation, collection.cache_epoch)
        now = self._clock.monotonic()
        seen = self._seen.get(group)
        if seen is None or seen.state != state:
            seen = _Seen(state, now)
        if not seen.is_due(now):
            return 0
        epoch = None if collection is None else collection.cache_epoch
        removed = await self._sweep_group(group, tenant, epoch)
        seen.swept(now, self._pause)
        self._seen[group] = seen
        return removed

    async def _sweep_group(self, group: str, tenant: str, epoch: int | None) -> int:
        removed = 0
        keys = await self._cache.members(group)
        for start in range(0, len(keys), _BATCH):
            batch = keys[start : start + _BATCH]
            values = await self._cache.values(group, batch)
            gone = await self._unreachable(tenant, epoch, batch, values)
            await self._cache.delete(gone)
            removed += len(gone)
            await asyncio.sleep(0)
        return removed

    async def _unreachable(
        self,
        tenant: str,
        epoch: int | None,
        keys: Sequence[bytes],
        values: Sequence[bytes | None],
    ) -> list[bytes]:
        read = {k: _read(value) for k, value in zip(keys, values, strict=True) if value is not None}
        ids = {id_ for rests in read.values() if rests for id_, _ in rests.documents}
        versions = await self._records.document_versions(tenant, sorted(ids)) if ids else {}
        return [
            key
            for key, rests in read.items()
            if rests is None
            or rests.epoch != epoch
            or any(versions.get(id_) != version for id_, version in rests.documents)
        ]


def _read(value: bytes) -> _Rests | None:
    try:
        return _DECODER.decode(value)
    except msgspec.MsgspecError:
        return None
