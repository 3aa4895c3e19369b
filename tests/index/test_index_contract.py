"""What every index promises, over the embedded engine and the one in memory."""

import asyncio

import pytest

from ragstone.domain.errors import EmbedderMismatch, InvalidFilter, InvalidRequest
from ragstone.domain.query import Filter, FusionSettings, SearchRequest
from ragstone.ports import Index
from tests.index.corpus import (
    COLLECTION,
    TENANT,
    asker,
    close_to,
    document,
    embed,
    found,
    put,
    search,
)


async def test_unknown_collection_searches_as_empty(index: Index) -> None:
    assert (await search(index, "anything", collection="nowhere")).passages == []


async def test_a_passage_carries_everything_about_its_chunk(index: Index) -> None:
    original = document("care", ["Wash cold", "Dry flat"], metadata={"kind": "care", "year": 2024})
    await put(index, original)
    result = await search(index, "Dry flat", limit=1)
    passage, chunk = result.passages[0], original.chunks[1]
    assert passage.chunk_id == str(chunk.id)
    assert (passage.document_id, passage.external_id) == ("care", "care.md")
    assert (passage.version, passage.ordinal, passage.title) == (1, 1, "care")
    assert (passage.text, passage.start, passage.end) == ("Dry flat", 0, 8)
    assert (passage.heading_path, passage.page) == (("Top",), 3)
    assert passage.metadata == {"kind": "care", "year": 2024}


async def test_both_scores_are_given_and_dense_is_the_cosine(index: Index) -> None:
    await put(index, document("a", ["granite kerb stone"]), document("b", ["soft chalk"]))
    result = await search(index, "granite kerb stone")
    best, other = result.passages
    assert best.document_id == "a"
    assert close_to(best.scores.dense, 1.0)
    assert best.scores.lexical is not None
    assert best.scores.lexical > 0
    expected = sum(
        x * y for x, y in zip(embed("soft chalk"), embed("granite kerb stone"), strict=True)
    )
    assert close_to(other.scores.dense, expected)
    assert best.scores.fused > other.scores.fused


async def test_modes_run_one_leg_only(index: Index) -> None:
    await put(index, document("a", ["granite kerb"]), document("b", ["soft chalk"]))
    dense = await search(index, "granite", mode="dense")
    assert {p.document_id for p in dense.passages} == {"a", "b"}
    assert all(p.scores.lexical is None for p in dense.passages)
    lexical = await search(index, "granite", mode="lexical")
    assert [p.document_id for p in lexical.passages] == ["a"]
    assert lexical.passages[0].scores.dense is None


async def test_hybrid_without_a_vector_or_words_serves_the_possible_leg(index: Index) -> None:
    await put(index, document("a", ["granite kerb"]), document("b", ["soft chalk"]))
    words = SearchRequest(collection=COLLECTION, text="chalk")
    assert [p.document_id for p in (await index.search(asker(), words)).passages] == ["b"]
    vector = SearchRequest(collection=COLLECTION, vector=embed("granite kerb"), text="the")
    assert (await index.search(asker(), vector)).passages[0].document_id == "a"


@pytest.mark.parametrize("fusion", [FusionSettings(), FusionSettings(method="rrf")])
async def test_hybrid_finds_what_either_leg_finds(index: Index, fusion: FusionSettings) -> None:
    texts = {f"d{i}": f"filler number {i} about nothing" for i in range(30)}
    texts |= {"code": "part AF-1234 fits", "kerb": "granite kerb stone"}
    await put(index, *(document(name, [text]) for name, text in texts.items()))
    assert (await search(index, "AF-1234", fusion=fusion)).passages[0].document_id == "code"
    result = await search(index, "granite kerb stone", fusion=fusion)
    assert result.passages[0].document_id == "kerb"


async def test_requests_that_cannot_be_served_are_refused(index: Index) -> None:
    await put(index, document("a", ["stone"]))
    with pytest.raises(InvalidRequest):
        await index.search(asker(), SearchRequest(collection=COLLECTION, mode="dense", text="x"))
    with pytest.raises(InvalidRequest):
        await index.search(asker(), SearchRequest(collection=COLLECTION, text="x", limit=0))
    wrong = SearchRequest(collection=COLLECTION, vector=[1.0, 0.0])
    with pytest.raises(EmbedderMismatch):
        await index.search(asker(), wrong)
    with pytest.raises(EmbedderMismatch):
        await put(index, document("b", ["stone"], vectors=[[1.0]]))
    with pytest.raises(InvalidRequest):
        await index.replace("other", COLLECTION, [document("c", ["stone"])])


