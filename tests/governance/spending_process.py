"""A process that spends from one budget until it is killed, or nothing is left.

`python -m tests.governance.spending_process FOLDER NUMBER SEED`: FOLDER has the records and the
journals; what models really cost is appended to FOLDER/costs.NUMBER, as a provider would count it.
"""

import asyncio
import os
import random
import sys
from pathlib import Path

from ragstone.domain.budget import Amount, Spender
from ragstone.domain.clock import SystemClock
from ragstone.domain.errors import BudgetExhausted, RecordsUnavailable
from ragstone.governance.ledger import LeasedLedger, LedgerSettings, Upkeep
from ragstone.records.engine import sqlite_url
from ragstone.records.sql_records import SqlRecords

PROCESSES, TASKS = 4, 16
CAP = 5_000_000
UPPER = 1_000
"""Of one call at most: a part of the cap that no rule can use at the end is below 1 %."""
_REFUSED_TWENTY_TIMES = 20


async def spend(folder: Path, number: int, seed: int) -> None:
    clock = SystemClock()
    records = SqlRecords.open(sqlite_url(folder / "records.sqlite3"), clock)
    ledger = LeasedLedger(
        records.budgets,
        clock,
        LedgerSettings(processes=PROCESSES, journals=folder / "ledger", report_seconds=0.1),
    )
    upkeep = Upkeep(ledger, expires=False)
    upkeep.start()
    costs = os.open(folder / f"costs.{number}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        await asyncio.gather(
            *(_ask(ledger, costs, random.Random(f"{seed}.{task}")) for task in range(TASKS))
        )
    finally:
        await upkeep.close()
        await ledger.close()
        await records.close()
        os.close(costs)


async def _ask(ledger: LeasedLedger, costs: int, draws: random.Random) -> None:
    refused = 0
    while refused < _REFUSED_TWENTY_TIMES:
        user = f"user_{draws.randrange(3)}"
        spender = Spender(tenant="acme", key_id=None, user=user, application="shop")
        upper = draws.randint(UPPER // 2, UPPER)
        try:
            reservation = await ledger.reserve(spender, Amount(nanodollars=upper))
        except BudgetExhausted:
            refused += 1
            await asyncio.sleep(0.05)
            continue
        except RecordsUnavailable:  # the others keep them busy: it may ask again
            await asyncio.sleep(0.05)
            continue
        cost = draws.randint(upper // 4, upper)
        os.write(costs, cost.to_bytes(8, "little"))  # the model was asked: now it costs
        await asyncio.sleep(draws.random() * 0.06)
        ledger.settle(reservation, Amount(nanodollars=cost), [])


if __name__ == "__main__":
    asyncio.run(spend(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
