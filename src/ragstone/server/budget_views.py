"""Budgets as they are told, and in pages."""

from itertools import groupby
from typing import Any

import msgspec

from ragstone.domain.budget import Budget, BudgetPeriod, BudgetScope, Spent
from ragstone.domain.usage import dollars_text
from ragstone.server.pages import word_for


class Quantity(msgspec.Struct, frozen=True, omit_defaults=True):
    """Money or tokens, by the budget's unit."""

    dollars: str | None = None
    """Exact."""
    nanodollars: int | None = None
    tokens: int | None = None


class BudgetStanding(msgspec.Struct, frozen=True, kw_only=True):
    """What one name has used of its budget in the present period."""

    name: str
    """Empty for the whole tenant, or where nobody of `*` has spent yet."""
    period_start: int
    period_end: int
    """Unix seconds; the end is not part of it."""
    settled: Quantity
    outstanding: Quantity
    """Held by running requests, and by server processes for those to come."""
    left: Quantity
    share: float
    """Used of the limit: 1.0 is all of it."""
    hard_settled: Quantity | None
    hard_outstanding: Quantity | None
    """Against the hard limit, where there is one."""


class BudgetView(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    tenant: str
    scope: BudgetScope
    name: str
    period: BudgetPeriod
    unit: str
    limit: Quantity
    hard_limit: Quantity | None
    created_at: float
    updated_at: float


class BudgetLine(BudgetView, frozen=True, kw_only=True):
    """A budget, and how it stands."""

    standing: list[BudgetStanding]


class BudgetsResponse(msgspec.Struct, frozen=True):
    """A page of lines of `standing`; pass `next` as `after` for the following one, where a budget
    that many spend from goes on."""

    budgets: list[BudgetLine]
    next: str | None


def budgets_page(lines: list[Spent], limit: int) -> BudgetsResponse:
    """Of the first `limit` lines; more are there if there are more."""
    following = word_for(lines[limit - 1].place) if len(lines) > limit else None
    grouped = groupby(lines[:limit], key=lambda line: line.budget.id)
    return BudgetsResponse([_line(list(group)) for _, group in grouped], following)


def view(budget: Budget) -> BudgetView:
    return BudgetView(**_described(budget))


def _line(spent: list[Spent]) -> BudgetLine:
    """Of the lines of one budget."""
    budget = spent[0].budget
    return BudgetLine(**_described(budget), standing=[_standing(line) for line in spent])


def _described(budget: Budget) -> dict[str, Any]:
    return {
        "id": budget.id,
        "tenant": budget.tenant,
        "scope": budget.scope,
        "name": budget.name,
        "period": budget.period,
        "unit": "tokens" if budget.unit == "tokens" else "dollars",
        "limit": _quantity(budget.limit, budget),
        "hard_limit": None if budget.hard_limit is None else _quantity(budget.hard_limit, budget),
        "created_at": budget.created_at,
        "updated_at": budget.updated_at,
    }


def _standing(line: Spent) -> BudgetStanding:
    budget = line.budget
    used = line.settled + line.outstanding
    is_hard = budget.hard_limit is not None
    return BudgetStanding(
        name=line.name,
        period_start=line.period_start,
        period_end=line.period_end,
        settled=_quantity(line.settled, budget),
        outstanding=_quantity(line.outstanding, budget),
        left=_quantity(max(0, budget.limit - used), budget),
        share=round(used / budget.limit, 4),
        hard_settled=_quantity(line.hard_settled, budget) if is_hard else None,
        hard_outstanding=_quantity(line.hard_outstanding, budget) if is_hard else None,
    )


def _quantity(amount: int, budget: Budget) -> Quantity:
    if budget.unit == "tokens":
        return Quantity(tokens=amount)
    return Quantity(dollars=dollars_text(amount), nanodollars=amount)
