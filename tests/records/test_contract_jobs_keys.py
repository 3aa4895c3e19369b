"""What every implementation of `Records` does alike: jobs and keys."""

import msgspec
import pytest

from ragstone.domain.errors import Conflict, UnknownJob
from ragstone.domain.job import DocumentError, JobCounts, JobState
from ragstone.ports import Records
from tests.clock import VirtualClock
from tests.records.samples import NO_COUNTS, a_job, a_key, a_source

REFUSED = DocumentError(external_id="a.pdf", code="encrypted_document", message="It is locked.")


async def test_a_job_and_its_source_come_back_as_they_were_created(records: Records) -> None:
    job, source = a_job(), a_source(content=bytes(range(256)) * 1000)
    await records.create_job(job, source)
    assert await records.job("acme", job.id) == job
    assert await records.job_source(job.id) == source
    assert await records.job("evil", job.id) is None
    assert await records.job("acme", "none") is None
    assert await records.job_source("none") is None


@pytest.mark.parametrize("submitter", [None, [], ["4:acme:*"]], ids=["admin", "nobody", "user"])
async def test_a_source_keeps_whose_it_is(records: Records, submitter: list[str] | None) -> None:
    source = msgspec.structs.replace(a_source(), submitter=submitter)
    await records.create_job(a_job(), source)
    assert await records.job_source("job_1") == source


async def test_an_empty_source_is_a_source(records: Records) -> None:
    await records.create_job(a_job(), a_source(content=b""))
    assert await records.job_source("job_1") == a_source(content=b"")


async def test_a_job_id_is_given_once(records: Records) -> None:
    await records.create_job(a_job(), a_source())
    with pytest.raises(Conflict):
        await records.create_job(a_job(tenant="other"), a_source())
    assert await records.job("other", "job_1") is None


async def test_progress_is_kept_with_the_time_of_the_clock(
    records: Records, clock: VirtualClock
) -> None:
    await records.create_job(a_job(), a_source())
    clock.advance(5)
    counts = JobCounts(total=9, added=3, changed=2, unchanged=1, failed=1, chunks=40)
    await records.update_job("job_1", state="running", counts=counts, errors=[REFUSED], attempts=2)
    assert await records.job("acme", "job_1") == msgspec.structs.replace(
        a_job(),
        state="running",
        counts=counts,
        errors=[REFUSED],
        attempts=2,
        updated_at=clock.time(),
    )
    assert await records.job_source("job_1") is not None


@pytest.mark.parametrize("state", ["done", "done_with_errors", "failed"])
async def test_a_job_that_has_ended_drops_its_source_and_stays_ended(
    records: Records, state: JobState
) -> None:
    await records.create_job(a_job(), a_source())
    await records.update_job("job_1", state=state, counts=NO_COUNTS, errors=[REFUSED], attempts=1)
    assert await records.job_source("job_1") is None
    ended = await records.job("acme", "job_1")
    await records.update_job("job_1", state="running", counts=NO_COUNTS, errors=[], attempts=2)
    assert await records.job("acme", "job_1") == ended
    assert ended is not None
    assert ended.state == state
    assert await records.unfinished_jobs() == []


async def test_an_unknown_job_cannot_be_updated(records: Records) -> None:
    with pytest.raises(UnknownJob):
        await records.update_job("none", state="running", counts=NO_COUNTS, errors=[], attempts=1)


async def test_names_and_reasons_that_are_not_unicode_can_be_reported(records: Records) -> None:
    await records.create_job(a_job(), a_source())
    error = DocumentError(external_id="\udcff.txt", code="x", message="nul \x00")
    await records.update_job("job_1", state="failed", counts=NO_COUNTS, errors=[error], attempts=1)
    job = await records.job("acme", "job_1")
    assert job is not None
    assert job.errors == [DocumentError(external_id="\ufffd.txt", code="x", message="nul \ufffd")]


async def test_the_newest_jobs_of_a_tenant_come_first(records: Records) -> None:
    for n in range(5):
        await records.create_job(a_job(f"job_{n}", created=float(n)), a_source())
    await records.create_job(a_job("theirs", tenant="other", created=9.0), a_source())
    assert [job.id for job in await records.jobs("acme", limit=3)] == ["job_4", "job_3", "job_2"]
    assert len(await records.jobs("acme")) == 5
    assert await records.jobs("acme", limit=0) == []


async def test_a_restart_takes_up_the_oldest_job_of_all_tenants_first(records: Records) -> None:
    await records.create_job(a_job("late", created=3.0), a_source())
    await records.create_job(a_job("early", tenant="other", created=1.0), a_source())
    await records.create_job(a_job("middle", created=2.0), a_source())
    await records.create_job(a_job("ended", created=0.0), a_source())
    await records.update_job("ended", state="done", counts=NO_COUNTS, errors=[], attempts=1)
    await records.update_job("middle", state="running", counts=NO_COUNTS, errors=[], attempts=1)
    assert [job.id for job in await records.unfinished_jobs()] == ["early", "middle", "late"]


async def test_a_key_is_found_by_its_hash_until_it_is_revoked(
    records: Records, clock: VirtualClock
) -> None:
    key = a_key()
    assert await records.key_by_hash(key.sha256) is None
    await records.create_key(key)
    assert await records.key_by_hash(key.sha256) == key
    assert await records.revoke_key(key.id)
    assert await records.key_by_hash(key.sha256) is None
    assert await records.keys() == [msgspec.structs.replace(key, revoked_at=clock.time())]
    assert not await records.revoke_key(key.id)
    assert not await records.revoke_key("none")


async def test_keys_are_listed_by_age(records: Records) -> None:
    young = msgspec.structs.replace(a_key("young", "1" * 64), created_at=9.0, user=None)
    old = a_key("old", "2" * 64)
    await records.create_key(young)
    await records.create_key(old)
    assert await records.keys() == [old, young]


async def test_keys_are_listed_in_pages_of_one_tenant_or_of_all(records: Records) -> None:
    for number, tenant in enumerate(["acme", "other", "acme", "acme", "other"]):
        key = a_key(f"key_{4 - number}", f"{number}" * 64)  # the ids of the same age fall
        await records.create_key(
            msgspec.structs.replace(key, tenant=tenant, created_at=float(number // 3))
        )
    assert await records.revoke_key("key_2")
    everybody = await records.keys()
    assert [key.id for key in everybody] == ["key_2", "key_3", "key_4", "key_0", "key_1"]
    of_acme = [key for key in everybody if key.tenant == "acme"]
    assert await records.keys("acme") == of_acme
    assert await records.keys("nobody") == []
    for tenant, whole in ((None, everybody), ("acme", of_acme)):
        assert await records.keys(tenant, limit=2) == whole[:2]
        for number, key in enumerate(whole, start=1):
            assert await records.keys(tenant, limit=2, after=key.place) == whole[number:][:2]


async def test_a_key_is_created_once(records: Records) -> None:
    await records.create_key(a_key("one", "1" * 64))
    with pytest.raises(Conflict):
        await records.create_key(a_key("one", "2" * 64))
    with pytest.raises(Conflict):
        await records.create_key(a_key("two", "1" * 64))
    assert len(await records.keys()) == 1