async def test_any_limit_is_served(index: Index) -> None:
    await put(index, document("a", ["stone"]), document("b", ["stone kerb"]))
    result = await search(index, "stone", limit=10**12, candidates=10**12)
    assert len(result.passages) == 2
    assert len((await search(index, "stone", limit=1, candidates=0)).passages) == 1


# Access


async def test_tenants_do_not_see_each_other(index: Index) -> None:
    await put(index, document("mine", ["stone"]), document("theirs", ["stone"], tenant="globex"))
    assert await found(index) == {"mine@1"}
    assert await found(index, principal=asker(tenant="globex")) == {"theirs@1"}


async def test_a_group_of_the_same_name_in_two_tenants_is_two_groups(index: Index) -> None:
    await put(
        index,
        document("mine", ["stone"], access=["group:staff"]),
        document("theirs", ["stone"], tenant="globex", access=["group:staff"]),
    )
    assert await found(index, principal=asker("staff")) == {"mine@1"}
    assert await found(index, principal=asker("staff", tenant="globex")) == {"theirs@1"}


async def test_access_lists_admit_everyone_groups_and_users(index: Index) -> None:
    await put(
        index,
        document("open", ["stone"]),
        document("staff", ["stone"], access=["group:staff", "group:board"]),
        document("ann", ["stone"], access=["user:ann"]),
        document("staged", ["stone"], access=[]),
    )
    assert await found(index) == {"open@1"}
    assert await found(index, principal=asker("board")) == {"open@1", "staff@1"}
    assert await found(index, principal=asker(user="ann")) == {"open@1", "ann@1"}
    assert await found(index, principal=asker("ann")) == {"open@1"}
    for mode in ("hybrid", "lexical"):
        result = await search(index, "stone", mode=mode)  # type: ignore[arg-type]
        assert {p.document_id for p in result.passages} == {"open"}


async def test_rare_terms_of_one_tenant_do_not_change_the_scores_of_another(index: Index) -> None:
    await put(index, document("a", ["quartz vein"]), document("b", ["plain rock"]))
    before = (await search(index, "quartz", mode="lexical")).passages[0].scores
    await put(index, *(document(f"t{i}", ["quartz"], tenant="globex") for i in range(20)))
    await put(index, *(document(f"c{i}", ["quartz"], collection="other") for i in range(20)))
    assert (await search(index, "quartz", mode="lexical")).passages[0].scores == before


# Change


async def test_replacing_takes_the_place_of_every_earlier_chunk(index: Index) -> None:
    await put(index, document("a", ["stone one", "stone two", "stone three"]))
    await put(index, document("a", ["stone four"], version=2))
    result = await search(index, "stone", limit=100)
    assert [(p.version, p.text) for p in result.passages] == [(2, "stone four")]


async def test_replacing_is_idempotent(index: Index) -> None:
    for _ in range(3):
        await put(index, document("a", ["stone one", "stone two"]))
    assert len((await search(index, "stone", limit=100)).passages) == 2


async def test_replacing_by_nothing_leaves_nothing(index: Index) -> None:
    await put(index, document("a", ["stone"]), document("b", ["stone"]))
    await index.replace(TENANT, COLLECTION, [document("a", [], version=2)])
    assert await found(index) == {"b@1"}


async def test_access_changes_with_the_next_version(index: Index) -> None:
    await put(index, document("a", ["stone"]))
    await put(index, document("a", ["stone"], version=2, access=["group:staff"]))
    assert await found(index) == set()
    assert await found(index, principal=asker("staff")) == {"a@2"}


async def test_deleting_is_immediate_and_absent_is_fine(index: Index) -> None:
    await index.delete(TENANT, COLLECTION, ["nothing"])
    await put(index, document("a", ["stone", "stone"]), document("b", ["stone"]))
    await index.delete(TENANT, COLLECTION, ["a", "never-there"])
    assert await found(index) == {"b@1"}
    assert {p.document_id for p in (await search(index, "stone")).passages} == {"b"}


