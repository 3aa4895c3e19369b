"""Settled and outstanding stay within the cap, whoever asks, in whatever order, and at once."""

import asyncio
import itertools
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from ragstone.domain.budget import Want
from ragstone.ports import BudgetRecords
from ragstone.records.memory_budgets import MemoryBudgets
from ragstone.records.sql_records import SqlRecords
from tests.clock import VirtualClock
from tests.records.budget_samples import a_budget, a_report, a_want, an_account

LEASE = 30.0
HOLDERS = st.sampled_from(["h1", "h2", "h3"])
SCOPES = st.sampled_from(["tenant", "user"])


class BudgetMachine(RuleBasedStateMachine):
    """Processes that lease, spend what they have, return some, are killed, or come back, over
    the fake and SQLite alike. What was really spent is never more than what is counted."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = VirtualClock()
        self.run = next(_runs)
        self.real = SqlRecords.open(self.url, self.clock)
        self.fake = MemoryBudgets(self.clock)
        self.stores: tuple[BudgetRecords, ...] = (self.real.budgets, self.fake)
        self.caps: dict[str, int] = {}
        self.highest_cap: Counter[str] = Counter()
        self.has: Counter[tuple[str, str]] = Counter()
        """What each holder may still spend, by budget."""
        self.spent: Counter[str] = Counter()
        self.sequence = itertools.count(1)
        self.ended: set[str] = set()
        self.used: dict[str, int] = {}
        for scope in ("tenant", "user"):
            self.put(scope, 100)

    def name(self, of: str) -> str:
        return f"{of}-{self.run}"

    def both(self, method: str, *args: object, **named: object) -> object:
        results = [
            self.loop.run_until_complete(getattr(store, method)(*args, **named))
            for store in self.stores
        ]
        assert results[0] == results[1]
        return results[0]

    @rule(scope=SCOPES, limit=st.integers(0, 120))
    def put(self, scope: str, limit: int) -> None:
        budget = a_budget(self.name(scope), tenant=self.name("t"), scope=scope, limit=limit)
        self.both("put_budget", budget)
        self.caps[scope] = limit
        self.highest_cap[scope] = max(limit, self.highest_cap[scope])

    @rule(scope=SCOPES)
    def remove(self, scope: str) -> None:
        self.both("delete_budget", self.name("t"), self.name(scope))
        self.caps[scope] = 0

    @rule(
        holder=HOLDERS,
        wants=st.lists(st.tuples(SCOPES, st.integers(0, 30), st.integers(0, 30)), max_size=3),
        number=st.none() | st.integers(1, 3),
    )
    def lease(self, holder: str, wants: list[tuple[str, int, int]], number: int | None) -> None:
        asked = [self.want(scope, least, least + more) for scope, least, more in wants]
        before = dict(self.used)
        grants = self.both("lease", self.name(holder), asked, seconds=LEASE, number=number)
        assert isinstance(grants, list)
        granted: Counter[str] = Counter()
        for grant in grants:
            granted[grant.account.budget_id.partition("-")[0]] += grant.amount
        self.look()
        for scope, amount in granted.items():
            fresh = self.used[scope] - before[scope]
            assert fresh in (0, amount)  # 0: heard again under its number
            if fresh:
                assert holder not in self.ended
                assert self.used[scope] <= self.caps[scope]
                self.has[holder, scope] += amount

    @rule(
        holder=HOLDERS,
        spent=st.integers(0, 40),
        back=st.integers(0, 40),
        scope=SCOPES,
        last=st.sampled_from([False, False, True]),
        twice=st.booleans(),
    )
    def report(
        self, holder: str, spent: int, back: int, scope: str, last: bool, twice: bool
    ) -> None:
        spent = min(spent, self.has[holder, scope])
        back = min(back, self.has[holder, scope] - spent)
        self.has[holder, scope] -= spent + back
        self.spent[scope] += spent
        report = a_report(
            next(self.sequence),
            (an_account(self.name(scope)), spent, back),
            holder=self.name(holder),
            last=last,
        )
        for _ in range(1 + twice):
            self.both("report", report, seconds=LEASE)
        if last:
            self.ended.add(holder)
            for of in ("tenant", "user"):
                self.has[holder, of] = 0

    @rule(seconds=st.sampled_from([1.0, LEASE / 2, LEASE]))
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        late = [self.loop.run_until_complete(store.expire()) for store in self.stores]
        own = [name for name in late[0] if name.endswith(f"-{self.run}")]
        assert own == late[1]  # the database has holders of earlier runs too

    @invariant()
    def nothing_is_counted_beyond_the_cap_nor_spent_uncounted(self) -> None:
        self.look()
        for scope, used in self.used.items():
            assert used <= self.highest_cap[scope]
            may_be_spent = sum(left for (_, of), left in self.has.items() if of == scope)
            assert self.spent[scope] + may_be_spent <= used

    def look(self) -> None:
        """How much of each budget is used; the deleted stay as they were."""
        lines = self.both("spent", self.name("t"))
        assert isinstance(lines, list)
        for line in lines:
            assert line.outstanding >= 0
            self.used[line.budget.scope] = line.settled + line.outstanding

    def want(self, scope: str, least: int, most: int) -> Want:
        account = an_account(self.name(scope))
        return a_want(account, least=least, most=most, tenant=self.name("t"))

    def teardown(self) -> None:
        self.loop.run_until_complete(self.real.close())
        self.loop.close()


_runs = itertools.count()


def test_no_sequence_of_calls_overspends_and_the_fake_is_as_sqlite(
    sqlite_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BudgetMachine, "url", f"sqlite:///{sqlite_file}", raising=False)
    run_state_machine_as_test(
        BudgetMachine,
        settings=settings(max_examples=25, stateful_step_count=20, deadline=None),
    )


WORKER = """
import asyncio, random, sys
from ragstone.records.sql_records import SqlRecords
from tests.clock import VirtualClock
from tests.records.budget_samples import a_report, a_row, a_want, an_account

