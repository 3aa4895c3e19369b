"""Every kind of cache, each empty, behind one fixture."""

from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from ragstone.caches.memory import MemoryCache
from ragstone.caches.valkey import ValkeyCache
from ragstone.domain.clock import SystemClock
from ragstone.ports import CacheStore
from tests.redis_server import redis_server


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture
async def shared_cache(redis_url: str) -> AsyncIterator[ValkeyCache]:
    """Over a real server; generous with time, since the machine of the tests may be busy."""
    async with Redis.from_url(redis_url) as raw:
        await raw.flushdb()
    cache = ValkeyCache(redis_url, prefix="test", timeout_seconds=60, clock=SystemClock())
    yield cache
    await cache.close()


@pytest.fixture(params=["memory", "redis"])
def cache(request: pytest.FixtureRequest) -> CacheStore:
    if request.param == "memory":
        return MemoryCache(max_bytes=1_000_000, clock=SystemClock())
    found: CacheStore = request.getfixturevalue("shared_cache")
    return found