async def test_dropping_removes_one_collection_only(index: Index) -> None:
    await put(index, document("a", ["stone"]), document("b", ["stone"], collection="other"))
    await index.drop(TENANT, COLLECTION)
    await index.drop(TENANT, "never-there")
    assert await found(index) == set()
    assert await found(index, collection="other") == {"b@1"}
    await put(index, document("c", ["stone"]))
    assert await found(index) == {"c@1"}


@pytest.mark.parametrize("size", [3, 70], ids=["at_once", "in_steps"])
async def test_a_search_sees_the_old_or_the_new_chunks(index: Index, size: int) -> None:
    await put(index, document("a", [f"stone {i}" for i in range(size)]))
    done = asyncio.Event()

    async def write() -> None:
        for version in range(2, 8):
            texts = [f"stone {i}" for i in range(size + version)]
            await put(index, document("a", texts, version=version))
        done.set()

    async def watch() -> int:
        last = 1
        while not done.is_set():
            result = await search(index, "stone", limit=500)
            versions = {passage.version for passage in result.passages}
            assert len(versions) == 1
            version = versions.pop()
            assert len(result.passages) == size + (version if version > 1 else 0)
            assert version >= last
            last = version
            await asyncio.sleep(0)
        return last

    writing = asyncio.create_task(write())
    await watch()
    await writing


# Filters


async def _catalogue(index: Index) -> None:
    await put(
        index,
        document(
            "dress", ["stone"], metadata={"colour": ["red", "blue"], "price": 40, "sale": True}
        ),
        document("coat", ["stone"], metadata={"colour": ["blue"], "price": 120.5, "sale": False}),
        document("sock", ["stone"], metadata={"colour": "green", "sizes": [36, 42]}),
        document("gift card", ["stone"], metadata={"odd. name[0] \"'": "x"}),
    )


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (Filter(field="colour", any_of=["red"]), "dress"),
        (Filter(field="colour", any_of=["red", "green"]), "dress, sock"),
        (Filter(field="colour", any_of=[]), ""),
        (Filter(field="colour", none_of=["red"]), "coat, gift card, sock"),
        (Filter(field="colour", any_of=["blue"], none_of=["red"]), "coat"),
        (Filter(field="price", gte=40), "coat, dress"),
        (Filter(field="price", gte=40.5), "coat"),
        (Filter(field="price", lte=40), "dress"),
        (Filter(field="price", any_of=[120.5, 7]), "coat"),
        (Filter(field="sizes", gte=40), "sock"),
        (Filter(field="sizes", gte=37, lte=41), ""),
        (Filter(field="sale", any_of=[True]), "dress"),
        (Filter(field="sale", none_of=[True]), "coat, gift card, sock"),
        (Filter(field="odd. name[0] \"'", any_of=["x"]), "gift card"),
    ],
    ids=str,
)
async def test_filters(index: Index, condition: Filter, expected: str) -> None:
    await _catalogue(index)
    for mode in ("hybrid", "dense", "lexical"):
        result = await search(index, "stone", mode=mode, filters=[condition])  # type: ignore[arg-type]
        assert ", ".join(sorted(p.document_id for p in result.passages)) == expected


async def test_filters_are_combined(index: Index) -> None:
    await _catalogue(index)
    both = [Filter(field="colour", any_of=["blue"]), Filter(field="price", lte=100)]
    result = await search(index, "stone", filters=both)
    assert {p.document_id for p in result.passages} == {"dress"}


async def test_a_filter_on_an_unknown_field_names_the_nearest(index: Index) -> None:
    assert (await search(index, "stone", filters=[Filter(field="color", gte=1)])).passages == []
    await _catalogue(index)
    with pytest.raises(InvalidFilter, match=r"'color'.*'colour'") as caught:
        await search(index, "stone", filters=[Filter(field="color", any_of=["red"])])
    assert caught.value.field == "color"


@pytest.mark.parametrize(
    "condition",
    [Filter(field="colour", gte=1), Filter(field="price", any_of=["40"])],
    ids=["range on text", "text on numbers"],
)
async def test_a_filter_of_the_wrong_kind_is_refused(index: Index, condition: Filter) -> None:
    await _catalogue(index)
    with pytest.raises(InvalidFilter, match="cannot be compared"):
        await search(index, "stone", filters=[condition])
