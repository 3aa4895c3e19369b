"""What a killed process left in its journal is charged once, and the rest is free again."""

import asyncio
import errno
import os
import shutil
from pathlib import Path

import pytest

from ragstone.governance.ledger import LeasedLedger, Upkeep, recovery
from ragstone.governance.ledger.journal import Joined, begin_journal
from ragstone.governance.ledger.recovery import recover_journals
from ragstone.governance.ledger.usage_rows import UNFINISHED
from tests.governance.test_leased_ledger import ANNA, BERT, Site, budget, dollars, row
from tests.virtual_loop import run


async def kill(ledger: LeasedLedger, upkeep: Upkeep) -> None:
    """As if the process ended here: its locks are gone, and nothing more is said."""
    await upkeep.close()
    await ledger.leasing.close()
    for book in ledger.books:
        book.leave()


def test_settled_once_open_in_full_and_the_rest_free(tmp_path: Path) -> None:
    async def scenario() -> None:
        site = Site(journals=tmp_path)
        await site.store.put_budget(budget(10_000))
        ledger = site.ledger()
        reported = await ledger.reserve(ANNA, dollars(100))
        ledger.settle(reported, dollars(11), [row(ANNA, 11)])
        await asyncio.sleep(1.5)
        assert await site.store.settled() == 11
        unreported = await ledger.reserve(ANNA, dollars(100))
        ledger.settle(unreported, dollars(22), [row(ANNA, 22)])
        shared = await ledger.reserve(ANNA, dollars(101))
        await ledger.join(shared, BERT)
        await kill(ledger, site.upkeeps[0])
        assert await recover_journals(tmp_path, site.store, seconds=30) == 1
        assert await recover_journals(tmp_path, site.store, seconds=30) == 0
        assert await site.store.settled() == 11 + 22 + 101
        assert await site.store.outstanding() == 0
        totals = await site.store.usage("acme", by="model", since=0, until=site.clock.time() + 1)
        assert {total.by: total.nanodollars for total in totals} == {"m": 33, UNFINISHED: 101}
        users = await site.store.usage("acme", by="user", since=0, until=site.clock.time() + 1)
        assert {total.by: total.nanodollars for total in users} == {"anna": 33 + 51, "bert": 50}

    run(scenario())


def test_what_is_shared_under_a_lowered_limit_is_charged_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        site = Site(journals=tmp_path)
        await site.store.put_budget(budget(10_000))
        ledger = site.ledger()
        shared = await ledger.reserve(ANNA, dollars(100))
        await site.lower(ledger, budget(850))
        assert await ledger.join(shared, BERT)
        await kill(ledger, site.upkeeps[0])
        assert await recover_journals(tmp_path, site.store, seconds=30) == 1
        assert (await site.store.settled(), await site.store.outstanding()) == (100, 0)

    run(scenario())


def test_a_report_that_arrived_without_an_answer_counts_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        site = Site(journals=tmp_path)
        await site.store.put_budget(budget(10_000))
        ledger = site.ledger()
        ledger.settle(await ledger.reserve(ANNA, dollars(100)), dollars(40), [row(ANNA, 40)])
        site.store.loses_answers = True
        await asyncio.sleep(2.5)
        assert await site.store.settled() == 40  # it has arrived
        ledger.settle(await ledger.reserve(ANNA, dollars(60)), dollars(5), [row(ANNA, 5)])
        await kill(ledger, site.upkeeps[0])
        site.store.loses_answers = False
        assert await recover_journals(tmp_path, site.store, seconds=30) == 1
        assert (await site.store.settled(), await site.store.outstanding()) == (45, 0)
        [total] = await site.store.usage("acme", by="tenant", since=0, until=site.clock.time() + 1)
        assert (total.nanodollars, total.questions) == (45, 2)

    run(scenario())


def test_a_report_that_never_arrived_is_given_by_the_recovery(tmp_path: Path) -> None:
    async def scenario() -> None:
        site = Site(journals=tmp_path)
        await site.store.put_budget(budget(10_000))
        ledger = site.ledger()
        ledger.settle(await ledger.reserve(ANNA, dollars(100)), dollars(40), [row(ANNA, 40)])
        site.store.away = True
        await asyncio.sleep(2.5)
        ledger.settle(await ledger.reserve(ANNA, dollars(60)), dollars(5), [row(ANNA, 5)])
        await asyncio.sleep(2.5)
        await kill(ledger, site.upkeeps[0])
        site.store.away = False
        assert await recover_journals(tmp_path, site.store, seconds=30) == 1
        assert (await site.store.settled(), await site.store.outstanding()) == (45, 0)
        [total] = await site.store.usage("acme", by="tenant", since=0, until=site.clock.time() + 1)
        assert (total.nanodollars, total.questions) == (45, 2)

    run(scenario())


