"""Which budgets a spender obeys, and what is counted against them now."""

from collections.abc import Sequence

import msgspec

from ragstone.domain.budget import EACH, Account, Budget, Pool, Spender, period_bounds


class Obeyed(msgspec.Struct, frozen=True):
    """An account that a spender's reservations are held in."""

    budget: Budget
    account: Account
    period_end: int
    """Unix seconds."""


def obeyed(budgets: Sequence[Budget], spender: Spender, now: float) -> list[Obeyed]:
    """Of every budget that matches, at `now` in Unix seconds: `limit`, and `hard` if it has one."""
    found = []
    for budget in budgets:
        name = _whose(budget, spender)
        if name is None:
            continue
        start, end = period_bounds(budget.period, now)
        pools: tuple[Pool, ...] = ("limit",) if budget.hard_limit is None else ("limit", "hard")
        found += [Obeyed(budget, Account(budget.id, name, start, pool), end) for pool in pools]
    return found


def _whose(budget: Budget, spender: Spender) -> str | None:
    """The name that a matching budget is counted under, or None."""
    if budget.scope == "tenant":
        return ""
    named = {"key": spender.key_id, "user": spender.user, "application": spender.application}
    name = named[budget.scope]
    if not name:
        return None
    return name if budget.name in (EACH, name) else None


def binds_other_work(budget: Budget, pool: Pool) -> bool:
    """Whether paid work that is no language model's is held in this pool too."""
    return pool == "hard" or budget.hard_limit is None
