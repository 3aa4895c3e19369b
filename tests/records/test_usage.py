"""What every implementation of `BudgetRecords` does alike: usage by hour, and its sums."""

import pytest

from ragstone.domain.budget import UsageBy, UsageRow
from ragstone.domain.usage import Usage
from ragstone.ports import BudgetRecords
from tests.records.budget_samples import DAY, HOUR, NEW_YEAR, a_report, a_row


async def told(budgets: BudgetRecords, *rows: UsageRow, sequence: int = 1) -> None:
    await budgets.report(a_report(sequence, usage=rows), seconds=30)


async def sums(
    budgets: BudgetRecords, by: UsageBy, tenant: str | None = "acme"
) -> list[tuple[str, int]]:
    found = await budgets.usage(tenant, by=by, since=NEW_YEAR, until=NEW_YEAR + 40 * DAY)
    return [(total.by, total.nanodollars) for total in found]


async def test_every_count_is_added_up(budgets: BudgetRecords) -> None:
    await told(budgets, a_row(), a_row())
    await told(budgets, a_row(NEW_YEAR + 59 * 60, nanodollars=10), sequence=2)
    (total,) = await budgets.usage("acme", by="hour", since=NEW_YEAR, until=NEW_YEAR + 1)
    assert total.by == "2026-01-01T00:00Z"
    assert (total.questions, total.cached) == (6, 3)
    assert total.usage == Usage(
        input_tokens=30,
        output_tokens=12,
        cached_input_tokens=9,
        written_input_tokens=6,
        embedding_tokens=15,
        rerank_tokens=18,
    )
    assert (total.nanodollars, total.saved_nanodollars) == (24, 3)


async def test_a_sum_with_an_estimate_in_it_is_one(budgets: BudgetRecords) -> None:
    await told(budgets, a_row(estimated=True), a_row(), a_row(user="bob"))
    found = await budgets.usage("acme", by="user", since=NEW_YEAR, until=NEW_YEAR + DAY)
    assert {total.by: total.usage.estimated for total in found} == {"ann": True, "bob": False}


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("tenant", [("acme", 111)]),
        ("application", [("shop", 100), ("assistant", 11)]),
        ("model", [("large", 101), ("small", 10)]),
        ("key", [("", 100), ("key_1", 11)]),
        ("user", [("", 101), ("ann", 10)]),
        ("day", [("2026-01-01", 10), ("2026-01-02", 101)]),
        ("hour", [("2026-01-01T23:00Z", 10), ("2026-01-02T00:00Z", 101)]),
    ],
)
async def test_usage_is_summed_by_what_is_asked(
    budgets: BudgetRecords, by: UsageBy, expected: list[tuple[str, int]]
) -> None:
    await told(
        budgets,
        a_row(NEW_YEAR + 23 * HOUR, nanodollars=10),
        a_row(NEW_YEAR + 24 * HOUR, nanodollars=1, user="", model="large"),
        a_row(
            NEW_YEAR + 24 * HOUR,
            nanodollars=100,
            user="",
            key_id="",
            application="shop",
            model="large",
        ),
        a_row(tenant="other", nanodollars=10_000),
    )
    assert await sums(budgets, by) == expected


async def test_all_tenants_are_summed_where_none_is_named(budgets: BudgetRecords) -> None:
    await told(budgets, a_row(), a_row(tenant="other", nanodollars=50))
    assert await sums(budgets, "tenant", None) == [("other", 50), ("acme", 7)]
    assert await sums(budgets, "application", None) == [("assistant", 57)]
    assert await sums(budgets, "tenant", "none") == []


async def test_whole_hours_are_summed(budgets: BudgetRecords) -> None:
    await told(budgets, *(a_row(NEW_YEAR + n * HOUR, nanodollars=10**n) for n in range(4)))

    async def between(since: float, until: float) -> int:
        found = await budgets.usage(
            "acme", by="tenant", since=NEW_YEAR + since, until=NEW_YEAR + until
        )
        return sum(total.nanodollars for total in found)

    assert await between(HOUR, 3 * HOUR) == 110
    assert await between(1.5 * HOUR, 2.5 * HOUR) == 110
    assert await between(HOUR, 2 * HOUR + 0.1) == 110
    assert await between(0, 4 * HOUR) == 1111
    assert await between(4 * HOUR, 9 * HOUR) == 0


async def test_a_name_that_cannot_be_stored_does_not_stop_the_report(
    budgets: BudgetRecords,
) -> None:
    await told(budgets, a_row(user="a\x00\ud800b"))
    assert await sums(budgets, "user") == [("a\ufffd\ufffdb", 7)]
