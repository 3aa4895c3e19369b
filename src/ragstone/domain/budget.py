"""Budgets: who may spend how much in a day or a month, and what was spent."""

import hashlib
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

from ragstone.domain.usage import Usage

BudgetScope = Literal["tenant", "key", "user", "application"]
BudgetPeriod = Literal["day", "month"]
"""Of the calendar, in UTC."""
BudgetUnit = Literal["nanodollars", "tokens"]
Pool = Literal["limit", "hard"]
Standing = Literal["normal", "economy", "exhausted"]
"""How a spender's budgets are: below `budgets.economy_at`; above it, where the cheapest model
answers; at the limit, where no model does."""

EACH: Final = "*"
"""As the name of a budget: every key, user or application has one of its own."""


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """A cap. One tenant's; a tenant may have many, and a request obeys all that match it."""

    id: str
    tenant: str
    scope: BudgetScope
    name: str
    """The key's id, the user or the application; `EACH`; empty for the whole tenant."""
    period: BudgetPeriod
    unit: BudgetUnit
    limit: int
    """In nano-dollars or tokens. Beyond it no model is asked: cached and extractive answers."""
    hard_limit: int | None = None
    """At least `limit`: what costs (embedding, reranking) may go on up to here, then requests are
    refused. None: nothing that costs is done beyond `limit`, and what costs nothing goes on."""
    created_at: float = 0.0
    updated_at: float = 0.0


def budget_id_of(
    tenant: str, scope: BudgetScope, name: str, period: BudgetPeriod, unit: BudgetUnit
) -> str:
    """Always the same for the same, so that one that is removed and set again goes on counting."""
    what = msgspec.json.encode([tenant, scope, name, period, unit])
    return f"bud_{hashlib.sha256(what).hexdigest()[:16]}"


def period_bounds(period: BudgetPeriod, at: float) -> tuple[int, int]:
    """When the period that holds `at` begins and ends, in Unix seconds."""
    day = datetime.fromtimestamp(at, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        start = int(day.timestamp())
        return start, start + 86_400  # Unix days have no leap seconds
    first = day.replace(day=1)
    following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return int(first.timestamp()), int(following.timestamp())


class Spender(msgspec.Struct, frozen=True, kw_only=True):
    """Who pays for a request: the names that its budgets are looked up by."""

    tenant: str
    key_id: str | None
    user: str | None
    application: str


class Amount(msgspec.Struct, frozen=True):
    """What something costs, in both units of budgets."""

    nanodollars: int = 0
    tokens: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.nanodollars + other.nanodollars, self.tokens + other.tokens)


class Account(msgspec.Struct, frozen=True):
    """What is counted against one cap: a budget, for one name, in one period."""

    budget_id: str
    name: str
    """Whose: for a budget of `EACH`, the key, user or application that spends."""
    period_start: int
    """Unix seconds."""
    pool: Pool
    """`limit`: what models cost. `hard`: all that costs, where there is a `hard_limit`."""


class Want(msgspec.Struct, frozen=True, kw_only=True):
    """A slice that a process asks for."""

    account: Account
    tenant: str
    least: int
    """With less than this it can do nothing."""
    most: int


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a `Want`."""

    account: Account
    amount: int
    """0: there is nothing left to give."""
    used: int
    """Of the account, after this grant: settled, and out in slices."""
    cap: int


class AccountReport(msgspec.Struct, frozen=True):
    """What a process did with its slice of an account since its last report."""

    account: Account
    settled: int
    """Spent for good."""
    returned: int
    """Given back unspent."""


class UsageRow(msgspec.Struct, frozen=True, kw_only=True):
    """What was used, in one hour, by one tenant, application, model, key and user."""

    hour: int
    """Unix seconds of its beginning."""
    tenant: str
    application: str
    model: str
    key_id: str
    user: str
    """Both empty where there is none."""
    questions: int = 0
    """That ended in this row; a question shared by several counts for each of them."""
    cached: int = 0
    """Of these, answered from a cache or from another's generation."""
    usage: Usage = Usage()
    nanodollars: int = 0
    saved_nanodollars: int = 0
    """By caches and routing, against asking the route's first model afresh."""


class LedgerReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a process tells the records, exactly once for each `sequence`."""

    holder: str
    """The process's own name: it never comes again."""
    sequence: int
    """1, 2, 3 ...: a number that was seen before changes nothing."""
    accounts: list[AccountReport]
    usage: list[UsageRow]
    last: bool = False
    """The holder has ended: what is left of its slices is free again."""


class SpentPlace(msgspec.Struct, frozen=True, array_like=True, order=True):
    """Where a line stands among all: they are in the order of these fields."""

    tenant: str
    created_at: float
    """Of the budget."""
    budget_id: str
    name: str


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """How a budget stands in the present period, for one name."""

    budget: Budget
    name: str
    period_start: int
    period_end: int
    settled: int
    """Against the `limit`."""
    outstanding: int
    """Out in slices: reserved, or not yet reported."""
    hard_settled: int = 0
    """Against the `hard_limit`, where there is one."""
    hard_outstanding: int = 0

    @property
    def place(self) -> SpentPlace:
        return SpentPlace(self.budget.tenant, self.budget.created_at, self.budget.id, self.name)


UsageBy = Literal["tenant", "application", "model", "key", "user", "day", "hour"]


class UsagePlace(msgspec.Struct, frozen=True, array_like=True, order=True):
    """Where a line stands in a usage report: they are in the order of these fields."""

    nanodollars: int
    tokens: int
    """Both below 0, so that the dearest is first; 0 where the report is in the order of time."""
    by: str


class UsageTotal(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a usage report."""

    by: str
    """The value of what it was asked by."""
    questions: int
    cached: int
    usage: Usage
    nanodollars: int
    saved_nanodollars: int

    def place(self, by: UsageBy) -> UsagePlace:
        """In a report that was asked for by that."""
        if by in ("day", "hour"):
            return UsagePlace(0, 0, self.by)
        return UsagePlace(-self.nanodollars, -self.usage.tokens, self.by)
