"""The words for a budget that is spent."""

from datetime import UTC, datetime
from typing import Final

from ragstone.domain.budget import EACH, Budget
from ragstone.domain.errors import BudgetExhausted
from ragstone.domain.usage import dollars_text
from ragstone.governance.ledger.slices import AccountView

_SCOPES: Final = {"key": "the key", "user": "the user", "application": "the application"}


def exhausted(view: AccountView, now: float) -> BudgetExhausted:
    """`now` in Unix seconds. The name is the caller's own: nobody obeys another's budget."""
    budget = view.budget
    cap = budget.limit if view.account.pool == "limit" else budget.hard_limit or 0
    ends = datetime.fromtimestamp(view.period_end, UTC)
    error = BudgetExhausted(
        f"The budget of {_amount(cap, budget)} a {budget.period} for {_whose(view)} "
        "has too little left for the most that this may cost.",
        remedy=f"It begins anew on {ends:%Y-%m-%d} at 00:00 UTC; "
        "an administrator can raise it with `ragstone budgets set`.",
        retry_after=max(0.0, view.period_end - now),
    )
    error.scope = budget.scope
    return error


def _whose(view: AccountView) -> str:
    scope, name = view.budget.scope, view.account.name
    if scope == "tenant":
        return f"the tenant {view.budget.tenant!r}"
    each = " (each has its own)" if view.budget.name == EACH else ""
    return f"{_SCOPES[scope]} {name!r}{each}"


def _amount(amount: int, budget: Budget) -> str:
    if budget.unit == "tokens":
        return f"{amount:,} tokens"
    text = dollars_text(amount)
    return f"${text.removesuffix('.00')}"
