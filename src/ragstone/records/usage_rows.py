"""What was used in each hour. Functions over a connection inside a transaction."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, RowMapping, case, func, literal, select

from ragstone.domain.budget import EACH, Budget, BudgetScope, UsageBy, UsageRow, UsageTotal
from ragstone.domain.usage import Usage
from ragstone.records.statements import insert_or_add
from ragstone.records.tables import usage_changes as changes
from ragstone.records.tables import usage_hours as table
from ragstone.records.usage_lines import DAY, day_text, hour_text, in_order, storable_row

_BY: Final[dict[UsageBy, ColumnElement[Any]]] = {
    "tenant": table.c.tenant,
    "application": table.c.application,
    "model": table.c.model,
    "key": table.c.key_id,
    "user": table.c.user_name,
    "day": table.c.hour - table.c.hour % DAY,
    "hour": table.c.hour,
}
_NAMED: Final[dict[BudgetScope, ColumnElement[Any]]] = {
    "tenant": literal(""),
    "key": table.c.key_id,
    "user": table.c.user_name,
    "application": table.c.application,
}
_SUMMED: Final = (
    "questions",
    "cached",
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "written_input_tokens",
    "embedding_tokens",
    "rerank_tokens",
    "nanodollars",
    "saved_nanodollars",
)

Paid = Mapping[str, tuple[int, int]]
"""What each name used in the unit of a budget: of language models, and of everything."""


class PaidBefore(NamedTuple):
    """Of the hours from `first` to before `end`."""

    first: int
    end: int
    changes: int
    """Of these hours, when they were summed."""
    paid: Paid


def add(connection: Connection, rows: Sequence[UsageRow]) -> None:
    if rows:
        # In one order for everybody, so that nobody waits for one who waits for him.
        values = sorted(map(_values, map(storable_row, rows)), key=_key)
        insert_or_add(connection, table, values, flags=["estimated"])
        hours = sorted({(one["tenant"], one["hour"]) for one in values})
        changed = [{"tenant": tenant, "hour": hour, "changes": 1} for tenant, hour in hours]
        insert_or_add(connection, changes, changed)


def totals(
    connection: Connection, tenant: str | None, *, by: UsageBy, first: int, end: int
) -> list[UsageTotal]:
    """Of the hours from `first` to before `end`."""
    label = _BY[by].label("label")
    query = (
        select(
            label,
            *(func.sum(table.c[name]).label(name) for name in _SUMMED),
            func.max(table.c.estimated).label("estimated"),
        )
        .where(table.c.hour >= first, table.c.hour < end)
        .group_by(_BY[by])
    )
    if tenant is not None:
        query = query.where(table.c.tenant == tenant)
    return in_order([_total(row, by) for row in connection.execute(query).mappings()], by)


def day_back(connection: Connection, days: int) -> int | None:
    """When the last but so many of the days on which something was used began; None if there are
    fewer."""
    start: int | None = None
    for _ in range(days):
        query = select(func.max(table.c.hour))  # a look into the index for each
        if start is not None:
            query = query.where(table.c.hour < start)
        hour = connection.execute(query).scalar_one()
        if hour is None:
            return None
        start = hour - hour % DAY
    return start


def paid_before(connection: Connection, budget: Budget, *, first: int, end: int) -> PaidBefore:
    """For `paid_by_name` in a later transaction."""
    # The changes first: what comes between the two statements is summed again later.
    changed = _changes(connection, budget.tenant, first=first, end=end)
    return PaidBefore(first, end, changed, _paid(connection, budget, first=first, end=end))


def paid_by_name(
    connection: Connection, budget: Budget, *, first: int, end: int, before: PaidBefore | None
) -> Paid:
    """What those whom the budget binds used in these hours. Only the rest of them is summed where
    nothing has changed in those of `before`."""
    if before is None or before.first != first:
        return _paid(connection, budget, first=first, end=end)
    if _changes(connection, budget.tenant, first=first, end=before.end) != before.changes:
        return _paid(connection, budget, first=first, end=end)
    sums = dict(before.paid)
    for name, (models, everything) in _paid(connection, budget, first=before.end, end=end).items():
        earlier = sums.get(name, (0, 0))
        sums[name] = (earlier[0] + models, earlier[1] + everything)
    return sums


def _changes(connection: Connection, tenant: str, *, first: int, end: int) -> int:
    query = select(func.coalesce(func.sum(changes.c.changes), 0)).where(
        changes.c.tenant == tenant, changes.c.hour >= first, changes.c.hour < end
    )
    return int(connection.execute(query).scalar_one())


def _paid(connection: Connection, budget: Budget, *, first: int, end: int) -> Paid:
    name, tokens = _NAMED[budget.scope].label("name"), table.c.input_tokens + table.c.output_tokens
    amount = tokens if budget.unit == "tokens" else table.c.nanodollars
    query = (
        select(name, func.sum(case((tokens > 0, amount), else_=0)), func.sum(amount))
        .where(table.c.tenant == budget.tenant, table.c.hour >= first, table.c.hour < end)
        .group_by(name)
    )
    if budget.name == EACH:
        query = query.where(_NAMED[budget.scope] != "")  # work of no key, or of no user
    elif budget.name:
        query = query.where(_NAMED[budget.scope] == budget.name)
    return {row[0]: (int(row[1]), int(row[2])) for row in connection.execute(query)}


def _total(row: RowMapping, by: UsageBy) -> UsageTotal:
    text = {"day": day_text, "hour": hour_text}.get(by, str)
    return UsageTotal(
        by=text(row["label"]),
        questions=int(row["questions"]),
        cached=int(row["cached"]),
        usage=Usage(
            input_tokens=int(row["input_tokens"]),
            output_tokens=int(row["output_tokens"]),
            cached_input_tokens=int(row["cached_input_tokens"]),
            written_input_tokens=int(row["written_input_tokens"]),
            embedding_tokens=int(row["embedding_tokens"]),
            rerank_tokens=int(row["rerank_tokens"]),
            estimated=bool(row["estimated"]),
        ),
        nanodollars=int(row["nanodollars"]),
        saved_nanodollars=int(row["saved_nanodollars"]),
    )


def _values(row: UsageRow) -> dict[str, Any]:
    return {
        "tenant": row.tenant,
        "hour": row.hour,
        "application": row.application,
        "model": row.model,
        "key_id": row.key_id,
        "user_name": row.user,
        "questions": row.questions,
        "cached": row.cached,
        "input_tokens": row.usage.input_tokens,
        "output_tokens": row.usage.output_tokens,
        "cached_input_tokens": row.usage.cached_input_tokens,
        "written_input_tokens": row.usage.written_input_tokens,
        "embedding_tokens": row.usage.embedding_tokens,
        "rerank_tokens": row.usage.rerank_tokens,
        "estimated": int(row.usage.estimated),
        "nanodollars": row.nanodollars,
        "saved_nanodollars": row.saved_nanodollars,
    }


def _key(values: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(values[column.name] for column in table.primary_key)
