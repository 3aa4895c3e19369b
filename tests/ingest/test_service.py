"""Documents go in once, change at once, come out for good, and one failure stays one failure."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ragstone.domain.collection import Collection
from ragstone.domain.document import DocumentSource
from ragstone.domain.errors import (
    EmbedderError,
    EmbedderMismatch,
    Forbidden,
    IndexUnavailable,
    InvalidRequest,
    PayloadTooLarge,
    RecordsUnavailable,
    UnknownDocument,
    UnknownJob,
)
from ragstone.domain.job import Job
from ragstone.domain.principal import Principal
from ragstone.ingest.intake import AHEAD_BYTES, MAX_READING_AHEAD
from tests.ingest.fakes import OPERATOR, World, other_identity, turns, until


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    await made.ingestion.start()
    yield made
    await made.ingestion.stop()


async def generation(world: World) -> int:
    collection = await world.records.collection("acme", "docs")
    assert collection is not None
    return collection.generation


def long_text(word: str, sentences: int = 30) -> str:
    return " ".join(f"{word} number {i} is a fine thing to have." for i in range(sentences))


class TestSubmitting:
    async def test_a_job_is_durable_before_it_runs(self, world: World) -> None:
        await world.ingestion.stop()
        job = await world.submit("a|zebra")
        assert job.state == "queued"
        assert await world.records.job("acme", job.id) == job
        assert world.ingestion.queue_depth == 1

    async def test_a_document_is_found_with_its_place_and_source(self, world: World) -> None:
        job = await world.ingest("a|zebra crossing", metadata={"year": 2024})
        assert (job.state, job.counts.added, job.counts.chunks) == ("done", 1, 1)
        (passage,) = await world.find("zebra")
        assert (passage.external_id, passage.title) == ("a", "Title of a")
        assert passage.metadata == {"year": 2024}
        document = await world.records.document("acme", world.id("a"))
        assert document is not None
        assert document.source_name == "file.txt"
        assert await world.records.document_text("acme", document.id) == "zebra crossing"

    async def test_title_is_searched_with_every_chunk(self, world: World) -> None:
        await world.ingest("guide|" + long_text("wool"))
        assert len(await world.find("guide")) > 5

    @pytest.mark.parametrize(
        "change",
        [
            {"name": ""},
            {"name": "a\x00b"},
            {"collection": "no/such"},
            {"collection": ""},
            {"access": ["everyone"]},
            {"access": ["group:"]},
            {"access": ["role:admin"]},
            {"metadata": {"price": float("nan")}},
        ],
    )
    async def test_what_could_not_be_kept_is_refused(
        self, world: World, change: dict[str, object]
    ) -> None:
        values: dict[str, object] = {"name": "a.txt", "content": b"a|b", "collection": "docs"}
        with pytest.raises(InvalidRequest):
            await world.ingestion.submit(OPERATOR, DocumentSource(**{**values, **change}))  # type: ignore[arg-type]
        assert await world.records.jobs("acme") == []

    async def test_a_large_source_is_refused(self, world: World) -> None:
        source = DocumentSource(name="a", content=b"x" * 50_000_001, collection="docs")
        with pytest.raises(PayloadTooLarge, match="max_file_bytes"):
            await world.ingestion.submit(OPERATOR, source)

    async def test_without_the_scope_nothing_changes(self, world: World) -> None:
        await world.ingest("a|zebra")
        asker = Principal(tenant="acme")
        with pytest.raises(Forbidden):
            await world.ingestion.submit(
                asker, DocumentSource(name="b", content=b"", collection="docs")
            )
        with pytest.raises(Forbidden):
            await world.ingestion.delete_document(asker, world.id("a"))
        assert await world.found("zebra") == ["a"]

    async def test_a_collection_of_another_embedder_is_refused(self, world: World) -> None:
        await world.records.ensure_collection("acme", "docs", other_identity())
        with pytest.raises(EmbedderMismatch):
            await world.submit("a|zebra")

    async def test_access_is_bound_to_the_tenant(self, world: World) -> None:
        await world.ingest("a|zebra", access=["group:staff"])
        assert await world.found("zebra") == []
        staff = frozenset({"staff"})
        assert await world.find("zebra", Principal(tenant="acme", groups=staff))
        assert not await world.find("zebra", Principal(tenant="other", groups=staff))


class TestReplacing:
    """Whoever may not read a document can neither replace it nor learn what it says."""

    BOARD = Principal(
        tenant="acme", groups=frozenset({"board"}), scopes=frozenset({"ask", "ingest"})
    )
    ADMIN = Principal(tenant="acme", scopes=frozenset({"admin"}))

    async def submit(self, world: World, principal: Principal, line: str, **source: object) -> Job:
        world.clock.advance(1)
        made = DocumentSource(name="f", content=line.encode(), collection="docs", **source)  # type: ignore[arg-type]
        return await world.ingestion.submit(principal, made)

    async def ingest(self, world: World, principal: Principal, line: str, **source: object) -> Job:
        job = await self.submit(world, principal, line, **source)
        return await world.ingestion.wait(principal, job.id)

    @pytest.mark.parametrize("line", ["a|zebra", "a|lion"], ids=["the same", "another"])
    async def test_a_document_that_the_submitter_may_not_read_stays(
        self, world: World, line: str
    ) -> None:
        await self.ingest(world, self.BOARD, "a|zebra", access=["group:board"])
        for access in (["*"], ["group:board"]):
            job = await self.ingest(world, OPERATOR, line, access=access)
            assert job.state == "done_with_errors"
            assert [error.code for error in job.errors] == ["forbidden"]
            assert (job.counts.failed, job.counts.unchanged, job.counts.changed) == (1, 0, 0)
            assert "board" not in str(job.errors)
        assert await world.texts() == {"a": "zebra"}
        assert await world.find("zebra lion") == []
        assert [p.external_id for p in await world.find("zebra", self.BOARD)] == ["a"]

    async def test_readers_and_administrators_may_replace_it(self, world: World) -> None:
        await self.ingest(world, self.BOARD, "a|zebra", access=["group:board"])
        for principal, word in ((self.BOARD, "lion"), (self.ADMIN, "wolf")):
            job = await self.ingest(world, principal, f"a|{word}", access=["group:board"])
            assert (job.state, job.counts.changed) == ("done", 1)
        assert await world.texts() == {"a": "wolf"}

    async def test_what_an_administrator_gave_a_client_cannot_add_to_the_right(
        self, world: World
    ) -> None:
        await self.ingest(world, self.ADMIN, "a|zebra", access=["group:board"])
        job = await self.ingest(world, OPERATOR, "a|lion", submitter=None)
        assert [error.code for error in job.errors] == ["forbidden"]

    async def test_a_document_on_its_way_is_guarded_too(self, world: World) -> None:
        world.embedder.held.clear()
        first = await self.submit(world, self.BOARD, "a|zebra", access=["group:board"])
        second = await self.submit(world, OPERATOR, "a|lion")
        await turns()
        world.embedder.held.set()
        assert (await world.ingestion.wait(self.BOARD, first.id)).state == "done"
        refused = await world.ingestion.wait(OPERATOR, second.id)
        assert [error.code for error in refused.errors] == ["forbidden"]
        assert await world.texts() == {"a": "zebra"}

    async def test_the_right_outlives_a_crash(self, world: World) -> None:
        await self.ingest(world, self.BOARD, "a|zebra", access=["group:board"])
        world.parser.gates["f"] = asyncio.Event()
        stranger = await self.submit(world, OPERATOR, "a|lion")
        reader = await self.submit(world, self.BOARD, "a|wolf", access=["group:board"])
        await turns()
        await world.crash()
        world.parser.gates.clear()
        await world.restart()
        refused = await world.ingestion.wait(OPERATOR, stranger.id)
        assert [error.code for error in refused.errors] == ["forbidden"]
        assert (await world.ingestion.wait(OPERATOR, reader.id)).counts.changed == 1

    async def test_a_job_that_runs_again_may_meet_what_it_has_published(self, world: World) -> None:
        lines = "\n".join(f"d{number}|zebra {number}" for number in range(300))
        job = await self.submit(world, OPERATOR, lines, access=["group:board"])
        await until(lambda: bool(world.index.replaced))
        await turns(3)
        await world.crash()
        assert 0 < len(await world.texts()) < 300
        await world.restart()
        done = await world.ingestion.wait(OPERATOR, job.id)
        assert (done.state, done.errors) == ("done", [])
        assert len(await world.texts()) == 300


class TestChanging:
    async def test_the_same_content_again_does_nothing(self, world: World) -> None:
        await world.ingest("a|zebra", "b|lion")
        generation = await world.records.collection("acme", "docs")
        calls = world.embedder.calls
        job = await world.ingest("a|zebra", "b|lion")
        assert (job.state, job.counts.unchanged, job.counts.chunks) == ("done", 2, 0)
        assert world.embedder.calls == calls
        assert await world.records.collection("acme", "docs") == generation

    @pytest.mark.parametrize(
        "source", [{"metadata": {"year": 1}}, {"access": ["*", "user:ann"]}], ids=str
    )
    async def test_other_metadata_or_access_is_a_change(
        self, world: World, source: dict[str, object]
    ) -> None:
        await world.ingest("a|zebra")
        changed = await world.ingest("a|zebra", **source)  # type: ignore[arg-type]
        assert changed.counts.changed == 1

    async def test_changed_content_replaces_every_old_chunk(self, world: World) -> None:
        await world.ingest("a|" + long_text("zebra"))
        first = await world.records.document("acme", world.id("a"))
        world.clock.advance(60)
        job = await world.ingest("a|lion")
        assert (job.counts.changed, job.counts.added) == (1, 0)
        assert await world.found("zebra") == []
        assert await world.found("lion") == ["a"]
        second = await world.records.document("acme", world.id("a"))
        assert first is not None
        assert second is not None
        assert second.version > first.version
        assert (second.created_at, second.chunk_count) == (first.created_at, 1)

    async def test_the_last_of_two_documents_of_one_name_stays(self, world: World) -> None:
        job = await world.ingest("a|zebra", "a|lion", "b|wolf", "a|tiger")
        assert job.state == "done"
        assert await world.texts() == {"a": "tiger", "b": "wolf"}
        assert await world.found("zebra lion tiger") == ["a"]

    async def test_going_back_to_the_stored_content_in_one_source_changes_nothing(
        self, world: World
    ) -> None:
        await world.ingest("a|zebra")
        await world.ingest("a|lion", "a|zebra")
        assert await world.texts() == {"a": "zebra"}
        assert await world.found("lion") == []

    async def test_the_later_submission_wins_however_slow_the_earlier_is(
        self, world: World
    ) -> None:
        gate = world.parser.gates["slow"] = asyncio.Event()
        slow = await world.submit("a|zebra", name="slow")
        fast = await world.submit("a|lion", name="fast")
        await turns()
        gate.set()
        await world.ingestion.wait(OPERATOR, slow.id)
        await world.ingestion.wait(OPERATOR, fast.id)
        assert await world.texts() == {"a": "lion"}
        assert await world.found("zebra") == []


class TestRunning:
    async def test_small_documents_of_several_jobs_are_embedded_together(
        self, world: World
    ) -> None:
        world.embedder.held.clear()
        jobs = [await world.submit(f"d{i}|zebra {i}", name=f"{i}") for i in range(20)]
        await turns()
        world.embedder.held.set()
        for job in jobs:
            assert (await world.ingestion.wait(OPERATOR, job.id)).state == "done"
        assert max(world.embedder.batches) == 8

    @pytest.mark.parametrize("size", [1, AHEAD_BYTES + 1])
    async def test_a_bulk_load_does_not_hold_up_another_collection(
        self, world: World, size: int
    ) -> None:
        gate = world.parser.gates["stuck"] = asyncio.Event()
        stuck = await world.submit("a|zebra", name="stuck")
        for i in range(MAX_READING_AHEAD * 2):
            await world.submit(f"b{i}|" + "x" * size, name=f"{i}")
        other = await world.ingestion.submit(
            Principal(tenant="other", scopes=frozenset({"ingest"})),
            DocumentSource(name="o", content=b"o|lion", collection="docs"),
        )
        done = await world.ingestion.wait(Principal(tenant="other"), other.id)
        assert done.state == "done"
        assert (await world.ingestion.job(OPERATOR, stuck.id)).state == "running"
        if size == 1:
            gate.set()
            await until(lambda: world.ingestion.queue_depth == 0)

    async def test_a_caller_who_leaves_leaves_no_job_that_nobody_runs(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        create_job, recorded = world.records.create_job, asyncio.Event()

        async def slowly(job: Job, source: DocumentSource) -> None:
            await create_job(job, source)
            recorded.set()
            await turns()

        monkeypatch.setattr(world.records, "create_job", slowly)
        submitting = asyncio.create_task(world.submit("a|zebra"))
        await recorded.wait()
        submitting.cancel()
        await until(lambda: bool(world.parser.read))
        await until(lambda: world.ingestion.queue_depth == 0)
        assert await world.found("zebra") == ["a"]

    async def test_a_long_document_appears_at_once(self, world: World) -> None:
        job = await world.ingest("a|" + long_text("zebra", 200))
        assert job.counts.chunks > 3 * 8
        assert world.index.replaced == [[world.id("a")]]

    async def test_progress_is_seen_while_a_job_runs(self, world: World) -> None:
        job = await world.submit(*(f"d{i}|{long_text('x', 6)}" for i in range(30)))
        seen = [seen async for seen in world.ingestion.watch(OPERATOR, job.id)]
        assert seen[-1].state == "done"
        assert {state.state for state in seen} >= {"running", "done"}
        counts = [state.counts.added for state in seen]
        assert counts == sorted(counts)
        assert len(set(counts)) > 2

    async def test_another_tenants_job_is_unknown(self, world: World) -> None:
        job = await world.ingest("a|zebra")
        with pytest.raises(UnknownJob):
            await world.ingestion.job(Principal(tenant="other"), job.id)
        with pytest.raises(UnknownJob):
            await world.ingestion.wait(OPERATOR, "job_none")

    async def test_what_happens_is_observed(self, world: World) -> None:
        await world.ingest("a|zebra", "b|lion", "!c|broken")
        await world.ingest("a|zebra", "b|wolf")
        await world.delete("a")
        assert world.observer.outcomes == {
            "added": 2, "failed": 1, "unchanged": 1, "changed": 1, "deleted": 1
        }  # fmt: skip
        assert world.observer.published == 3
        assert len(world.observer.delays) == 3

    async def test_a_collection_that_comes_to_rest_is_optimised_once(self, world: World) -> None:
        for i in range(5):
            await world.submit(f"d{i}|zebra", name=f"{i}")
        await until(lambda: bool(world.index.optimized))
        await turns()
        assert world.index.optimized == [("acme", "docs")]


class TestFailing:
    async def test_an_unreadable_document_is_reported_and_the_others_go_on(
        self, world: World
    ) -> None:
        job = await world.ingest("a|zebra", "!b|The document is empty.", "c|lion", "d| ")
        assert job.state == "done_with_errors"
        assert (job.counts.total, job.counts.added, job.counts.failed) == (4, 2, 2)
        assert [(error.external_id, error.code) for error in job.errors] == [
            ("b", "empty_document"),
            ("d", "empty_document"),
        ]

    async def test_a_source_that_cannot_be_read_fails_with_the_reason(self, world: World) -> None:
        job = await world.ingest("!!", name="bad.pdf")
        assert job.state == "failed"
        assert [(error.external_id, error.code) for error in job.errors] == [
            ("bad.pdf", "damaged_document")
        ]

    async def test_what_came_before_the_damage_is_kept(self, world: World) -> None:
        job = await world.ingest("a|zebra", "!!")
        assert job.state == "done_with_errors"
        assert await world.found("zebra") == ["a"]

    async def test_a_parser_with_a_bug_fails_only_its_job(self, world: World) -> None:
        world.parser.crash.add("bad")
        bad = await world.submit("a|zebra", name="bad")
        good = await world.ingest("b|lion", name="good")
        failed = await world.ingestion.wait(OPERATOR, bad.id)
        assert (failed.state, failed.errors[0].code) == ("failed", "internal_error")
        assert good.state == "done"

    async def test_errors_are_counted_beyond_those_kept(self, world: World) -> None:
        job = await world.ingest(*(f"!d{i}|broken" for i in range(1200)))
        assert (job.counts.failed, len(job.errors)) == (1200, 1000)

    async def test_an_embedder_that_heals_loses_nothing(self, world: World) -> None:
        world.embedder.failures = [EmbedderError("down"), EmbedderError("down")]
        job = await world.ingest("a|zebra")
        assert job.state == "done"
        assert world.slept[:2] == [1.0, 2.0]

    async def test_an_embedder_that_stays_down_fails_the_job_and_shows_nothing(
        self, world: World
    ) -> None:
        world.embedder.down = EmbedderError("The embedder is down.")
        job = await world.ingest("a|" + long_text("zebra", 200))
        assert (job.state, job.errors[0].code) == ("failed", "embedder_failed")
        assert "again" in job.errors[0].message
        assert await world.find("zebra") == []
        assert await world.texts() == {}
        world.embedder.down = None
        assert (await world.ingest("a|zebra")).state == "done"

    async def test_a_text_that_the_embedder_refuses_costs_its_document_only(
        self, world: World
    ) -> None:
        world.embedder.poison["cursed"] = ValueError("not a text")
        job = await world.ingest("a|zebra", "b|cursed words", "c|lion")
        assert job.state == "done_with_errors"
        assert [error.external_id for error in job.errors] == ["b"]
        assert set(await world.texts()) == {"a", "c"}

    async def test_an_index_that_stays_down_fails_the_job_and_the_old_stays(
        self, world: World
    ) -> None:
        await world.ingest("a|zebra")
        world.index.failures = [IndexUnavailable("The disk is full.")] * 3
        job = await world.ingest("a|lion", "b|wolf")
        assert (job.state, job.errors[0].code) == ("failed", "index_unavailable")
        assert await world.found("zebra") == ["a"]
        assert (await world.ingest("a|lion", "b|wolf")).counts.changed == 1

    async def test_what_cannot_be_recorded_is_not_findable(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def locked(*_: object) -> None:
            raise RecordsUnavailable("The database is locked.")

        with monkeypatch.context() as patch:
            patch.setattr(world.records, "put_documents", locked)
            job = await world.ingest("a|zebra")
        assert (job.state, job.errors[0].code) == ("failed", "records_unavailable")
        assert await world.find("zebra") == []

    async def test_a_change_that_cannot_be_recorded_is_published_again(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await world.ingest("a|zebra", "b|tiger")
        put, failures = world.records.put_documents, [RecordsUnavailable("locked")] * 3
        generations: list[int] = []

        async def locked(*arguments: Any) -> Collection:
            generations.append(await generation(world))
            if failures:
                raise failures.pop()
            return await put(*arguments)

        monkeypatch.setattr(world.records, "put_documents", locked)
        job = await world.ingest("a|lion", "b|tiger", "c|wolf")
        assert (job.state, job.counts.changed, job.counts.added) == ("done", 1, 1)
        # No answer of the old version outlives its chunks.
        assert generations[2] == generations[0] < generations[3] < await generation(world)
        assert await world.texts() == {"a": "lion", "b": "tiger", "c": "wolf"}
        assert await world.found("zebra lion wolf") == ["a", "c"]

    async def test_a_restart_publishes_again_what_was_not_recorded(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await world.ingest("a|zebra")

        async def locked(*_: object) -> None:
            raise RecordsUnavailable("locked")

        with monkeypatch.context() as patch:
            patch.setattr(world.records, "put_documents", locked)
            patch.setattr(world.records, "raise_generation", locked)
            job = await world.submit("a|lion")
            await until(lambda: len(world.index.replaced) == 2)
            patch.setattr(world.records, "unfinished_jobs", locked)
            await until(lambda: 1.0 in world.slept[-1:])
            assert (await world.ingestion.job(OPERATOR, job.id)).state == "running"
            await world.crash()
        await world.restart()
        assert (await world.ingestion.wait(OPERATOR, job.id)).counts.changed == 1
        assert await world.texts() == {"a": "lion"}

    async def test_what_can_never_be_recorded_is_given_up(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await world.ingest("a|zebra")

        async def locked(*_: object) -> None:
            raise RecordsUnavailable("locked")

        with monkeypatch.context() as patch:
            patch.setattr(world.records, "put_documents", locked)
            job = await world.ingest("a|lion")
        assert (job.state, job.errors[0].code) == ("failed", "crashed")
        assert (await world.ingest("a|lion")).counts.changed == 1
        assert (await world.ingest("b|lion")).state == "done"

    async def test_a_failed_job_does_not_stop_the_next(self, world: World) -> None:
        world.embedder.failures = [EmbedderError("down")] * 3
        first = await world.submit("a|zebra", name="first")
        await world.ingestion.wait(OPERATOR, first.id)
        assert (await world.ingest("b|lion", name="second")).state == "done"
        assert sum(world.parser.reading.values()) == 0


class TestDeleting:
    async def test_a_deleted_document_cannot_be_found_when_it_returns(self, world: World) -> None:
        await world.ingest("a|zebra", "b|zebra")
        deleted = await world.delete("a")
        assert deleted.external_id == "a"
        assert await world.found("zebra") == ["b"]
        assert await world.records.tombstones() == []
        with pytest.raises(UnknownDocument):
            await world.delete("a")

    async def test_what_one_may_not_read_one_cannot_delete(self, world: World) -> None:
        await world.ingest("a|zebra", access=["group:board"])
        with pytest.raises(UnknownDocument):
            await world.delete("a")
        with pytest.raises(UnknownDocument):
            await world.ingestion.delete_document(
                Principal(tenant="other", scopes=frozenset({"admin"})), world.id("a")
            )
        admin = Principal(tenant="acme", scopes=frozenset({"admin"}))
        assert await world.ingestion.delete_document(admin, world.id("a"))

    async def test_an_earlier_job_does_not_bring_it_back(self, world: World) -> None:
        await world.ingest("a|zebra")
        world.embedder.held.clear()
        job = await world.submit("a|lion", "b|wolf")
        await turns()
        await world.delete("a")
        world.embedder.held.set()
        done = await world.ingestion.wait(OPERATOR, job.id)
        assert done.state == "done"
        assert set(await world.texts()) == {"b"}
        assert await world.found("zebra lion wolf") == ["b"]
        await until(lambda: not world.records._tombstones)

    async def test_a_later_job_does(self, world: World) -> None:
        await world.ingest("a|zebra")
        gate = world.parser.gates["earlier"] = asyncio.Event()
        await world.submit("a|lion", name="earlier")
        await world.delete("a")
        later = await world.submit("a|wolf", name="later")
        gate.set()
        await world.ingestion.wait(OPERATOR, later.id)
        assert await world.texts() == {"a": "wolf"}
        assert await world.found("zebra lion wolf") == ["a"]

    async def test_an_earlier_job_does_not_bring_it_back_after_a_crash(self, world: World) -> None:
        await world.ingest("a|zebra")
        world.parser.gates["earlier"] = asyncio.Event()
        job = await world.submit("a|lion", "b|wolf", name="earlier")
        await turns()
        await world.delete("a")
        await world.crash()
        world.parser.gates.clear()
        await world.restart()
        await world.ingestion.wait(OPERATOR, job.id)
        assert set(await world.texts()) == {"b"}
        assert await world.found("zebra lion") == []

    async def test_a_deleted_collection_made_again_holds_nothing_of_before(
        self, world: World
    ) -> None:
        await world.ingest("a|zebra")
        world.embedder.held.clear()
        running = await world.submit("b|zebra", name="running")
        await turns()
        world.parser.gates["waiting"] = asyncio.Event()
        waiting = await world.submit("c|zebra", name="waiting")
        await world.ingestion.delete_collection(OPERATOR, "docs")
        assert await world.find("zebra") == []
        again = await world.submit("d|zebra", name="again")
        world.embedder.held.set()
        world.parser.gates["waiting"].set()
        states = [
            (await world.ingestion.wait(OPERATOR, job.id)).state
            for job in (running, waiting, again)
        ]
        assert states == ["failed", "failed", "done"]
        assert await world.found("zebra") == ["d"]
        assert set(await world.texts()) == {"d"}

    async def test_a_collection_that_the_index_kept_is_dropped_later(self, world: World) -> None:
        await world.ingest("a|zebra", "b|zebra")
        world.index.failures = [IndexUnavailable("down")] * 3
        with pytest.raises(IndexUnavailable):
            await world.ingestion.delete_collection(OPERATOR, "docs")
        assert len(await world.records.tombstones()) == 2
        await until(lambda: not world.records._tombstones)
        assert world.index.failures == []
        assert await world.find("zebra") == []
        await world.ingest("c|zebra")
        assert await world.found("zebra") == ["c"]

    async def test_a_collection_is_not_made_again_over_what_the_index_kept(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await world.ingest("a|zebra")
        retry, asleep = asyncio.Event(), world.sleep

        async def sleep(seconds: float) -> None:
            await (retry.wait() if seconds == 10.0 else asleep(seconds))

        monkeypatch.setattr(world, "sleep", sleep)
        await world.crash()
        await world.restart()
        world.index.failures = [IndexUnavailable("down")] * 3
        with pytest.raises(IndexUnavailable):
            await world.ingestion.delete_collection(OPERATOR, "docs")
        with pytest.raises(IndexUnavailable):  # not unknown: its deletion is not done
            await world.ingestion.delete_collection(OPERATOR, "docs")
        with pytest.raises(IndexUnavailable):
            await world.submit("b|zebra")
        assert await world.records.collections("acme") == []
        assert (await world.ingest("b|zebra")).state == "done"
        assert await world.found("zebra") == ["b"]
        retry.set()
        await until(lambda: not world.records._tombstones)
        assert await world.found("zebra") == ["b"]

    async def test_a_submission_during_a_deletion_waits_for_its_end(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await world.ingest("a|zebra")
        drop, dropping, go_on = world.index.drop, asyncio.Event(), asyncio.Event()

        async def slowly(tenant: str, collection: str) -> None:
            dropping.set()
            await go_on.wait()
            await drop(tenant, collection)

        monkeypatch.setattr(world.index, "drop", slowly)
        deleting = asyncio.create_task(world.ingestion.delete_collection(OPERATOR, "docs"))
        await dropping.wait()
        submitting = asyncio.create_task(world.submit("b|zebra"))
        await turns()
        assert not submitting.done()
        assert await world.records.collections("acme") == []
        go_on.set()
        await deleting
        job = await world.ingestion.wait(OPERATOR, (await submitting).id)
        assert job.state == "done"
        assert await world.found("zebra") == ["b"]

    async def test_a_collection_at_rest_leaves_no_lock_behind(self, world: World) -> None:
        for number in range(5):
            source = DocumentSource(name="a", content=b"a|zebra", collection=f"c{number}")
            job = await world.ingestion.submit(OPERATOR, source)
            await world.ingestion.wait(OPERATOR, job.id)
            await world.ingestion.delete_collection(OPERATOR, f"c{number}")
        gc.collect()
        assert not world.ingestion._publisher._locks
        assert not world.ingestion._upkeep._doors

    async def test_an_unreachable_index_is_told_later(self, world: World) -> None:
        await world.ingest("a|zebra")
        world.index.failures = [IndexUnavailable("down")]
        with pytest.raises(IndexUnavailable):
            await world.delete("a")
        await until(lambda: not world.records._tombstones)
        assert await world.find("zebra") == []

    async def test_a_restart_finishes_a_deletion(self, world: World) -> None:
        await world.ingest("a|zebra")
        await world.records.delete_document("acme", world.id("a"))
        await world.crash()
        await world.restart()
        assert await world.find("zebra") == []
        assert await world.records.tombstones() == []

    @pytest.mark.parametrize("slow", ["forget_tombstone", "update_job"])
    async def test_a_stop_right_after_the_last_job_leaves_no_deletion_to_do(
        self, world: World, slow: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The records have written; whoever wrote has not heard of it when the stop comes."""
        await world.ingest("a|zebra")
        written = getattr(world.records, slow)

        async def hears_late(*args: object, **more: object) -> None:
            await written(*args, **more)
            await turns(100)

        async def ended() -> bool:
            return not await world.records.unfinished_jobs()

        job = await world.submit("b|zebra")
        await world.delete("a")
        assert len(await world.records.tombstones()) == 1  # a job from before could undo it
        monkeypatch.setattr(world.records, slow, hears_late)
        await until(ended)
        await world.ingestion.stop()
        assert await world.records.tombstones() == []
        assert (await world.ingestion.job(OPERATOR, job.id)).state == "done"
        assert world.ingestion.queue_depth == 0


