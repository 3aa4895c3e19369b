"""Cached records are never older than a second, and own changes are seen at once."""

import asyncio

import msgspec
import pytest

from ragstone.domain.collection import Collection
from ragstone.domain.errors import RecordsUnavailable
from ragstone.ports import ApiKey
from ragstone.records.cached import CachedRecords
from ragstone.records.cached_reader import TTL_SECONDS
from ragstone.records.expiring import ExpiringMap
from ragstone.records.memory import MemoryRecords
from tests.clock import VirtualClock
from tests.records.samples import MINILM, a_document, a_key, with_text


class CountingRecords(MemoryRecords):
    """Counts what reaches it, and lets a test hold an answer back."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.asked = 0
        self.gate: asyncio.Event | None = None

    async def collection(self, tenant: str, name: str) -> Collection | None:
        self.asked += 1
        found = await super().collection(tenant, name)
        await self._pass_gate()
        return found

    async def key_by_hash(self, sha256: str) -> ApiKey | None:
        self.asked += 1
        found = await super().key_by_hash(sha256)
        await self._pass_gate()
        return found

    async def _pass_gate(self) -> None:
        if self.gate is not None:
            await self.gate.wait()


@pytest.fixture
def inner(clock: VirtualClock) -> CountingRecords:
    return CountingRecords(clock)


@pytest.fixture
def cached(inner: CountingRecords, clock: VirtualClock) -> CachedRecords:
    return CachedRecords(inner, clock)


async def test_the_second_question_does_not_reach_the_database(
    inner: CountingRecords, cached: CachedRecords
) -> None:
    await inner.ensure_collection("acme", "default", MINILM)
    await inner.create_key(a_key())
    for _ in range(5):
        assert await cached.collection("acme", "default") is not None
        assert await cached.key_by_hash(a_key().sha256) == a_key()
    assert inner.asked == 2


async def test_a_key_revoked_by_another_process_opens_nothing_after_a_second(
    inner: CountingRecords, cached: CachedRecords, clock: VirtualClock
) -> None:
    await inner.create_key(a_key())
    assert await cached.key_by_hash(a_key().sha256) is not None
    await inner.revoke_key(a_key().id)
    clock.advance(TTL_SECONDS)
    assert await cached.key_by_hash(a_key().sha256) is None


async def test_a_key_made_by_another_process_is_known_after_a_second(
    inner: CountingRecords, cached: CachedRecords, clock: VirtualClock
) -> None:
    for _ in range(3):
        assert await cached.key_by_hash(a_key().sha256) is None
    assert inner.asked == 1
    await inner.create_key(a_key())
    clock.advance(TTL_SECONDS)
    assert await cached.key_by_hash(a_key().sha256) == a_key()


async def test_use_does_not_keep_an_entry_young(
    inner: CountingRecords, cached: CachedRecords, clock: VirtualClock
) -> None:
    await inner.create_key(a_key())
    await cached.key_by_hash(a_key().sha256)
    await inner.revoke_key(a_key().id)
    for _ in range(4):
        clock.advance(TTL_SECONDS / 4)
        await cached.key_by_hash(a_key().sha256)
    assert await cached.key_by_hash(a_key().sha256) is None


async def test_own_changes_of_keys_are_seen_at_once(cached: CachedRecords) -> None:
    assert await cached.key_by_hash(a_key().sha256) is None
    await cached.create_key(a_key())
    assert await cached.key_by_hash(a_key().sha256) == a_key()
    await cached.revoke_key(a_key().id)
    assert await cached.key_by_hash(a_key().sha256) is None


async def test_own_changes_of_a_collection_are_seen_at_once(cached: CachedRecords) -> None:
    made = await cached.ensure_collection("acme", "default", MINILM)
    assert await cached.collection("acme", "default") == made
    document = a_document()
    put = await cached.put_documents("acme", "default", [with_text(document)])
    assert await cached.collection("acme", "default") == put
    await cached.delete_document("acme", document.id)
    after = await cached.collection("acme", "default")
    assert after is not None
    assert after.generation > put.generation
    await cached.delete_collection("acme", "default")
    assert await cached.collection("acme", "default") is None


async def test_an_answer_overtaken_by_a_change_is_not_kept(
    inner: CountingRecords, cached: CachedRecords
) -> None:
    await inner.create_key(a_key())
    await inner.ensure_collection("acme", "default", MINILM)
    inner.gate = asyncio.Event()
    key = asyncio.ensure_future(cached.key_by_hash(a_key().sha256))
    collection = asyncio.ensure_future(cached.collection("acme", "default"))
    while inner.asked < 2:
        await asyncio.sleep(0)
    put = await cached.put_documents("acme", "default", [with_text(a_document())])
    await cached.revoke_key(a_key().id)
    inner.gate.set()
    await asyncio.gather(key, collection)
    assert await cached.key_by_hash(a_key().sha256) is None
    assert await cached.collection("acme", "default") == put


async def test_a_change_that_failed_may_have_happened(
    inner: CountingRecords, cached: CachedRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cached.create_key(a_key())
    await cached.key_by_hash(a_key().sha256)

    async def revoke_and_break(key_id: str) -> bool:
        await MemoryRecords.revoke_key(inner, key_id)
        raise RecordsUnavailable("The connection broke after the commit.")

    monkeypatch.setattr(inner, "revoke_key", revoke_and_break)
    with pytest.raises(RecordsUnavailable):
        await cached.revoke_key(a_key().id)
    assert await cached.key_by_hash(a_key().sha256) is None


async def test_invented_keys_neither_grow_the_cache_nor_push_real_ones_out(
    inner: CountingRecords, cached: CachedRecords
) -> None:
    await inner.create_key(a_key())
    await cached.key_by_hash(a_key().sha256)
    for n in range(10_000):
        await cached.key_by_hash(f"{n:064x}")
    before = inner.asked
    assert await cached.key_by_hash(a_key().sha256) == a_key()
    assert inner.asked == before
    assert len(cached._unknown_keys) <= 4096


def test_the_least_recently_used_entry_goes_first(clock: VirtualClock) -> None:
    kept: ExpiringMap[str, int] = ExpiringMap(clock, ttl=1.0, size=2)
    kept.put("a", 1, born=clock.monotonic())
    kept.put("b", 2, born=clock.monotonic())
    assert kept.get("a") == 1
    kept.put("c", 3, born=clock.monotonic())
    assert (kept.get("a"), kept.get("b"), kept.get("c")) == (1, None, 3)
    assert len(kept) == 2


async def test_another_tenants_collection_of_the_same_name_is_another(
    cached: CachedRecords,
) -> None:
    mine = await cached.ensure_collection("acme", "default", MINILM)
    await cached.ensure_collection("evil", "default", MINILM)
    theirs = await cached.collection("evil", "default")
    assert await cached.collection("acme", "default") == mine
    assert theirs == msgspec.structs.replace(mine, tenant="evil")


async def test_who_asks_the_same_at_one_moment_shares_one_read(
    inner: CountingRecords, cached: CachedRecords
) -> None:
    await inner.ensure_collection("acme", "default", MINILM)
    inner.gate = asyncio.Event()
    asking = [asyncio.create_task(cached.collection("acme", "default")) for _ in range(30)]
    await asyncio.sleep(0)
    asking[0].cancel()  # the others still get theirs
    await asyncio.sleep(0)
    inner.gate.set()
    first, *others = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(first, asyncio.CancelledError)
    assert all(isinstance(found, Collection) for found in others)
    assert inner.asked == 1


async def test_what_is_asked_for_is_read_again_before_it_ends_and_nobody_waits(
    inner: CountingRecords, cached: CachedRecords, clock: VirtualClock
) -> None:
    await inner.create_key(a_key())
    await cached.key_by_hash(a_key().sha256)
    inner.gate = asyncio.Event()
    for _ in range(3):  # longer than what was read first is good for
        clock.advance(TTL_SECONDS * 0.6)
        inner.gate.clear()
        assert await cached.key_by_hash(a_key().sha256) == a_key()
        inner.gate.set()
        for _ in range(3):
            await asyncio.sleep(0)
    assert inner.asked == 4


async def test_a_read_that_began_before_a_change_is_not_shared_after_it(
    inner: CountingRecords, cached: CachedRecords
) -> None:
    await cached.create_key(a_key())
    inner.gate = asyncio.Event()
    before = asyncio.create_task(cached.key_by_hash(a_key().sha256))
    await asyncio.sleep(0.01)
    await cached.revoke_key(a_key().id)
    after = asyncio.create_task(cached.key_by_hash(a_key().sha256))
    await asyncio.sleep(0)
    inner.gate.set()
    assert await before == a_key()
    assert await after is None


async def test_a_read_ahead_that_fails_is_met_by_nobody(
    inner: CountingRecords, cached: CachedRecords, clock: VirtualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    await inner.create_key(a_key())
    await cached.key_by_hash(a_key().sha256)

    async def fail(sha256: str) -> ApiKey | None:
        raise RecordsUnavailable("The records cannot be reached.", remedy="Wait.")

    monkeypatch.setattr(inner, "key_by_hash", fail)
    clock.advance(TTL_SECONDS * 0.6)
    assert await cached.key_by_hash(a_key().sha256) == a_key()
    await asyncio.sleep(0)
    clock.advance(TTL_SECONDS * 0.6)
    with pytest.raises(RecordsUnavailable):
        await cached.key_by_hash(a_key().sha256)
