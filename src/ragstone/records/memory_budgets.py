"""`BudgetRecords` in this process's memory: for tests, simulations and trials."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import msgspec

from ragstone.domain.budget import (
    Account,
    Budget,
    Grant,
    LedgerReport,
    Pool,
    Spent,
    SpentPlace,
    UsageBy,
    UsageRow,
    UsageTotal,
    Want,
    period_bounds,
)
from ragstone.domain.usage import Usage
from ragstone.ports import Clock
from ragstone.records.refusals import require_room
from ragstone.records.slices import (
    Counted,
    Slice,
    begins_accounts,
    booked,
    cap_of,
    charged,
    counted_before,
    freed,
    grant,
    granted,
    name_counted,
    spent_lines,
    wanted_of,
)
from ragstone.records.usage_lines import LABELS, in_order, storable_row, whole_hours


class _Holder(msgspec.Struct):
    lease_until: float = 0.0
    sequence: int = 0
    ended: bool = False
    slices: dict[Account, Slice] = msgspec.field(default_factory=dict)
    answers: dict[int, list[Grant]] = msgspec.field(default_factory=dict)


class MemoryBudgets:
    """Implements `ports.BudgetRecords`; its docstrings there. Nothing awaits, so all is atomic."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._budgets: dict[str, Budget] = {}
        self._accounts: dict[Account, Counted] = {}
        self._holders: defaultdict[str, _Holder] = defaultdict(_Holder)
        self._usage: list[UsageRow] = []

    async def budgets(self, tenant: str) -> list[Budget]:
        return self._of(tenant)

    async def lease(
        self, holder: str, wants: Sequence[Want], *, seconds: float, number: int | None = None
    ) -> list[Grant]:
        asking = self._prolonged(holder, seconds)
        if number is not None and number in asking.answers:
            return asking.answers[number]
        grants = [self._grant(asking, want) for want in wants]
        if number is not None:
            asking.answers[number] = grants
        return grants

    async def report(self, report: LedgerReport, *, seconds: float) -> None:
        holder = self._prolonged(report.holder, seconds)
        if report.sequence <= holder.sequence:
            return
        after: dict[Account, tuple[Counted, Slice]] = {}
        for of in report.accounts:
            before = after.get(of.account) or self._standing(holder, of.account)
            after[of.account] = booked(before[0], before[1], of)
        for account, standing in after.items():
            self._put(holder, account, *standing)
        self._usage.extend(storable_row(row) for row in report.usage)
        holder.sequence = report.sequence
        if report.last:
            holder.ended = True
            holder.answers.clear()  # what was granted is free again
            for account, slice_ in list(holder.slices.items()):
                self._put(holder, account, freed(self._accounts[account], slice_), Slice())

    async def expire(self) -> list[str]:
        now = self._clock.time()
        names = []
        for name, holder in self._holders.items():
            out = [account for account, slice_ in holder.slices.items() if slice_.held]
            if holder.lease_until <= now and out:
                names.append(name)
                for account in out:
                    self._put(holder, account, *charged(*self._standing(holder, account)))
        return sorted(names)

    async def put_budget(self, budget: Budget, *, most: int | None = None) -> Budget:
        same = (one for one in self._budgets.values() if _same(one) == _same(budget))
        earlier = next(same, None)
        if earlier is None:
            require_room(budget.tenant, len(self._of(budget.tenant)), most)
        else:
            budget = msgspec.structs.replace(budget, id=earlier.id, created_at=earlier.created_at)
        self._budgets[budget.id] = budget
        if begins_accounts(earlier, budget):
            self._count_what_was_used(budget)
        return budget

    def _count_what_was_used(self, budget: Budget) -> None:
        start, end = period_bounds(budget.period, self._clock.time())
        sums: defaultdict[str, Counter[Pool]] = defaultdict(Counter)
        for row in self._usage:
            name = name_counted(budget, row)
            if name is None or not start <= row.hour < end:
                continue
            amount = row.usage.tokens if budget.unit == "tokens" else row.nanodollars
            of_models = amount if row.usage.tokens else 0
            sums[name].update(counted_before(budget, of_models, amount))
        for name, pools in sums.items():
            for pool, least in pools.items():
                if least > 0:
                    self._raise(Account(budget.id, name, start, pool), least)

    def _raise(self, account: Account, least: int) -> None:
        """To that, beside what was charged to holders that may live: they get it back."""
        own = (holder.slices.get(account, Slice()) for holder in self._holders.values())
        least += sum(slice_.charged for slice_ in own)
        counted = self._accounts.get(account, Counted())
        if least > counted.settled:
            self._accounts[account] = Counted(least, counted.outstanding)

    async def delete_budget(self, tenant: str | None, budget_id: str) -> bool:
        found = self._budgets.get(budget_id)
        if found is None or tenant not in (None, found.tenant):
            return False
        del self._budgets[budget_id]
        return True

    async def spent(
        self, tenant: str | None, *, limit: int | None = None, after: SpentPlace | None = None
    ) -> list[Spent]:
        lines = [line for budget in self._of(tenant) for line in self._spent(budget)]
        return [line for line in lines if after is None or line.place > after][:limit]

    async def usage(
        self, tenant: str | None, *, by: UsageBy, since: float, until: float
    ) -> list[UsageTotal]:
        first, end = whole_hours(since, until)
        sums: dict[str, UsageTotal] = {}
        for row in self._usage:
            if first <= row.hour < end and tenant in (None, row.tenant):
                label = LABELS[by](row)
                sums[label] = _plus(sums.get(label) or _nothing(label), row)
        return in_order(list(sums.values()), by)

    def _of(self, tenant: str | None) -> list[Budget]:
        own = [one for one in self._budgets.values() if tenant in (None, one.tenant)]
        return sorted(own, key=lambda budget: (budget.tenant, budget.created_at, budget.id))

    def _prolonged(self, name: str, seconds: float) -> _Holder:
        holder = self._holders[name]
        holder.lease_until = self._clock.time() + seconds
        return holder

    def _standing(self, holder: _Holder, account: Account) -> tuple[Counted, Slice]:
        return (
            self._accounts.get(account, Counted()),
            holder.slices.get(account, Slice()),
        )

    def _put(self, holder: _Holder, account: Account, counted: Counted, slice_: Slice) -> None:
        self._accounts[account] = counted
        if slice_ == Slice():
            holder.slices.pop(account, None)
        else:
            holder.slices[account] = slice_

    def _grant(self, holder: _Holder, want: Want) -> Grant:
        account = want.account
        if (budget := wanted_of(self._budgets, want)) is None:
            return Grant(account=account, amount=0, used=0, cap=0)
        cap = cap_of(budget, account.pool)
        counted, slice_ = self._standing(holder, account)
        amount = 0 if holder.ended else grant(counted, want, cap)
        if amount:
            counted, slice_ = granted(counted, slice_, amount)
            self._put(holder, account, counted, slice_)
        return Grant(account=account, amount=amount, used=counted.used, cap=cap)

    def _spent(self, budget: Budget) -> list[Spent]:
        now = self._clock.time()
        start, _ = period_bounds(budget.period, now)
        counted: dict[str, dict[Pool, Counted]] = {}
        for account, state in self._accounts.items():
            if (account.budget_id, account.period_start) == (budget.id, start):
                counted.setdefault(account.name, {})[account.pool] = state
        return spent_lines(budget, counted, now=now)


def _same(budget: Budget) -> tuple[str, ...]:
    return (budget.tenant, budget.scope, budget.name, budget.period, budget.unit)


def _nothing(label: str) -> UsageTotal:
    return UsageTotal(
        by=label, questions=0, cached=0, usage=Usage(), nanodollars=0, saved_nanodollars=0
    )


def _plus(total: UsageTotal, row: UsageRow) -> UsageTotal:
    return UsageTotal(
        by=total.by,
        questions=total.questions + row.questions,
        cached=total.cached + row.cached,
        usage=total.usage + row.usage,
        nanodollars=total.nanodollars + row.nanodollars,
        saved_nanodollars=total.saved_nanodollars + row.saved_nanodollars,
    )
