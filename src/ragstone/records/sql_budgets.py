"""`BudgetRecords` in SQLite or PostgreSQL."""

from collections.abc import Sequence
from typing import Final

from ragstone.domain.budget import (
    Budget,
    Grant,
    LedgerReport,
    Spent,
    SpentPlace,
    UsageBy,
    UsageTotal,
    Want,
)
from ragstone.ports import LEASE_ANSWER_SECONDS, Clock
from ragstone.records import budget_rows, slice_rows, usage_rows
from ragstone.records.transactions import Transactions
from ragstone.records.usage_lines import DAY, whole_hours

_FORGET_SECONDS: Final = 3_600.0
"""How often what is long over is looked for."""
_KEPT_DAYS: Final = 100
"""A month and then some: a process that was down for a while may still have to report."""


class SqlBudgets:
    """Implements `ports.BudgetRecords`; its docstrings there. Several processes may share one
    database: each call is one transaction, and `expire` one for each holder."""

    def __init__(self, transactions: Transactions, clock: Clock) -> None:
        """`transactions` are shared, and not closed here."""
        self._transactions = transactions
        self._clock = clock
        self._forgot_at = clock.monotonic()

    async def budgets(self, tenant: str) -> list[Budget]:
        return await self._transactions.read(lambda c: budget_rows.of_tenant(c, tenant))

    async def lease(
        self, holder: str, wants: Sequence[Want], *, seconds: float, number: int | None = None
    ) -> list[Grant]:
        now = self._clock.time()
        return await self._transactions.write(
            lambda c: slice_rows.lease(
                c,
                holder,
                wants,
                number=number,
                until=now + seconds,
                now=now,
                answers_since=now - LEASE_ANSWER_SECONDS,
            )
        )

    async def report(self, report: LedgerReport, *, seconds: float) -> None:
        until = self._clock.time() + seconds
        await self._transactions.write(lambda c: slice_rows.report(c, report, until=until))

    async def expire(self) -> list[str]:
        now = self._clock.time()
        late = await self._transactions.read(lambda c: slice_rows.expired(c, now=now))
        names = [name for name in late if await self._charge(name, now)]
        await self._forget(now)
        return names

    async def put_budget(self, budget: Budget, *, most: int | None = None) -> Budget:
        """On PostgreSQL those that several processes make at once may be more than `most`."""
        now = self._clock.time()
        before = await self._transactions.read(
            lambda c: budget_rows.paid_before(c, budget, now=now)
        )
        return await self._transactions.write(
            lambda c: budget_rows.put(c, budget, now=now, most=most, before=before)
        )

    async def delete_budget(self, tenant: str | None, budget_id: str) -> bool:
        return await self._transactions.write(lambda c: budget_rows.remove(c, tenant, budget_id))

    async def spent(
        self, tenant: str | None, *, limit: int | None = None, after: SpentPlace | None = None
    ) -> list[Spent]:
        now = self._clock.time()
        return await self._transactions.read(
            lambda c: budget_rows.spent(c, tenant, now=now, limit=limit, after=after)
        )

    async def usage(
        self, tenant: str | None, *, by: UsageBy, since: float, until: float
    ) -> list[UsageTotal]:
        first, end = whole_hours(since, until)
        return await self._transactions.read(
            lambda c: usage_rows.totals(c, tenant, by=by, first=first, end=end)
        )

    async def _charge(self, holder: str, now: float) -> bool:
        return await self._transactions.write(lambda c: slice_rows.charge(c, holder, now=now))

    async def _forget(self, now: float) -> None:
        if self._clock.monotonic() - self._forgot_at < _FORGET_SECONDS:
            return
        self._forgot_at = self._clock.monotonic()
        before = now - _KEPT_DAYS * DAY
        await self._transactions.write(
            lambda c: slice_rows.forget(c, before=before, days=_KEPT_DAYS)
        )
