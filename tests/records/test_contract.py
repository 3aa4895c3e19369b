"""What every implementation of `Records` does alike: collections and documents."""

import asyncio

import msgspec
import pytest

from ragstone.domain.errors import (
    EmbedderMismatch,
    InternalError,
    InvalidRequest,
    UnknownCollection,
)
from ragstone.ports import Records, Tombstone
from tests.clock import VirtualClock
from tests.records.samples import MINILM, OTHER, a_document, a_job, a_source, renamed, with_text


async def test_the_generation_can_be_raised_and_absent_collections_are_let_be(
    records: Records,
) -> None:
    before = await records.ensure_collection("acme", "help", MINILM)
    await records.raise_generation("acme", "help")
    await records.raise_generation("acme", "nothing")
    after = await records.collection("acme", "help")
    assert after is not None
    assert after.generation > before.generation
    assert await records.generation("acme", "help") == after.generation
    assert await records.generation("acme", "nothing") is None
    await records.delete_collection("acme", "help")
    assert await records.generation("acme", "help") is None


async def test_clearing_raises_epoch_and_generation_of_one_or_of_all(records: Records) -> None:
    for tenant, name in [("acme", "help"), ("acme", "shop"), ("other", "help")]:
        await records.ensure_collection(tenant, name, MINILM)
    assert await records.raise_cache_epoch("acme", "help") == ["help"]
    assert await records.raise_cache_epoch("acme", None) == ["help", "shop"]
    assert await records.raise_cache_epoch("acme", "nothing") == []

    async def counts(tenant: str, name: str) -> tuple[int, int]:
        found = await records.collection(tenant, name)
        assert found is not None
        return found.cache_epoch, found.generation

    helped, shopped = await counts("acme", "help"), await counts("acme", "shop")
    assert all(help_ > shop > 0 for help_, shop in zip(helped, shopped, strict=True))
    assert await counts("other", "help") == (0, 0)
    await records.delete_collection("acme", "help")
    assert await records.raise_cache_epoch("acme", None) == ["shop"]
    made = await records.ensure_collection("acme", "help", MINILM)
    assert made.cache_epoch == helped[0]


async def test_versions_of_the_documents_that_are_there(records: Records) -> None:
    await records.ensure_collection("acme", "default", MINILM)
    a, b = a_document("a", version=3), a_document("b", version=7)
    await records.put_documents("acme", "default", [with_text(a), with_text(b)])
    ids = [a.id, b.id, "absent", *map(str, range(1_000))]
    assert await records.document_versions("acme", ids) == {a.id: 3, b.id: 7}
    assert await records.document_versions("other", ids) == {}
    await records.delete_document("acme", a.id)
    assert await records.document_versions("acme", [a.id, b.id]) == {b.id: 7}
    assert await records.document_versions("acme", []) == {}


async def test_a_new_collection_is_empty_and_can_be_found(
    records: Records, clock: VirtualClock
) -> None:
    made = await records.ensure_collection("acme", "default", MINILM)
    assert made.embedder == MINILM
    assert (made.document_count, made.chunk_count) == (0, 0)
    assert made.created_at == clock.time()
    assert await records.collection("acme", "default") == made
    assert await records.collection("acme", "other") is None
    assert await records.collection("other", "default") is None


async def test_ensuring_a_collection_again_changes_nothing(
    records: Records, clock: VirtualClock
) -> None:
    made = await records.ensure_collection("acme", "default", MINILM)
    clock.advance(10)
    assert await records.ensure_collection("acme", "default", MINILM) == made


async def test_another_embedder_is_refused_with_both_names(records: Records) -> None:
    await records.ensure_collection("acme", "default", MINILM)
    with pytest.raises(EmbedderMismatch) as caught:
        await records.ensure_collection("acme", "default", OTHER)
    assert "minilm" in caught.value.message
    assert "other" in caught.value.message
    assert caught.value.remedy


