"""Real processes spend from one budget, and are killed at random instructions."""

import asyncio
import random
import sys
from collections.abc import Callable
from pathlib import Path

from ragstone.domain.budget import Spent
from ragstone.domain.clock import SystemClock
from ragstone.governance.ledger import LeasedLedger, LedgerSettings
from ragstone.governance.ledger.recovery import recover_journals
from ragstone.records.engine import sqlite_url
from ragstone.records.sql_records import SqlRecords
from tests.clock import VirtualClock
from tests.governance.spending_process import CAP, PROCESSES, UPPER
from tests.governance.test_leased_ledger import ANNA, budget, dollars, row

_KILLS = 8


async def test_killed_at_random_they_never_overspend_and_use_nearly_all(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    records = SqlRecords.open(sqlite_url(tmp_path / "records.sqlite3"), SystemClock())
    try:
        await records.budgets.put_budget(budget(CAP, period="month"))
        await records.budgets.put_budget(
            budget(CAP, id="b2", scope="user", name="*", period="month")
        )
        killed = await _race(tmp_path, random.Random(20_261_122))
        recovered = await recover_journals(tmp_path / "ledger", records.budgets, seconds=30)
        spent = await records.budgets.spent("acme")
        rows = await records.budgets.usage("acme", by="tenant", since=0, until=2e10)
    finally:
        await records.close()
    cost = sum(
        int.from_bytes(content[at : at + 8], "little")
        for content in (path.read_bytes() for path in tmp_path.glob("costs.*"))
        for at in range(0, len(content), 8)
    )
    [whole] = [line for line in spent if line.budget.id == "b1"]
    figures = {"cap": CAP, "spent": cost, "charged": whole.settled, "killed": killed}
    record_property("figures", f"{figures}, recovered at the end: {recovered}")
    print(figures)
    assert killed >= _KILLS // 2
    assert cost <= whole.settled <= CAP
    assert whole.settled >= 0.97 * CAP
    assert whole.outstanding == 0
    assert _of_users(spent) == whole.settled  # each user's account says the same
    # What no process had the time to write was at most what it had reserved.
    assert whole.settled - cost <= killed * 16 * UPPER
    assert sum(total.nanodollars for total in rows) <= whole.settled


async def test_a_second_engine_on_the_database_with_another_clock_frees_and_doubles_nothing(
    tmp_path: Path,
) -> None:
    """Its clock is an hour ahead: to it every lease has run out."""
    url, clock = sqlite_url(tmp_path / "records.sqlite3"), VirtualClock()
    first = SqlRecords.open(url, clock)
    second = SqlRecords.open(url, VirtualClock(time=clock.time() + 3_600))
    try:
        await first.budgets.put_budget(budget(1_000))
        ledger = LeasedLedger(first.budgets, clock, LedgerSettings(journals=tmp_path / "ledger"))
        truth = 0
        for cost in (70, 100, 0, 30, 55):
            reservation = await ledger.reserve(ANNA, dollars(100))
            await second.budgets.expire()
            ledger.settle(reservation, dollars(cost), [row(ANNA, cost)])
            truth += cost
            for book in ledger.books:
                await ledger.books.report(book)
            await second.budgets.expire()
            [line] = await first.budgets.spent("acme")
            assert truth <= line.settled + line.outstanding <= 1_000
        await ledger.close()
        [line] = await first.budgets.spent("acme")
        assert (line.settled, line.outstanding) == (truth, 0)
    finally:
        await first.close()
        await second.close()


def _of_users(spent: list[Spent]) -> int:
    return sum(line.settled for line in spent if line.budget.id == "b2")


async def _race(folder: Path, draws: random.Random) -> int:
    """Until nothing is left; returns how many processes were killed while they spent."""
    running = [await _start(folder, number, draws) for number in range(PROCESSES)]
    killed = 0
    while killed < _KILLS:
        number = await _one_that_spends(folder, running, draws)
        if number is None:
            break
        await asyncio.sleep(0.1 * draws.random())
        running[number].kill()
        await running[number].wait()
        killed += 1
        running[number] = await _start(folder, number, draws)
    await asyncio.gather(*(process.wait() for process in running))
    return killed


async def _one_that_spends(
    folder: Path, running: list[asyncio.subprocess.Process], draws: random.Random
) -> int | None:
    """Not one that only begins: meanwhile the others would spend the rest. None: all have ended."""
    before = [_asked(folder, number) for number in range(PROCESSES)]
    while any(process.returncode is None for process in running):
        spending = [
            number
            for number in range(PROCESSES)
            if running[number].returncode is None and _asked(folder, number) > before[number]
        ]
        if spending:
            return draws.choice(spending)
        await asyncio.sleep(0.005)
    return None


def _asked(folder: Path, number: int) -> int:
    costs = folder / f"costs.{number}"
    return costs.stat().st_size if costs.exists() else 0


async def _start(folder: Path, number: int, draws: random.Random) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.governance.spending_process"),
        *(str(folder), str(number), str(draws.randrange(1 << 30))),
        stdin=asyncio.subprocess.DEVNULL,
    )