class TestRestarting:
    async def test_unfinished_jobs_are_taken_up_in_order(self, world: World) -> None:
        world.embedder.held.clear()
        for number in range(5):
            await world.submit(f"a|version {number}", name=f"{number}")
        await turns()
        await world.crash()
        world.embedder.held.set()
        await world.restart()
        await until(lambda: world.ingestion.queue_depth == 0)
        assert await world.texts() == {"a": "version 4"}
        assert world.parser.read[-5:] == ["0", "1", "2", "3", "4"]

    async def test_a_job_that_was_stopped_is_not_an_attempt(self, world: World) -> None:
        world.embedder.held.clear()
        job = await world.submit("a|zebra")
        for _ in range(5):
            await turns()
            await world.ingestion.stop()
            stopped = await world.records.job("acme", job.id)
            assert stopped is not None
            assert (stopped.state, stopped.attempts) == ("queued", 0)
            await world.ingestion.start()
        world.embedder.held.set()
        assert (await world.ingestion.wait(OPERATOR, job.id)).state == "done"

    async def test_a_job_that_crashes_the_process_three_times_fails_and_others_live(
        self, world: World
    ) -> None:
        world.parser.gates["bomb"] = asyncio.Event()
        bomb = await world.submit("a|zebra", name="bomb")
        innocent = await world.submit("b|lion", name="innocent")
        for _ in range(3):
            await turns()
            assert (await world.ingestion.job(OPERATOR, bomb.id)).state == "running"
            await world.crash()
            await world.restart()
        failed = await world.ingestion.wait(OPERATOR, bomb.id)
        assert (failed.state, failed.errors[0].code) == ("failed", "crashed")
        assert (await world.ingestion.wait(OPERATOR, innocent.id)).state == "done"
        assert await world.found("lion zebra") == ["b"]

    async def test_a_job_that_comes_further_each_time_survives_any_number_of_crashes(
        self, world: World
    ) -> None:
        words = [f"number{number}" for number in range(200)]
        job = await world.submit(*(f"{word}|{word}" for word in words))
        for crashes in range(1, 8):
            await until(lambda least=crashes: len(world.index.replaced) >= least)  # type: ignore[misc]
            await turns(5)
            assert (await world.ingestion.job(OPERATOR, job.id)).state == "running"
            await world.crash()
            kept = await world.records.job("acme", job.id)
            assert kept is not None
            assert kept.attempts <= 2
            await world.restart()
        done = await world.ingestion.wait(OPERATOR, job.id)
        assert (done.state, done.counts.total, done.counts.failed) == ("done", 200, 0)
        assert set(await world.texts()) == set(words)

    async def test_a_job_that_crashes_at_the_same_place_is_found_out(self, world: World) -> None:
        # Each name twice: published anew in each attempt, which is no progress.
        lines = [f"d{n}|{word} {n}" for word in ("lion", "zebra") for n in range(20)]
        job = await world.submit(*lines, "bomb|bomb")
        crashes = 0
        while (await world.ingestion.job(OPERATOR, job.id)).state != "failed":
            before = len(world.index.replaced)
            world.embedder.bomb = asyncio.Event()
            await world.embedder.bomb.wait()
            await turns(20)
            assert len(world.index.replaced) > before
            await world.crash()
            await world.restart()
            await turns(1)
            crashes += 1
            assert crashes < 10
        failed = await world.ingestion.job(OPERATOR, job.id)
        assert failed.errors[0].code == "crashed"

    async def test_another_embedder_after_a_restart_fails_the_waiting_job(
        self, world: World
    ) -> None:
        await world.ingestion.stop()
        job = await world.submit("a|zebra")
        world.embedder._identity = other_identity()
        await world.restart()
        failed = await world.ingestion.wait(OPERATOR, job.id)
        assert (failed.state, failed.errors[0].code) == ("failed", "embedder_mismatch")

    async def test_a_deleted_collection_does_not_come_back(self, world: World) -> None:
        gate = world.parser.gates["file.txt"] = asyncio.Event()
        job = await world.submit("a|zebra")
        await turns()
        await world.records.delete_collection("acme", "docs")
        gate.set()
        assert (await world.ingestion.wait(OPERATOR, job.id)).state == "failed"
        assert await world.records.collections("acme") == []

    async def test_nothing_runs_after_stop(self, world: World) -> None:
        world.embedder.held.clear()
        await world.submit(*(f"d{i}|{long_text('x', 6)}" for i in range(30)))
        await turns()
        await world.ingestion.stop()
        running = [task.get_name() for task in asyncio.all_tasks()]
        assert [name for name in running if name.startswith("ingest")] == []