async def test_many_at_once_make_one_collection(records: Records) -> None:
    made = await asyncio.gather(
        *(records.ensure_collection("acme", "default", MINILM) for _ in range(8))
    )
    assert len(set(map(msgspec.json.encode, made))) == 1
    assert len(await records.all_collections()) == 1


async def test_collections_are_listed_by_name_and_tenant(records: Records) -> None:
    for tenant, name in [("b", "x"), ("a", "z"), ("a", "B"), ("a", "ä"), ("a", "b")]:
        await records.ensure_collection(tenant, name, MINILM)
    assert [c.name for c in await records.collections("a")] == ["B", "b", "z", "ä"]
    assert [(c.tenant, c.name) for c in await records.all_collections()] == [
        ("a", "B"),
        ("a", "b"),
        ("a", "z"),
        ("a", "ä"),
        ("b", "x"),
    ]
    assert await records.collections("c") == []


async def test_a_name_that_cannot_be_stored_is_refused(records: Records) -> None:
    for name in ("nul\x00", "half \ud83d"):
        with pytest.raises(InvalidRequest):
            await records.ensure_collection("acme", name, MINILM)
        with pytest.raises(InvalidRequest):
            await records.ensure_collection(name, "default", MINILM)
    assert await records.all_collections() == []


async def test_a_document_comes_back_as_it_was_put(records: Records) -> None:
    await records.ensure_collection("acme", "default", MINILM)
    document, text = with_text(a_document())
    await records.put_documents("acme", "default", [(document, text)])
    assert await records.document("acme", document.id) == document
    assert await records.document_text("acme", document.id) == text
    assert await records.documents_by_id("acme", [document.id, "doc_none"]) == {
        document.id: document
    }
    assert await records.documents("acme", "default") == [document]


async def test_another_tenant_sees_nothing_of_a_document(records: Records) -> None:
    await records.ensure_collection("acme", "default", MINILM)
    document = a_document()
    await records.put_documents("acme", "default", [with_text(document)])
    assert await records.document("evil", document.id) is None
    assert await records.document_text("evil", document.id) is None
    assert await records.documents_by_id("evil", [document.id]) == {}
    assert await records.documents("evil", "default") == []
    assert await records.delete_document("evil", document.id) is None
    assert await records.document("acme", document.id) == document


async def test_putting_raises_the_generation_once_and_counts(records: Records) -> None:
    before = await records.ensure_collection("acme", "default", MINILM)
    first, second = a_document("1", chunks=2), a_document("2", chunks=5)
    after = await records.put_documents("acme", "default", [with_text(first), with_text(second)])
    assert after.generation > before.generation
    assert (after.document_count, after.chunk_count) == (2, 7)
    assert await records.collection("acme", "default") == after

    before, shorter = after, a_document("2", version=2, chunks=1)
    after = await records.put_documents("acme", "default", [with_text(shorter)])
    assert after.generation > before.generation
    assert (after.document_count, after.chunk_count) == (2, 3)
    assert await records.document("acme", second.id) == shorter
    assert await records.document_text("acme", second.id) == with_text(shorter)[1]


async def test_of_a_document_put_twice_in_one_batch_the_last_counts(records: Records) -> None:
    await records.ensure_collection("acme", "default", MINILM)
    first, last = a_document(chunks=2), renamed(a_document(chunks=4), "Later")
    after = await records.put_documents("acme", "default", [(first, "early"), (last, "late")])
    assert (after.document_count, after.chunk_count) == (1, 4)
    assert await records.document("acme", first.id) == last
    assert await records.document_text("acme", first.id) == "late"


async def test_putting_nothing_changes_nothing(records: Records) -> None:
    before = await records.ensure_collection("acme", "default", MINILM)
    assert await records.put_documents("acme", "default", []) == before


