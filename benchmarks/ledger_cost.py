"""What a reservation costs: `python benchmarks/ledger_cost.py`.

The ledger as it serves: over SQLite, with its journal on disk and its reports beside, for a spender
with no budgets, with one, and with four (tenant, key, user and application; dollars and tokens).
Each figure is the median of several rounds, in microseconds of one core for one question.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from ragstone.domain.budget import EACH, Amount, Budget, Spender, UsageRow
from ragstone.domain.clock import SystemClock
from ragstone.domain.usage import Usage
from ragstone.governance.ledger import LeasedLedger, LedgerSettings, Upkeep
from ragstone.records.engine import sqlite_url
from ragstone.records.sql_records import SqlRecords

SPENDER = Spender(tenant="acme", key_id="key_1", user="anna", application="assistant")
UPPER = Amount(nanodollars=2_000_000, tokens=3_000)
SPENT = Amount(nanodollars=1_200_000, tokens=1_800)
ROW = UsageRow(
    hour=0,
    tenant="acme",
    application="assistant",
    model="gpt-4o-mini",
    key_id="key_1",
    user="anna",
    questions=1,
    usage=Usage(input_tokens=1_500, output_tokens=300),
    nanodollars=1_200_000,
)
CACHED = UsageRow(
    hour=0,
    tenant="acme",
    application="assistant",
    model="gpt-4o-mini",
    key_id="key_1",
    user="anna",
    questions=1,
    cached=1,
    saved_nanodollars=1_200_000,
)
ROUNDS, CALLS = 15, 1_000


def budgets(count: int) -> list[Budget]:
    huge = 10**18
    plain = [
        Budget(id="b1", tenant="acme", scope="tenant", name="", period="month",
               unit="nanodollars", limit=huge),
        Budget(id="b2", tenant="acme", scope="user", name=EACH, period="day",
               unit="nanodollars", limit=huge),
        Budget(id="b3", tenant="acme", scope="key", name="key_1", period="day",
               unit="tokens", limit=huge),
        Budget(id="b4", tenant="acme", scope="application", name="assistant", period="month",
               unit="nanodollars", limit=huge, hard_limit=huge),
    ]  # fmt: skip
    return plain[:count]


async def measure(count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder, clock = Path(name), SystemClock()
        records = SqlRecords.open(sqlite_url(folder / "records.sqlite3"), clock)
        for budget in budgets(count):
            await records.budgets.put_budget(budget)
        settings = LedgerSettings(processes=4, journals=folder / "ledger")
        ledger = LeasedLedger(records.budgets, clock, settings)
        upkeep = Upkeep(ledger, expires=True)
        upkeep.start()
        try:
            return await figures(ledger)
        finally:
            await upkeep.close()
            await ledger.close()
            await records.close()


async def figures(ledger: LeasedLedger) -> dict[str, float]:
    taken: dict[str, list[float]] = {"reserve": [], "settle": [], "standing": [], "record": []}
    for _ in range(ROUNDS):
        opened: list[str] = []
        works = {
            "reserve": partial(reserve, ledger, opened),
            "settle": partial(settle, ledger, opened),
            "standing": partial(standing, ledger),
            "record": partial(record, ledger),
        }
        for name, work in works.items():
            taken[name].append(await timed(work))
            await asyncio.sleep(0.15)  # leases and reports, outside of the figures
    return {name: statistics.median(times) for name, times in taken.items()}


async def reserve(ledger: LeasedLedger, opened: list[str]) -> None:
    opened.extend([await ledger.reserve(SPENDER, UPPER) for _ in range(CALLS)])


async def settle(ledger: LeasedLedger, opened: list[str]) -> None:
    for reservation in opened:
        ledger.settle(reservation, SPENT, [ROW])


async def standing(ledger: LeasedLedger) -> None:
    for _ in range(CALLS):
        await ledger.standing(SPENDER)


async def record(ledger: LeasedLedger) -> None:
    for _ in range(CALLS):
        ledger.record([CACHED])


async def timed(work: Callable[[], Awaitable[None]]) -> float:
    began = time.thread_time()
    await work()
    return (time.thread_time() - began) / CALLS * 1e6


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    print("| budgets | reserve | settle | standing | record of a cached answer |")
    print("|---|---|---|---|---|")
    for count in (0, 1, 4):
        found = asyncio.run(measure(count))
        cells = " | ".join(f"{found[name]:.1f} µs" for name in found)
        print(f"| {count} | {cells} |")


if __name__ == "__main__":
    main()
