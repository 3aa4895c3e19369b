"""Where answers and vectors are kept, as the settings say."""

from contextlib import AsyncExitStack

from ragstone.assembly.background import in_background
from ragstone.assembly.guards import Guards
from ragstone.caches.embeddings import CachedEmbedder
from ragstone.caches.memory import MemoryCache
from ragstone.caches.valkey import ValkeyCache
from ragstone.observe.metrics import Metrics
from ragstone.pipeline.services import Services
from ragstone.pipeline.sweep import Sweeper
from ragstone.ports import CacheStore, Clock, Embedder
from ragstone.settings import Settings


def open_answer_cache(
    settings: Settings, guards: Guards, clock: Clock, metrics: Metrics, installation: str
) -> CacheStore | None:
    """Shared by all processes of the installation where `cache.url` is set, else this process's
    own.

    Raises `InvalidSettings` for an address that is none."""
    chosen = settings.cache
    if not chosen.enabled:
        return None
    if chosen.url:
        store = ValkeyCache(
            chosen.url,
            prefix=f"{chosen.prefix}:{installation}",
            timeout_seconds=chosen.timeout_seconds,
            clock=clock,
        )
        return guards.cache(store)
    return _in_memory("answers", chosen.max_bytes, clock, metrics)


def open_embedding_cache(
    settings: Settings, embedder: Embedder, clock: Clock, metrics: Metrics
) -> Embedder:
    """`embedder`, behind a cache unless that is switched off."""
    chosen = settings.cache
    if not chosen.enabled or not chosen.embedding_max_bytes:
        return embedder
    return CachedEmbedder(
        embedder,
        _in_memory("embedding", chosen.embedding_max_bytes, clock, metrics),
        on_outcome=lambda outcome: metrics.cache_requests.labels("embedding", outcome).inc(),
    )


def keep_swept(
    stack: AsyncExitStack, settings: Settings, services: Services, *, has_records: bool
) -> None:
    """Until the context ends. A shared cache is swept by the one process that has the records."""
    cache = services.cache
    if cache is None:
        return
    stack.push_async_callback(cache.close)
    if settings.cache.url and not has_records:
        return
    sweeper = Sweeper(
        cache,
        services.records,
        clock=services.clock,
        pause_seconds=settings.cache.sweep_seconds,
    )
    in_background(stack, sweeper.run())


def _in_memory(name: str, max_bytes: int, clock: Clock, metrics: Metrics) -> MemoryCache:
    cache = MemoryCache(max_bytes=max_bytes, clock=clock)
    metrics.follow(metrics.cache_entries.labels(name), lambda: len(cache))
    metrics.follow(metrics.cache_bytes.labels(name), lambda: cache.size_bytes)
    metrics.follow(metrics.cache_limit.labels(name), lambda: max_bytes)
    return cache