async def test_an_unknown_collection_is_refused_with_the_nearest_of_the_tenant(
    records: Records,
) -> None:
    await records.ensure_collection("acme", "products", MINILM)
    await records.ensure_collection("evil", "product", MINILM)
    document = a_document(collection="product")
    with pytest.raises(UnknownCollection) as caught:
        await records.put_documents("acme", "product", [with_text(document)])
    assert caught.value.remedy == "Did you mean 'products'?"
    with pytest.raises(UnknownCollection):
        await records.put_documents("acme", "product", [])
    with pytest.raises(UnknownCollection):
        await records.next_versions("acme", "product", 1)
    assert await records.documents("acme", "product") == []
    assert await records.document("acme", document.id) is None


async def test_a_document_of_another_collection_is_never_put(records: Records) -> None:
    await records.ensure_collection("acme", "default", MINILM)
    for stray in (a_document(tenant="evil"), a_document(collection="other")):
        with pytest.raises(InternalError):
            await records.put_documents("acme", "default", [with_text(stray)])
    assert await records.documents("acme", "default") == []


async def test_a_batch_with_a_bad_document_leaves_nothing_behind(records: Records) -> None:
    before = await records.ensure_collection("acme", "default", MINILM)
    good = a_document("good")
    bad = msgspec.structs.replace(a_document("bad"), metadata={"price": float("nan")})
    with pytest.raises(InvalidRequest, match="price"):
        await records.put_documents("acme", "default", [with_text(good), with_text(bad)])
    assert await records.document("acme", good.id) is None
    assert await records.collection("acme", "default") == before


async def test_characters_that_no_database_holds_are_replaced_one_by_one(
    records: Records,
) -> None:
    await records.ensure_collection("acme", "default", MINILM)
    document = msgspec.structs.replace(
        a_document(), title="a\x00b", source_name="\udcff.md", metadata={"k": "x\ud800y"}
    )
    text = "before\x00after \udc00 \U0001f9e5 end"
    await records.put_documents("acme", "default", [(document, text)])
    kept = await records.document("acme", document.id)
    assert kept is not None
    assert kept.title == "a\ufffdb"
    assert kept.source_name == "\ufffd.md"
    assert kept.metadata == {"k": "x\ufffdy"}
    kept_text = await records.document_text("acme", document.id)
    assert kept_text == "before\ufffdafter \ufffd \U0001f9e5 end"
    assert len(kept_text) == len(text)


async def test_documents_are_paged_in_the_order_of_their_ids(records: Records) -> None:
    await records.ensure_collection("acme", "default", MINILM)
    await records.ensure_collection("acme", "other", MINILM)
    documents = [a_document(f"{n}.md") for n in range(25)]
    await records.put_documents("acme", "default", [with_text(d) for d in documents])
    await records.put_documents("acme", "other", [with_text(a_document(collection="other"))])
    expected = sorted(document.id for document in documents)
    seen: list[str] = []
    while page := await records.documents(
        "acme", "default", limit=10, after=seen[-1] if seen else None
    ):
        seen += [document.id for document in page]
    assert seen == expected
    assert await records.documents("acme", "default", limit=0) == []


async def test_more_documents_than_one_statement_holds(records: Records) -> None:
    await records.ensure_collection("acme", "default", MINILM)
    documents = [a_document(f"{n}.md", chunks=1) for n in range(1201)]
    for _ in range(2):
        after = await records.put_documents("acme", "default", [with_text(d) for d in documents])
        assert (after.document_count, after.chunk_count) == (1201, 1201)
    found = await records.documents_by_id("acme", [document.id for document in documents])
    assert len(found) == 1201


async def test_version_numbers_follow_one_another(records: Records) -> None:
    await records.ensure_collection("acme", "default", MINILM)
    await records.ensure_collection("acme", "other", MINILM)
    first = await records.next_versions("acme", "default", 3)
    assert await records.next_versions("acme", "default", 1) == first + 3
    assert await records.next_versions("acme", "default", 1) == first + 4
    assert await records.next_versions("acme", "other", 1) == first


