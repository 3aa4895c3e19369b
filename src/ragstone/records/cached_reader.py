"""What every question asks the records, answered from this process's memory.

What another process changes is seen within `TTL_SECONDS`.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from ragstone.domain.collection import Collection
from ragstone.ports import ApiKey, Clock, RecordsReader
from ragstone.records.expiring import ExpiringMap

TTL_SECONDS: Final = 1.0
"""Longest time for which a key revoked elsewhere still opens the door."""
_SIZE: Final = 4096
_T = TypeVar("_T")


class CachedReader:
    """Implements `ports.RecordsReader` upon another; keeps `collection` and `key_by_hash`.

    What is asked for is read again, once for all, when half of its time is over, and nobody waits
    for that: every second thirty questions at once had read the same, and others behind them.

    A read that was under way while something changed is returned but not kept: it may have
    seen the state before.
    """

    def __init__(self, inner: RecordsReader, clock: Clock) -> None:
        self._reader = inner
        self._clock = clock
        self._collections: ExpiringMap[tuple[str, str], Collection] = ExpiringMap(
            clock, ttl=TTL_SECONDS, size=_SIZE
        )
        self._keys: ExpiringMap[str, ApiKey] = ExpiringMap(clock, ttl=TTL_SECONDS, size=_SIZE)
        # Apart, so that a flood of invented keys cannot push out the real ones.
        self._unknown_keys: ExpiringMap[str, bool] = ExpiringMap(clock, ttl=TTL_SECONDS, size=_SIZE)
        self._changes = 0
        self._reads: dict[Hashable, asyncio.Task[Any]] = {}

    async def collection(self, tenant: str, name: str) -> Collection | None:
        known = self.collection_at_once(tenant, name)
        if known is not None:
            return known
        return await asyncio.shield(self._reading_collection(tenant, name))

    def collection_at_once(self, tenant: str, name: str) -> Collection | None:
        """Without waiting; None where `collection` has to be awaited."""
        if (fresh := self._collections.fresh((tenant, name))) is not None:
            return fresh
        if (known := self._collections.get((tenant, name))) is not None:
            self._reading_collection(tenant, name)
        return known

    def _reading_collection(self, tenant: str, name: str) -> "asyncio.Task[Collection | None]":
        return self._reading((self._changes, tenant, name), self._read_collection, tenant, name)

    async def _read_collection(self, tenant: str, name: str) -> Collection | None:
        changes, asked = self._changes, self._clock.monotonic()
        found = await self._reader.collection(tenant, name)
        if found is not None and changes == self._changes:
            self._collections.put((tenant, name), found, born=asked)
        return found

    async def generation(self, tenant: str, name: str) -> int | None:
        now = await self._reader.generation(tenant, name)
        known = self._collections.get((tenant, name))
        if known is not None and known.generation != now:
            self._changes += 1
            self._collections.discard((tenant, name))
        return now

    async def key_by_hash(self, sha256: str) -> ApiKey | None:
        if (known := self.key_at_once(sha256)) is not None:
            return known
        if self._unknown_keys.get(sha256):
            return None
        return await asyncio.shield(self._reading_key(sha256))

    def key_at_once(self, sha256: str) -> ApiKey | None:
        """Without waiting; None where `key_by_hash` has to be asked."""
        if (fresh := self._keys.fresh(sha256)) is not None:
            return fresh
        if (known := self._keys.get(sha256)) is not None:
            self._reading_key(sha256)
        return known

    def _reading_key(self, sha256: str) -> "asyncio.Task[ApiKey | None]":
        return self._reading((self._changes, sha256), self._read_key, sha256)

    async def _read_key(self, sha256: str) -> ApiKey | None:
        changes, asked = self._changes, self._clock.monotonic()
        found = await self._reader.key_by_hash(sha256)
        if changes == self._changes:
            if found is None:
                self._keys.discard(sha256)
                self._unknown_keys.put(sha256, True, born=asked)
            else:
                self._keys.put(sha256, found, born=asked)
        return found

    def _reading(
        self, what: Hashable, read: Callable[..., Coroutine[None, None, _T]], *of: str
    ) -> "asyncio.Task[_T]":
        """One read for all who want it at this moment. `what` names it and the state of changes,
        so that nobody shares one that began before a change of their own."""
        reading: asyncio.Task[_T] | None = self._reads.get(what)
        if reading is None:
            reading = self._reads[what] = asyncio.create_task(read(*of))
            reading.add_done_callback(partial(self._has_read, what))
        return reading

    def _has_read(self, what: Hashable, reading: "asyncio.Task[object]") -> None:
        del self._reads[what]
        if not reading.cancelled():
            reading.exception()  # if nobody waits: whoever asks after the expiry meets it again

    async def document_versions(self, tenant: str, document_ids: Sequence[str]) -> dict[str, int]:
        return await self._reader.document_versions(tenant, document_ids)

    async def collections(self, tenant: str) -> list[Collection]:
        return await self._reader.collections(tenant)

    async def keys(self) -> list[ApiKey]:
        return await self._reader.keys()

    async def close(self) -> None:
        for reading in tuple(self._reads.values()):
            reading.cancel()
        await asyncio.gather(*self._reads.values(), return_exceptions=True)
        await self._reader.close()