async def main():
    url, name = sys.argv[1:]
    rng = random.Random(name)
    store = SqlRecords.open(url, VirtualClock())
    print("ready", flush=True)
    sys.stdin.readline()
    accounts = [an_account(f"bud_{n}") for n in range(3)]
    for n in range(1, 31):
        wants = [a_want(one, most=rng.randrange(1, 60)) for one in accounts]
        rng.shuffle(wants)
        grants = await store.budgets.lease(name, wants, seconds=1e6)
        spent = [(g.account, g.amount - g.amount // 3, g.amount // 3) for g in grants]
        rows = [a_row(user=user) for user in rng.sample(["ann", "bob", "cy"], 3)]
        report = a_report(n, *spent, holder=name, usage=tuple(rows))
        await asyncio.gather(*(store.budgets.report(report, seconds=1e6) for _ in range(2)))
        for account, settled, _ in spent:
            print(account.budget_id, settled, flush=True)
    await store.close()

asyncio.run(main())
"""


async def test_processes_that_lease_at_once_stay_within_the_cap_and_count_exactly(
    database_url: str, clock: VirtualClock
) -> None:
    records = SqlRecords.open(database_url, clock)
    budgets = records.budgets
    for n in range(3):
        scope = ("tenant", "key", "user")[n]
        await budgets.put_budget(a_budget(f"bud_{n}", scope=scope, limit=900 + n))
    spent: Counter[str] = Counter()
    outputs = await asyncio.to_thread(_outputs, database_url, ["h1", "h2", "h3"])
    for line in outputs:
        budget_id, amount = line.split()
        spent[budget_id] += int(amount)
    assert len(outputs) == 3 * 30 * 3
    for line in await budgets.spent("acme"):
        assert line.settled == spent[line.budget.id] <= line.budget.limit
        assert line.outstanding == 0
        assert line.settled >= 0.9 * line.budget.limit
    totals = await budgets.usage("acme", by="user", since=0, until=2e9)
    assert [total.questions for total in totals] == [180, 180, 180]
    await records.close()


async def test_caps_that_change_while_slices_are_leased_hold(
    database_url: str, clock: VirtualClock
) -> None:
    records = SqlRecords.open(database_url, clock)
    budgets = records.budgets
    await budgets.put_budget(a_budget(limit=1_000))

    async def work(holder: str) -> None:
        for n in range(1, 16):
            (grant,) = await budgets.lease(holder, [a_want(most=70)], seconds=LEASE)
            assert not grant.amount or grant.used <= grant.cap
            third = grant.amount // 3
            await budgets.report(
                a_report(n, (an_account(), third, grant.amount - third), holder=holder),
                seconds=LEASE,
            )

    async def change() -> None:
        for limit in (300, 900, 100, 400, 50):
            await budgets.put_budget(a_budget(limit=limit))

    await asyncio.gather(*(work(f"h{n}") for n in range(6)), change(), change())
    (line,) = await budgets.spent("acme")
    assert line.outstanding == 0
    (grant,) = await budgets.lease("h9", [a_want(most=1_000)], seconds=LEASE)
    assert grant.amount == max(0, 50 - line.settled)
    await records.close()


async def test_a_holder_is_charged_or_prolonged_never_both(
    database_url: str, clock: VirtualClock
) -> None:
    first, second = (SqlRecords.open(database_url, clock) for _ in range(2))
    await first.budgets.put_budget(a_budget(limit=10_000))
    for n in range(8):
        holder = f"h{n}"
        await first.budgets.lease(holder, [a_want()], seconds=LEASE)
        clock.advance(LEASE)
        late = await asyncio.gather(
            first.budgets.expire(),
            second.budgets.expire(),
            second.budgets.report(a_report(1, (an_account(), 4, 6), holder=holder), seconds=LEASE),
        )
        assert sum(late[0].count(name) + late[1].count(name) for name in (holder,)) <= 1
        (line,) = await first.budgets.spent("acme")
        assert (line.settled, line.outstanding) == (4 * (n + 1), 0)
    await first.close()
    await second.close()


def _outputs(url: str, names: list[str]) -> list[str]:
    root = Path(__file__).resolve().parents[2]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, url, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
        )
        for name in names
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        return [line for worker in workers for line in worker.communicate()[0].splitlines()]
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