async def test_a_deleted_document_leaves_a_tombstone_until_it_is_forgotten(
    records: Records, clock: VirtualClock
) -> None:
    await records.ensure_collection("acme", "default", MINILM)
    document, other = a_document("1", chunks=2), a_document("2", chunks=3)
    put = await records.put_documents("acme", "default", [with_text(document), with_text(other)])
    assert await records.delete_document("acme", document.id) == document
    assert await records.document("acme", document.id) is None
    assert await records.document_text("acme", document.id) is None
    after = await records.collection("acme", "default")
    assert after is not None
    assert after.generation > put.generation
    assert (after.document_count, after.chunk_count) == (1, 3)
    tombstone = Tombstone(
        tenant="acme", collection="default", document_id=document.id, deleted_at=clock.time()
    )
    assert await records.tombstones() == [tombstone]
    await records.forget_tombstone(msgspec.structs.replace(tombstone, deleted_at=0.0))
    assert await records.tombstones() == []
    await records.forget_tombstone(tombstone)


async def test_deleting_what_is_absent_changes_nothing(records: Records) -> None:
    before = await records.ensure_collection("acme", "default", MINILM)
    assert await records.delete_document("acme", "doc_none") is None
    assert await records.collection("acme", "default") == before
    assert await records.tombstones() == []


async def test_a_document_that_is_put_again_has_no_tombstone(records: Records) -> None:
    await records.ensure_collection("acme", "default", MINILM)
    document = a_document()
    await records.put_documents("acme", "default", [with_text(document)])
    await records.delete_document("acme", document.id)
    await records.put_documents("acme", "default", [with_text(document)])
    assert await records.tombstones() == []


async def test_a_deleted_collection_takes_its_documents_with_it(records: Records) -> None:
    await records.ensure_collection("acme", "default", MINILM)
    await records.ensure_collection("acme", "other", MINILM)
    document, kept = a_document(), a_document(collection="other")
    await records.put_documents("acme", "default", [with_text(document)])
    await records.put_documents("acme", "other", [with_text(kept)])
    assert await records.delete_collection("acme", "default")
    assert await records.collection("acme", "default") is None
    assert [c.name for c in await records.all_collections()] == ["other"]
    assert await records.document("acme", document.id) is None
    assert await records.document_text("acme", document.id) is None
    assert await records.document("acme", kept.id) == kept
    assert [t.document_id for t in await records.tombstones()] == [document.id]
    assert not await records.delete_collection("acme", "default")
    assert not await records.delete_collection("acme", "never")


async def test_a_collection_that_is_made_again_goes_on_counting(
    records: Records, clock: VirtualClock
) -> None:
    await records.ensure_collection("acme", "default", MINILM)
    before = await records.put_documents("acme", "default", [with_text(a_document())])
    version = await records.next_versions("acme", "default", 5)
    await records.delete_collection("acme", "default")
    clock.advance(60)
    after = await records.ensure_collection("acme", "default", OTHER)
    assert after.generation > before.generation
    assert after.embedder == OTHER
    assert after.created_at == clock.time()
    assert (after.document_count, after.chunk_count) == (0, 0)
    assert await records.next_versions("acme", "default", 1) == version + 5
    assert await records.documents("acme", "default") == []


async def test_a_deleted_collection_ends_its_jobs(records: Records) -> None:
    await records.ensure_collection("acme", "default", MINILM)
    await records.create_job(a_job("running"), a_source())
    await records.create_job(a_job("ended"), a_source())
    await records.create_job(a_job("elsewhere", collection="other"), a_source("other"))
    job = a_job()
    await records.update_job("ended", state="done", counts=job.counts, errors=[], attempts=1)
    await records.delete_collection("acme", "default")
    failed = await records.job("acme", "running")
    assert failed is not None
    assert failed.state == "failed"
    assert [error.code for error in failed.errors] == ["collection_deleted"]
    assert "default" in failed.errors[0].message
    assert await records.job_source("running") is None
    assert await records.job("acme", "ended") is None
    assert [j.id for j in await records.unfinished_jobs()] == ["elsewhere"]
