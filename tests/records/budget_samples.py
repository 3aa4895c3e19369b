"""Budgets, and what processes want and report of them. The clock begins at 2026-01-01."""

from ragstone.domain.budget import (
    Account,
    AccountReport,
    Budget,
    LedgerReport,
    Pool,
    UsageRow,
    Want,
)
from ragstone.domain.usage import Usage

NEW_YEAR = 1_767_225_600
HOUR = 3_600
DAY = 86_400


def a_budget(
    id_: str = "bud_1",
    *,
    tenant: str = "acme",
    scope: str = "tenant",
    name: str = "",
    period: str = "day",
    limit: int = 100,
    hard_limit: int | None = None,
    unit: str = "nanodollars",
) -> Budget:
    return Budget(
        id=id_,
        tenant=tenant,
        scope=scope,  # type: ignore[arg-type]
        name=name,
        period=period,  # type: ignore[arg-type]
        unit=unit,  # type: ignore[arg-type]
        limit=limit,
        hard_limit=hard_limit,
        created_at=5.25,
        updated_at=6.5,
    )


def an_account(
    budget_id: str = "bud_1", name: str = "", *, start: int = NEW_YEAR, pool: Pool = "limit"
) -> Account:
    return Account(budget_id, name, start, pool)


def a_want(
    account: Account | None = None, *, least: int = 1, most: int = 10, tenant: str = "acme"
) -> Want:
    return Want(account=account or an_account(), tenant=tenant, least=least, most=most)


def a_report(
    sequence: int,
    *accounts: tuple[Account, int, int],
    holder: str = "h1",
    usage: tuple[UsageRow, ...] = (),
    last: bool = False,
) -> LedgerReport:
    """Accounts with what was settled and what is returned."""
    return LedgerReport(
        holder=holder,
        sequence=sequence,
        accounts=[AccountReport(*of) for of in accounts],
        usage=list(usage),
        last=last,
    )


def a_row(
    hour: int = NEW_YEAR,
    *,
    tenant: str = "acme",
    application: str = "assistant",
    model: str = "small",
    key_id: str = "key_1",
    user: str = "ann",
    nanodollars: int = 7,
    estimated: bool = False,
) -> UsageRow:
    return UsageRow(
        hour=hour,
        tenant=tenant,
        application=application,
        model=model,
        key_id=key_id,
        user=user,
        questions=2,
        cached=1,
        usage=Usage(
            input_tokens=10,
            output_tokens=4,
            cached_input_tokens=3,
            written_input_tokens=2,
            embedding_tokens=5,
            rerank_tokens=6,
            estimated=estimated,
        ),
        nanodollars=nanodollars,
        saved_nanodollars=1,
    )
