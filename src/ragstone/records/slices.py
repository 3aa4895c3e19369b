"""The arithmetic of accounts and slices, alike for every implementation.

An account counts what was settled and what is out in slices. A slice is what one holder has of
an account: `held` is out, `charged` was counted as settled when the holder's lease ran out.
Of a holder that lives after all, what it spends comes out of `charged` first, since that is
paid for already.
"""

from collections.abc import Mapping

import msgspec

from ragstone.domain.budget import (
    EACH,
    AccountReport,
    Budget,
    Pool,
    Spent,
    UsageRow,
    Want,
    period_bounds,
)
from ragstone.domain.errors import InvalidRequest


class Counted(msgspec.Struct, frozen=True):
    """What is counted against one cap."""

    settled: int = 0
    outstanding: int = 0

    @property
    def used(self) -> int:
        return self.settled + self.outstanding


class Slice(msgspec.Struct, frozen=True):
    """What one holder has of an account."""

    held: int = 0
    charged: int = 0


def cap_of(budget: Budget, pool: Pool) -> int:
    return budget.limit if pool == "limit" else budget.hard_limit or 0


def name_counted(budget: Budget, row: UsageRow) -> str | None:
    """Under which name the budget counts what the row tells; None: it does not."""
    if row.tenant != budget.tenant:
        return None
    if budget.scope == "tenant":
        return ""
    names = {"key": row.key_id, "user": row.user, "application": row.application}
    name = names[budget.scope]
    return name if name and budget.name in (EACH, name) else None


def begins_accounts(earlier: Budget | None, budget: Budget) -> bool:
    """Whether it begins to count something when it is put in place of the `earlier` one."""
    return earlier is None or (earlier.hard_limit is None) != (budget.hard_limit is None)


def counted_before(budget: Budget, of_models: int, of_all: int) -> dict[Pool, int]:
    """What is counted against it of work that was paid before it was set."""
    if budget.hard_limit is None:
        return {"limit": of_all}
    return {"limit": of_models, "hard": of_all}


def wanted_of(budgets: Mapping[str, Budget], want: Want) -> Budget | None:
    """None for a budget that is gone, or another tenant's: it grants nothing and tells nothing."""
    budget = budgets.get(want.account.budget_id)
    return budget if budget is not None and budget.tenant == want.tenant else None


def grant(counted: Counted, want: Want, cap: int) -> int:
    """As much as is left, up to `most`; 0 where that is less than `least`."""
    amount = min(want.most, cap - counted.used)
    return amount if amount >= max(want.least, 1) else 0


def granted(counted: Counted, slice_: Slice, amount: int) -> tuple[Counted, Slice]:
    return (
        Counted(counted.settled, counted.outstanding + amount),
        Slice(slice_.held + amount, slice_.charged),
    )


def booked(counted: Counted, slice_: Slice, report: AccountReport) -> tuple[Counted, Slice]:
    """After what the holder spent and returned. Raises `InvalidRequest` for less than nothing."""
    if report.settled < 0 or report.returned < 0:
        raise InvalidRequest("A process reported to have spent or returned less than nothing.")
    paid = min(report.settled, slice_.charged)
    spent = report.settled - paid  # beyond what is held too: it was spent
    taken = min(spent, slice_.held)
    held, charged = slice_.held - taken, slice_.charged - paid
    back = min(report.returned, held)
    credit = min(report.returned - back, charged)
    return (
        Counted(counted.settled + spent - credit, counted.outstanding - taken - back),
        Slice(held - back, charged - credit),
    )


def freed(counted: Counted, slice_: Slice) -> Counted:
    """After the holder has ended, having reported all that it spent."""
    return Counted(counted.settled - slice_.charged, counted.outstanding - slice_.held)


def charged(counted: Counted, slice_: Slice) -> tuple[Counted, Slice]:
    """After the holder's lease has run out: all that it may have spent counts as spent."""
    return (
        Counted(counted.settled + slice_.held, counted.outstanding - slice_.held),
        Slice(0, slice_.charged + slice_.held),
    )


def spent_lines(
    budget: Budget, counted: Mapping[str, Mapping[Pool, Counted]], *, now: float
) -> list[Spent]:
    """How the budget stands in the period that holds `now`, of which `counted` tells what there
    is for each name: a line for each, or one for all where there is none yet."""
    start, end = period_bounds(budget.period, now)
    names = sorted(counted) or ["" if budget.name == EACH else budget.name]
    lines = []
    for name in names:
        pools = counted.get(name, {})
        limit, hard = pools.get("limit", Counted()), pools.get("hard", Counted())
        lines.append(
            Spent(
                budget=budget,
                name=name,
                period_start=start,
                period_end=end,
                settled=limit.settled,
                outstanding=limit.outstanding,
                hard_settled=hard.settled,
                hard_outstanding=hard.outstanding,
            )
        )
    return lines
