"""Budgets. Functions over a connection inside a transaction."""

from collections.abc import Iterable

from sqlalchemy import Connection, RowMapping, delete, select

from ragstone.domain.budget import Budget, Pool, Spent, period_bounds
from ragstone.records.slices import Counted, spent_lines
from ragstone.records.statements import insert_or_change
from ragstone.records.tables import budget_accounts as accounts
from ragstone.records.tables import budgets as table


def of_tenant(connection: Connection, tenant: str | None) -> list[Budget]:
    """Of all tenants where it is None."""
    query = select(table).order_by(table.c.tenant, table.c.created_at, table.c.id)
    if tenant is not None:
        query = query.where(table.c.tenant == tenant)
    return [_budget(row) for row in connection.execute(query).mappings()]


def held_still(connection: Connection, ids: Iterable[str]) -> dict[str, Budget]:
    """Those that there are, which nobody changes until the transaction ends."""
    rows = connection.execute(
        select(table)
        .where(table.c.id.in_(sorted(set(ids))))
        .order_by(table.c.id)
        .with_for_update(read=True)
    )
    return {row["id"]: _budget(row) for row in rows.mappings()}


def put(connection: Connection, budget: Budget) -> Budget:
    row = insert_or_change(
        connection,
        table,
        _row(budget),
        same=("tenant", "scope", "name", "period", "unit"),
        changing=("soft_limit", "hard_limit", "updated_at"),
    )
    return _budget(row)


def remove(connection: Connection, tenant: str | None, budget_id: str) -> bool:
    query = delete(table).where(table.c.id == budget_id)
    if tenant is not None:
        query = query.where(table.c.tenant == tenant)
    return connection.execute(query).rowcount == 1


def spent(connection: Connection, tenant: str | None, *, now: float) -> list[Spent]:
    return [
        line for budget in of_tenant(connection, tenant) for line in _spent(connection, budget, now)
    ]


def _spent(connection: Connection, budget: Budget, now: float) -> list[Spent]:
    start, _ = period_bounds(budget.period, now)
    rows = connection.execute(
        select(accounts).where(accounts.c.budget_id == budget.id, accounts.c.period_start == start)
    )
    counted: dict[str, dict[Pool, Counted]] = {}
    for row in rows.mappings():
        pools = counted.setdefault(row["name"], {})
        pools[row["pool"]] = Counted(row["settled"], row["outstanding"])
    return spent_lines(budget, counted, now=now)


def _budget(row: RowMapping) -> Budget:
    return Budget(
        id=row["id"],
        tenant=row["tenant"],
        scope=row["scope"],
        name=row["name"],
        period=row["period"],
        unit=row["unit"],
        limit=row["soft_limit"],
        hard_limit=row["hard_limit"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _row(budget: Budget) -> dict[str, object]:
    return {
        "id": budget.id,
        "tenant": budget.tenant,
        "scope": budget.scope,
        "name": budget.name,
        "period": budget.period,
        "unit": budget.unit,
        "soft_limit": budget.limit,
        "hard_limit": budget.hard_limit,
        "created_at": budget.created_at,
        "updated_at": budget.updated_at,
    }
