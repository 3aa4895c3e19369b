"""What keeps answers and vectors for a while."""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec


class Kept(msgspec.Struct, frozen=True):
    """What a cache gives back."""

    value: bytes
    age: float
    """Seconds since it was put."""


class CacheStats(msgspec.Struct, frozen=True, kw_only=True):
    """Of one store, as seen from one process."""

    store: Literal["memory", "redis"]
    entries: int
    bytes: int
    max_bytes: int | None
    available: bool = True


class CacheStore(Protocol):
    """Bytes by key, byte-bounded, in groups. A cache that is down, slow or corrupt raises
    nothing: it holds nothing."""

    async def get(self, key: bytes) -> Kept | None: ...

    async def put(self, key: bytes, value: bytes, *, ttl: float, group: str) -> None:
        """Keeps `value` for `ttl` seconds at most; `group` is where sweeping finds it."""
        ...

    async def delete(self, keys: Sequence[bytes]) -> None:
        """Their bytes are gone when it returns, unless the cache cannot be reached."""
        ...

    async def groups(self) -> list[str]:
        """Some may be empty by now."""
        ...

    async def found_again(self) -> list[str]:
        """Groups with entries that `members` left out since the store had lost track of them, and
        names from now on."""
        ...

    async def members(self, group: str) -> list[bytes]:
        """The keys; some may have gone meanwhile."""
        ...

    async def values(self, group: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """Of these keys of the group, in order, None for what is not there; not counted as use."""
        ...

    async def clear(self, group: str | None = None) -> int:
        """Drops a group, or all; how many entries there were."""
        ...

    async def stats(self) -> CacheStats: ...

    async def close(self) -> None: ...
