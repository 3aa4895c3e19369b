"""Budgets. Functions over a connection inside a transaction."""

from collections.abc import Iterable
from typing import Any, Final, get_args

from sqlalchemy import (
    Connection,
    RowMapping,
    Select,
    bindparam,
    delete,
    func,
    literal,
    select,
    tuple_,
    update,
)

from ragstone.domain.budget import Budget, Pool, Spent, SpentPlace, period_bounds
from ragstone.records import usage_rows
from ragstone.records.refusals import require_room
from ragstone.records.slices import Counted, begins_accounts, counted_before, spent_lines
from ragstone.records.statements import insert_or_change, insert_or_ignore
from ragstone.records.tables import budget_accounts as accounts
from ragstone.records.tables import budget_slices as slices
from ragstone.records.tables import budgets as table
from ragstone.records.usage_lines import whole_hours
from ragstone.records.usage_rows import PaidBefore

_ORDER: Final = (table.c.tenant, table.c.created_at, table.c.id)
_ACCOUNT: Final = tuple(column.name for column in accounts.primary_key)
_SAME: Final = ("tenant", "scope", "name", "period", "unit")
_POOLS: Final = len(get_args(Pool))


def of_tenant(
    connection: Connection,
    tenant: str | None,
    *,
    limit: int | None = None,
    start: SpentPlace | None = None,
) -> list[Budget]:
    """Of all tenants where it is None. The first one is that of `start`, if it is still there."""
    query = select(table).order_by(*_ORDER).limit(limit)
    if tenant is not None:
        query = query.where(table.c.tenant == tenant)
    if start is not None:
        place = (start.tenant, start.created_at, start.budget_id)
        bound = [literal(value, of.type) for value, of in zip(place, _ORDER, strict=True)]
        query = query.where(tuple_(*_ORDER) >= tuple_(*bound))
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


def paid_before(connection: Connection, budget: Budget, *, now: float) -> PaidBefore | None:
    """What `put` will count of the hours that are over, so that it need not sum them up while
    nobody else can write; None where it will count nothing."""
    earlier = connection.execute(_same(budget)).mappings().first()
    if not begins_accounts(None if earlier is None else _budget(earlier), budget):
        return None
    start, _ = period_bounds(budget.period, now)
    end, _ = whole_hours(now, now)
    return usage_rows.paid_before(connection, budget, first=start, end=end)


def put(
    connection: Connection,
    budget: Budget,
    *,
    now: float,
    most: int | None,
    before: PaidBefore | None,
) -> Budget:
    """`before`: what `paid_before` told, of the same moment, in an earlier transaction."""
    earlier = _earlier(connection, budget)
    if earlier is None:
        require_room(budget.tenant, _count(connection, budget.tenant), most)
    row = insert_or_change(
        connection,
        table,
        _row(budget),
        same=_SAME,
        changing=("soft_limit", "hard_limit", "updated_at"),
    )
    made = _budget(row)
    if begins_accounts(earlier, made):
        _count_what_was_used(connection, made, now, before)
    return made


def _earlier(connection: Connection, budget: Budget) -> Budget | None:
    """The one that it takes the place of, which nobody else changes meanwhile."""
    row = connection.execute(_same(budget).with_for_update()).mappings().first()
    return None if row is None else _budget(row)


def _same(budget: Budget) -> Select[Any]:
    return select(table).where(*(table.c[name] == getattr(budget, name) for name in _SAME))


def _count(connection: Connection, tenant: str) -> int:
    query = select(func.count()).select_from(table).where(table.c.tenant == tenant)
    return connection.execute(query).scalar_one()


def _count_what_was_used(
    connection: Connection, budget: Budget, now: float, before: PaidBefore | None
) -> None:
    """At least what usage says of its present period, for work that was paid while it was not
    there; beside it what was charged to holders that may live, since they get it back."""
    start, end = period_bounds(budget.period, now)
    used = usage_rows.paid_by_name(connection, budget, first=start, end=end, before=before)
    least = {
        (budget.id, name, start, pool): amount
        for name, both in used.items()
        for pool, amount in counted_before(budget, *both).items()
        if amount > 0
    }
    if not least:
        return
    keys = sorted(least)  # in one order for everybody, as in `slice_rows`
    new = [dict(zip(_ACCOUNT, key, strict=True), settled=0, outstanding=0) for key in keys]
    insert_or_ignore(connection, accounts, new)
    charged = _charged(connection, budget, start)
    same = (accounts.c[name] == bindparam(f"its_{name}") for name in _ACCOUNT)
    raised = update(accounts).where(*same, accounts.c.settled < bindparam("least"))
    its = [f"its_{name}" for name in _ACCOUNT]
    connection.execute(
        raised.values(settled=bindparam("least")),
        [dict(zip(its, key, strict=True), least=least[key] + charged.get(key, 0)) for key in keys],
    )


def _charged(
    connection: Connection, budget: Budget, start: int
) -> dict[tuple[str, str, int, str], int]:
    """By account, all of which are locked, so that it stays so."""
    own = (accounts.c.budget_id == budget.id, accounts.c.period_start == start)
    order = (accounts.c[name] for name in _ACCOUNT)
    connection.execute(select(accounts.c.name).where(*own).order_by(*order).with_for_update())
    query = (
        select(slices.c.name, slices.c.pool, func.sum(slices.c.charged))
        .where(slices.c.budget_id == budget.id, slices.c.period_start == start)
        .where(slices.c.charged > 0)
        .group_by(slices.c.name, slices.c.pool)
    )
    return {
        (budget.id, name, start, pool): int(amount)
        for name, pool, amount in connection.execute(query)
    }


def remove(connection: Connection, tenant: str | None, budget_id: str) -> bool:
    query = delete(table).where(table.c.id == budget_id)
    if tenant is not None:
        query = query.where(table.c.tenant == tenant)
    return connection.execute(query).rowcount == 1


def spent(
    connection: Connection,
    tenant: str | None,
    *,
    now: float,
    limit: int | None,
    after: SpentPlace | None,
) -> list[Spent]:
    """One more budget than lines is looked at, since that of `after` may have no more of them."""
    budgets = of_tenant(connection, tenant, limit=limit and limit + 1, start=after)
    lines: list[Spent] = []
    for budget in budgets:
        left = None if limit is None else limit - len(lines)
        if left == 0:
            break
        begun = after.name if after is not None and after.budget_id == budget.id else None
        lines += _spent(connection, budget, now, left, begun)
    return lines


def _spent(
    connection: Connection, budget: Budget, now: float, limit: int | None, begun: str | None
) -> list[Spent]:
    """At most `limit` lines of names behind `begun`, the last one told before."""
    start, _ = period_bounds(budget.period, now)
    query = (
        select(accounts)
        .where(accounts.c.budget_id == budget.id, accounts.c.period_start == start)
        .order_by(accounts.c.name)
        .limit(limit and limit * _POOLS)
    )
    if begun is not None:
        query = query.where(accounts.c.name > begun)
    counted: dict[str, dict[Pool, Counted]] = {}
    for row in connection.execute(query).mappings():
        pools = counted.setdefault(row["name"], {})
        pools[row["pool"]] = Counted(row["settled"], row["outstanding"])
    if begun is not None and not counted:
        return []
    return spent_lines(budget, counted, now=now)[:limit]


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