def test_a_recovery_that_is_broken_off_is_taken_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        site = Site(journals=tmp_path)
        await site.store.put_budget(budget(10_000))
        ledger = site.ledger()
        ledger.settle(await ledger.reserve(ANNA, dollars(100)), dollars(40), [row(ANNA, 40)])
        await kill(ledger, site.upkeeps[0])
        recovering = asyncio.create_task(recover_journals(tmp_path, site.store, seconds=30))
        await asyncio.sleep(0.0015)  # reported, and the answer is on its way
        recovering.cancel()
        await asyncio.gather(recovering, return_exceptions=True)
        assert await recover_journals(tmp_path, site.store, seconds=30) == 1
        assert (await site.store.settled(), await site.store.outstanding()) == (40, 0)

    run(scenario())


def test_of_another_boot_the_end_may_be_missing_so_the_lease_charges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        site = Site(journals=tmp_path)
        await site.store.put_budget(budget(800))
        ledger = site.ledger()
        ledger.settle(await ledger.reserve(ANNA, dollars(100)), dollars(40), [row(ANNA, 40)])
        await kill(ledger, site.upkeeps[0])
        leased = await site.store.settled() + await site.store.outstanding()
        monkeypatch.setattr(recovery, "boot_id", lambda: "another")
        assert await recover_journals(tmp_path, site.store, seconds=30) == 1
        assert await site.store.settled() == 40
        await asyncio.sleep(31)
        await site.store.expire()
        assert (await site.store.settled(), await site.store.outstanding()) == (leased, 0)

    run(scenario())


def test_a_copied_journal_says_nothing_of_a_process_that_may_live(tmp_path: Path) -> None:
    """As when a data folder is copied from under a running server, and served as well."""

    async def scenario() -> None:
        site = Site(journals=tmp_path / "own")
        await site.store.put_budget(budget(10_000))
        ledger = site.ledger()
        running = await ledger.reserve(ANNA, dollars(100))
        copy = shutil.copytree(tmp_path / "own", tmp_path / "copy")
        await recover_journals(copy, site.store, seconds=30)
        assert not list(copy.iterdir())
        assert await site.store.settled() == 0
        ledger.settle(running, dollars(70), [row(ANNA, 70)])
        await asyncio.sleep(1.5)
        assert await site.store.settled() == 70
        assert await site.store.outstanding() > 0
        await site.end(ledger)
        assert (await site.store.settled(), await site.store.outstanding()) == (70, 0)

    run(scenario())


@pytest.mark.parametrize("call", ["write", "rename"])
def test_a_journal_that_cannot_be_begun_is_gone_and_spending_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    async def scenario() -> None:
        def fails(*given: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        site = Site(journals=tmp_path)
        await site.store.put_budget(budget(800))
        with monkeypatch.context() as full:
            full.setattr(os if call == "write" else Path, call, fails)
            ledger = site.ledger()
        assert not list(tmp_path.iterdir())
        ledger.settle(await ledger.reserve(ANNA, dollars(100)), dollars(40), [row(ANNA, 40)])
        await site.end(ledger)
        assert (await site.store.settled(), await site.store.outstanding()) == (40, 0)

    run(scenario())


def test_a_journal_of_the_living_is_left_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        site = Site(journals=tmp_path)
        ledger = site.ledger()
        await ledger.reserve(ANNA, dollars(100))
        assert await recover_journals(tmp_path, site.store, seconds=30) == 0
        await site.end(ledger)
        assert not list(tmp_path.iterdir())

    run(scenario())


def test_a_journal_that_makes_no_sense_does_not_keep_the_others_waiting(tmp_path: Path) -> None:
    async def scenario() -> None:
        site = Site(journals=tmp_path)
        await site.store.put_budget(budget(10_000))
        broken = begin_journal(tmp_path, "0")  # recovered first
        assert broken is not None
        broken.write(Joined(7, ANNA, [1]))
        broken.close()
        ledger = site.ledger()
        ledger.settle(await ledger.reserve(ANNA, dollars(100)), dollars(40), [row(ANNA, 40)])
        await kill(ledger, site.upkeeps[0])
        assert await recover_journals(tmp_path, site.store, seconds=30) == 1
        assert (await site.store.settled(), await site.store.outstanding()) == (40, 0)
        assert [path.name for path in tmp_path.iterdir()] == ["0.damaged"]

    run(scenario())


def test_a_journal_that_ended_early_frees_nothing_also_where_it_cannot_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError("no")

    async def scenario() -> None:
        site = Site(journals=tmp_path)
        await site.store.put_budget(budget(10_000))
        ledger = site.ledger()
        await ledger.reserve(ANNA, dollars(100))
        with monkeypatch.context() as broken:
            broken.setattr(os, "write", fails)
            broken.setattr(Path, "unlink", fails)
            ledger.settle(await ledger.reserve(ANNA, dollars(60)), dollars(50), [row(ANNA, 50)])
        out = await site.store.outstanding()
        await recover_journals(tmp_path, site.store, seconds=30)
        assert await site.store.outstanding() == out
        await kill(ledger, site.upkeeps[0])

    run(scenario())
