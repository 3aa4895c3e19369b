"""What the caches do for the server, and how a tenant's kept answers are cleared."""

from typing import Final

import msgspec
from starlette.responses import Response

from ragstone.domain.errors import UnknownCollection, did_you_mean
from ragstone.observe.metrics import Metrics
from ragstone.ports import CacheStats
from ragstone.server.call import Call

_CACHES: Final = ("question", "prompt", "semantic", "embedding")


class CacheUse(msgspec.Struct, frozen=True, kw_only=True):
    """Look-ups since the server started, by all its processes."""

    cache: str
    hits: int
    joined: int
    """Answered by what was being made for somebody else at the moment."""
    misses: int
    stale: int
    """Found, but not given because something had changed."""
    false_hits: int
    """Of the semantic tier, of the share that is compared: a fresh answer contradicted them."""
    hit_ratio: float | None
    """Share of hits and joined among all; null where nobody looked."""


class StoreView(msgspec.Struct, frozen=True, kw_only=True):
    """A store, over all processes. Of a shared one, `bytes` are the whole cache server's."""

    holds: str
    """`answers` or `embedding`."""
    store: str
    """`memory` or `redis`."""
    entries: int
    bytes: int
    max_bytes: int | None
    available: bool


class CacheView(msgspec.Struct, frozen=True):
    caches: list[CacheUse]
    stores: list[StoreView]
    semantic: bool
    """Whether the semantic tier is configured: `cache.semantic`."""
    semantic_off: int
    """Processes in which it has switched itself off."""


class Cleared(msgspec.Struct, frozen=True):
    """What can no longer be reached, in any process."""

    collections: list[str]
    removed: int
    """Entries whose bytes were removed at once; those that other processes keep by themselves
    follow within `cache.sweep_seconds`."""


async def get_cache(call: Call) -> Response:
    """How the caches are used and filled, over the whole server."""
    metrics, cache = call.system.metrics, call.system.services.cache
    stats = None if cache is None else await cache.stats()
    counted: dict[tuple[str, str], float] = {}
    for labels, value in metrics.values("rag_cache_requests_total"):
        counted[labels["cache"], labels["outcome"]] = value
    for labels, value in metrics.values("rag_cache_false_hits_total"):
        counted[labels["cache"], "false"] = value
    uses = [_use(name, counted) for name in _CACHES]
    off = int(sum(value for _, value in metrics.values("rag_cache_semantic_off")))
    has_semantic = call.system.services.semantic is not None
    return call.json(CacheView(uses, _stores(metrics, stats), has_semantic, off))


async def delete_cache(call: Call) -> Response:
    """Clear the kept answers of the caller's tenant, or of one collection: `?collection=`.

    They are out of reach at once, in every process.
    """
    tenant, name = call.principal.tenant, call.request.query_params.get("collection")
    names = await call.system.records.raise_cache_epoch(tenant, name)
    if name is not None and not names:
        known = [other.name for other in await call.system.records.collections(tenant)]
        raise UnknownCollection(
            f"There is no collection {name[:80]!r}.",
            remedy=did_you_mean(name[:80], known, what="collections"),
            field="collection",
        )
    cache = call.system.services.cache
    groups = [f"{tenant}/{each}" for each in names]
    removed = sum([await cache.clear(group) for group in groups]) if cache is not None else 0
    return call.json(Cleared(names, removed))


def _use(name: str, counted: dict[tuple[str, str], float]) -> CacheUse:
    hits, joined, misses, stale = (
        int(counted.get((name, outcome), 0)) for outcome in ("hit", "joined", "miss", "stale")
    )
    asked = hits + joined + misses + stale
    return CacheUse(
        cache=name,
        hits=hits,
        joined=joined,
        misses=misses,
        stale=stale,
        false_hits=int(counted.get((name, "false"), 0)),
        hit_ratio=(hits + joined) / asked if asked else None,
    )


def _stores(metrics: Metrics, shared: CacheStats | None) -> list[StoreView]:
    """Memory is each process's own, so its figures come from the metrics, which are sums."""
    figures: dict[str, list[int]] = {}
    for name in ("rag_cache_entries", "rag_cache_bytes", "rag_cache_limit_bytes"):
        for labels, value in metrics.values(name):
            figures.setdefault(labels["cache"], []).append(int(value))
    stores = [
        StoreView(
            holds=holds,
            store="memory",
            entries=entries,
            bytes=size,
            max_bytes=most,
            available=True,
        )
        for holds, (entries, size, most) in sorted(figures.items())
    ]
    if shared is not None and shared.store == "redis":
        stores.insert(
            0,
            StoreView(
                holds="answers",
                store="redis",
                entries=shared.entries,
                bytes=shared.bytes,
                max_bytes=shared.max_bytes,
                available=shared.available,
            ),
        )
    return stores
