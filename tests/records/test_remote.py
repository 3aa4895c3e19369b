"""What a gateway asks of its engine's records, it gets as the engine has it."""

from collections.abc import AsyncIterator

import pytest

from ragstone.ports import Records, RecordsReader
from ragstone.records.cached_reader import TTL_SECONDS, CachedReader
from ragstone.records.remote import RemoteRecords
from tests.clock import VirtualClock
from tests.hop.engine import served
from tests.records.samples import MINILM, a_document, a_key, with_text


@pytest.fixture
async def remote(records: Records) -> AsyncIterator[RecordsReader]:
    async with served(records=records) as door:
        yield RemoteRecords(door.client())


async def test_collections_are_as_in_the_engine(records: Records, remote: RecordsReader) -> None:
    assert await remote.collections("acme") == []
    made = await records.ensure_collection("acme", "hélp", MINILM)
    await records.ensure_collection("other", "help", MINILM)
    assert await remote.collection("acme", "hélp") == made
    assert await remote.collection("acme", "none") is None
    assert await remote.collection("other", "hélp") is None
    assert await remote.collections("acme") == await records.collections("acme") == [made]


async def test_versions_and_epochs_are_as_in_the_engine(
    records: Records, remote: RecordsReader
) -> None:
    await records.ensure_collection("acme", "default", MINILM)
    document = a_document(version=3)
    await records.put_documents("acme", "default", [with_text(document)])
    await records.raise_cache_epoch("acme", None)
    assert await remote.document_versions("acme", [document.id, "b"]) == {document.id: 3}
    assert await remote.collection("acme", "default") == await records.collection("acme", "default")


async def test_keys_are_as_in_the_engine(records: Records, remote: RecordsReader) -> None:
    assert await remote.keys() == []
    key = a_key()
    await records.create_key(key)
    assert await remote.key_by_hash(key.sha256) == key
    assert await remote.key_by_hash("0" * 64) is None
    assert await remote.keys() == await records.keys()
    await records.revoke_key(key.id)
    assert await remote.key_by_hash(key.sha256) is None
    assert len(await remote.keys()) == 1


async def test_a_key_revoked_in_the_engine_is_refused_within_a_second(
    records: Records, remote: RecordsReader, clock: VirtualClock
) -> None:
    kept = CachedReader(remote, clock)
    key = a_key()
    await records.create_key(key)
    assert await kept.key_by_hash(key.sha256) == key
    await records.revoke_key(key.id)
    clock.advance(TTL_SECONDS)
    assert await kept.key_by_hash(key.sha256) is None


async def test_a_change_in_the_engine_shows_in_the_generation_at_once(
    records: Records, remote: RecordsReader, clock: VirtualClock
) -> None:
    kept = CachedReader(remote, clock)
    made = await records.ensure_collection("acme", "help", MINILM)
    assert await kept.collection("acme", "help") == made
    await records.raise_generation("acme", "help")
    assert await kept.collection("acme", "help") == made  # as remembered
    raised = await kept.generation("acme", "help")
    assert raised is not None
    assert raised > made.generation
    now = await kept.collection("acme", "help")
    assert now is not None
    assert now.generation == raised
    await records.delete_collection("acme", "help")
    assert await kept.generation("acme", "help") is None
    assert await kept.collection("acme", "help") is None
