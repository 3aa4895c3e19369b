"""What every implementation of `BudgetRecords` does alike: slices, reports and leases."""

from pathlib import Path

import msgspec
import pytest

from ragstone.domain.budget import Account, Pool, Spent
from ragstone.domain.errors import InvalidRequest, TooManyBudgets
from ragstone.domain.usage import Usage
from ragstone.ports import LEASE_ANSWER_SECONDS, BudgetRecords, BudgetStore
from ragstone.records import usage_rows
from ragstone.records.engine import sqlite_url
from ragstone.records.sql_records import SqlRecords
from tests.clock import VirtualClock
from tests.records.budget_samples import (
    DAY,
    HOUR,
    NEW_YEAR,
    a_budget,
    a_report,
    a_row,
    a_want,
    an_account,
)

LEASE = 30.0


async def given(store: BudgetStore, *wants: object, holder: str = "h1") -> list[int]:
    grants = await store.lease(holder, wants, seconds=LEASE)  # type: ignore[arg-type]
    return [grant.amount for grant in grants]


async def standing(budgets: BudgetRecords, tenant: str = "acme") -> list[tuple[int, int]]:
    """Settled and outstanding of each line."""
    return [(line.settled, line.outstanding) for line in await budgets.spent(tenant)]


async def test_a_slice_is_granted_until_nothing_is_left(budgets: BudgetRecords) -> None:
    await budgets.put_budget(a_budget(limit=25))
    assert await given(budgets, a_want()) == [10]
    assert await given(budgets, a_want(), holder="h2") == [10]
    (grant,) = await budgets.lease("h1", [a_want()], seconds=LEASE)
    assert (grant.account, grant.amount, grant.used, grant.cap) == (an_account(), 5, 25, 25)
    (nothing,) = await budgets.lease("h1", [a_want()], seconds=LEASE)
    assert (nothing.amount, nothing.used, nothing.cap) == (0, 25, 25)
    assert await standing(budgets) == [(0, 25)]


async def test_less_than_the_least_is_not_granted(budgets: BudgetRecords) -> None:
    await budgets.put_budget(a_budget(limit=25))
    assert await given(budgets, a_want(least=26, most=40)) == [0]
    assert await given(budgets, a_want(least=25, most=40)) == [25]


async def test_a_want_of_nothing_tells_how_the_account_stands(budgets: BudgetRecords) -> None:
    await budgets.put_budget(a_budget(limit=25))
    await given(budgets, a_want(most=4))
    (grant,) = await budgets.lease("h2", [a_want(least=0, most=0)], seconds=LEASE)
    assert (grant.amount, grant.used, grant.cap) == (0, 4, 25)


async def test_wants_are_answered_in_order_also_of_one_account(budgets: BudgetRecords) -> None:
    await budgets.put_budget(a_budget(limit=25))
    await budgets.put_budget(a_budget("bud_2", scope="user", name="*", limit=7))
    ann, bob = an_account("bud_2", "ann"), an_account("bud_2", "bob")
    wants = [a_want(bob), a_want(), a_want(ann), a_want(), a_want(), a_want()]
    assert await given(budgets, *wants) == [7, 10, 7, 10, 5, 0]


async def test_soft_and_hard_limit_are_counted_apart(budgets: BudgetRecords) -> None:
    await budgets.put_budget(a_budget(limit=5, hard_limit=8))
    hard = a_want(an_account(pool="hard"))
    assert await given(budgets, a_want(), hard, a_want(), hard) == [5, 8, 0, 0]
    await budgets.report(a_report(1, (an_account(pool="hard"), 6, 1)), seconds=LEASE)
    (line,) = await budgets.spent("acme")
    assert (line.settled, line.outstanding) == (0, 5)
    assert (line.hard_settled, line.hard_outstanding) == (6, 1)


async def test_a_budget_without_a_hard_limit_has_nothing_beyond(budgets: BudgetRecords) -> None:
    await budgets.put_budget(a_budget())
    assert await given(budgets, a_want(an_account(pool="hard"))) == [0]


async def test_unknown_and_foreign_budgets_grant_nothing(budgets: BudgetRecords) -> None:
    await budgets.put_budget(a_budget())
    unknown, foreign = a_want(an_account("bud_9")), a_want(tenant="evil")
    assert await given(budgets, unknown, foreign, a_want()) == [0, 0, 10]


async def test_settling_and_returning_come_out_of_the_slice(budgets: BudgetRecords) -> None:
    await budgets.put_budget(a_budget(limit=100))
    await given(budgets, a_want(most=50))
    await budgets.report(a_report(1, (an_account(), 20, 5)), seconds=LEASE)
    assert await standing(budgets) == [(20, 25)]
    await budgets.report(a_report(2, (an_account(), 25, 0)), seconds=LEASE)
    assert await standing(budgets) == [(45, 0)]


async def test_a_report_takes_effect_once(budgets: BudgetRecords) -> None:
    await budgets.put_budget(a_budget())
    await given(budgets, a_want(most=50))
    report = a_report(1, (an_account(), 20, 5), usage=(a_row(),))
    for _ in range(3):
        await budgets.report(report, seconds=LEASE)
    assert await standing(budgets) == [(20, 25)]
    await budgets.report(a_report(3, (an_account(), 1, 0)), seconds=LEASE)
    await budgets.report(a_report(2, (an_account(), 2, 0)), seconds=LEASE)
    assert await standing(budgets) == [(21, 24)]
    (total,) = await budgets.usage("acme", by="model", since=NEW_YEAR, until=NEW_YEAR + DAY)
    assert total.questions == 2


async def test_the_sequences_of_holders_are_their_own(budgets: BudgetRecords) -> None:
    await budgets.put_budget(a_budget())
    for holder in ("h1", "h2"):
        await given(budgets, a_want(), holder=holder)
        await budgets.report(a_report(1, (an_account(), 3, 0), holder=holder), seconds=LEASE)
    assert await standing(budgets) == [(6, 14)]


async def test_what_was_spent_beyond_the_slice_is_booked(budgets: BudgetRecords) -> None:
    await budgets.put_budget(a_budget(limit=20))
    await given(budgets, a_want(most=5))
    await given(budgets, a_want(most=10), holder="h2")
    await budgets.report(a_report(1, (an_account(), 30, 4)), seconds=LEASE)
    assert await standing(budgets) == [(30, 10)]
    assert await given(budgets, a_want()) == [0]


async def test_more_cannot_be_returned_than_is_held(budgets: BudgetRecords) -> None:
    await budgets.put_budget(a_budget())
    await given(budgets, a_want(most=10))
    await given(budgets, a_want(most=10), holder="h2")
    await budgets.report(a_report(1, (an_account(), 0, 999)), seconds=LEASE)
    assert await standing(budgets) == [(0, 10)]


async def test_less_than_nothing_cannot_be_reported(budgets: BudgetRecords) -> None:
    await budgets.put_budget(a_budget())
    await given(budgets, a_want(most=10))
    for of in ((an_account(), -1, 0), (an_account(), 0, -1)):
        with pytest.raises(InvalidRequest, match="less than nothing"):
            await budgets.report(a_report(1, (an_account(), 5, 0), of), seconds=LEASE)
    assert await standing(budgets) == [(0, 10)]


async def test_the_last_report_frees_what_is_left(budgets: BudgetRecords) -> None:
    await budgets.put_budget(a_budget())
    await budgets.put_budget(a_budget("bud_2", scope="key", name="key_1"))
    await given(budgets, a_want(), a_want(an_account("bud_2", "key_1")))
    last = a_report(1, (an_account(), 4, 0), last=True)
    for _ in range(2):
        await budgets.report(last, seconds=LEASE)
    assert await standing(budgets) == [(4, 0), (0, 0)]


async def test_a_holder_that_has_ended_gets_nothing(budgets: BudgetRecords) -> None:
    await budgets.put_budget(a_budget())
    await budgets.report(a_report(1, last=True), seconds=LEASE)
    assert await given(budgets, a_want()) == [0]
    assert await standing(budgets) == [(0, 0)]


async def test_spending_told_after_the_end_is_booked(budgets: BudgetRecords) -> None:
    await budgets.put_budget(a_budget())
    await given(budgets, a_want())
    await budgets.report(a_report(1, last=True), seconds=LEASE)
    await budgets.report(a_report(2, (an_account(), 4, 0)), seconds=LEASE)
    assert await standing(budgets) == [(4, 0)]
    assert await given(budgets, a_want()) == [0]


async def test_a_lease_asked_for_again_under_its_number_grants_once(
    budgets: BudgetRecords, clock: VirtualClock
) -> None:
    await budgets.put_budget(a_budget())
    wants = [a_want(), a_want(most=3)]
    first = await budgets.lease("h1", wants, seconds=LEASE, number=2**63 - 1)
    clock.advance(LEASE - 1)
    again = await budgets.lease("h1", wants, seconds=LEASE, number=2**63 - 1)
    assert again == first
    assert [grant.amount for grant in first] == [10, 3]
    assert await standing(budgets) == [(0, 13)]
    clock.advance(LEASE - 1)  # asking again prolonged the lease all the same
    assert await budgets.expire() == []
    other = await budgets.lease("h1", wants, seconds=LEASE, number=1)
    same_of_another = await budgets.lease("h2", wants, seconds=LEASE, number=1)
    assert sum(grant.amount for grant in (*other, *same_of_another)) == 26


async def test_what_was_freed_is_not_granted_again_under_its_number(
    budgets: BudgetRecords,
) -> None:
    await budgets.put_budget(a_budget())
    await budgets.lease("h1", [a_want()], seconds=LEASE, number=1)
    await budgets.report(a_report(1, last=True), seconds=LEASE)
    (grant,) = await budgets.lease("h1", [a_want()], seconds=LEASE, number=1)
    assert (grant.amount, grant.used) == (0, 0)


async def test_numbers_are_kept_for_a_while(budgets: BudgetRecords, clock: VirtualClock) -> None:
    await budgets.put_budget(a_budget())
    await budgets.lease("h1", [a_want()], seconds=LEASE, number=1)
    clock.advance(LEASE_ANSWER_SECONDS - 1)
    await budgets.lease("h1", [a_want()], seconds=LEASE, number=1)
    assert await standing(budgets) == [(0, 10)]


async def test_a_holder_that_was_not_heard_of_is_charged_in_full(
    budgets: BudgetRecords, clock: VirtualClock
) -> None:
    await budgets.put_budget(a_budget())
    await budgets.put_budget(a_budget("bud_2", scope="key", name="key_1"))
    await given(budgets, a_want(), a_want(an_account("bud_2", "key_1")))
    await given(budgets, a_want(), holder="h2")
    clock.advance(LEASE - 1)
    await budgets.lease("h2", [], seconds=LEASE)
    assert await budgets.expire() == []
    clock.advance(1)
    assert await budgets.expire() == ["h1"]
    assert await budgets.expire() == []
    assert await standing(budgets) == [(10, 10), (10, 0)]


async def test_a_report_prolongs_the_lease(budgets: BudgetRecords, clock: VirtualClock) -> None:
    await budgets.put_budget(a_budget())
    await given(budgets, a_want())
    clock.advance(LEASE - 1)
    await budgets.report(a_report(1), seconds=LEASE)
    clock.advance(LEASE - 1)
    assert await budgets.expire() == []


async def test_a_holder_that_lives_after_all_is_not_charged_twice(
    budgets: BudgetRecords, clock: VirtualClock
) -> None:
    await budgets.put_budget(a_budget())
    await given(budgets, a_want(most=50))
    clock.advance(LEASE)
    await budgets.expire()
    assert await standing(budgets) == [(50, 0)]
    await budgets.report(a_report(1, (an_account(), 20, 10)), seconds=LEASE)
    assert await standing(budgets) == [(40, 0)]
    assert await given(budgets, a_want(most=5)) == [5]
    await budgets.report(a_report(2, (an_account(), 21, 0)), seconds=LEASE)
    assert await standing(budgets) == [(41, 4)]
    await budgets.report(a_report(3, last=True), seconds=LEASE)
    assert await standing(budgets) == [(41, 0)]


async def test_the_end_of_a_holder_that_was_charged_frees_what_it_did_not_spend(
    budgets: BudgetRecords, clock: VirtualClock
) -> None:
    await budgets.put_budget(a_budget())
    await given(budgets, a_want(most=50))
    clock.advance(LEASE)
    await budgets.expire()
    await budgets.report(a_report(1, (an_account(), 12, 0), last=True), seconds=LEASE)
    assert await standing(budgets) == [(12, 0)]


async def test_a_lowered_cap_grants_nothing_more_until_there_is_room(
    budgets: BudgetRecords,
) -> None:
    await budgets.put_budget(a_budget(limit=100))
    await given(budgets, a_want(most=60))
    await budgets.put_budget(a_budget(limit=50))
    (grant,) = await budgets.lease("h2", [a_want()], seconds=LEASE)
    assert (grant.amount, grant.used, grant.cap) == (0, 60, 50)
    await budgets.report(a_report(1, (an_account(), 30, 25)), seconds=LEASE)
    assert await given(budgets, a_want(most=99), holder="h2") == [15]


async def test_a_deleted_budget_grants_nothing_and_hears_reports(budgets: BudgetRecords) -> None:
    await budgets.put_budget(a_budget())
    await given(budgets, a_want())
    assert not await budgets.delete_budget("evil", "bud_1")
    assert await budgets.delete_budget("acme", "bud_1")
    assert not await budgets.delete_budget("acme", "bud_1")
    assert not await budgets.delete_budget(None, "bud_1")
    assert await given(budgets, a_want()) == [0]
    await budgets.report(a_report(1, (an_account(), 5, 5), usage=(a_row(),)), seconds=LEASE)
    assert await budgets.spent("acme") == []
    (total,) = await budgets.usage("acme", by="tenant", since=NEW_YEAR, until=NEW_YEAR + 1)
    assert total.nanodollars == 7


async def test_reports_of_what_was_never_granted_are_booked(budgets: BudgetRecords) -> None:
    await budgets.put_budget(a_budget())
    await budgets.report(a_report(1, (an_account(), 5, 5)), seconds=LEASE)
    assert await standing(budgets) == [(5, 0)]


async def test_large_sums_stay_exact(budgets: BudgetRecords) -> None:
    million_dollars = 10**15
    await budgets.put_budget(a_budget(limit=million_dollars + 1))
    assert await given(budgets, a_want(most=2 * million_dollars)) == [million_dollars + 1]
    await budgets.report(a_report(1, (an_account(), million_dollars, 0)), seconds=LEASE)
    assert await standing(budgets) == [(million_dollars, 1)]


async def test_a_great_many_accounts_are_leased_and_reported_at_once(
    budgets: BudgetRecords,
) -> None:
    await budgets.put_budget(a_budget(scope="user", name="*", limit=10))
    accounts = [an_account(name=f"user-{n}") for n in range(1_200)]
    assert await given(budgets, *map(a_want, accounts)) == [10] * 1_200
    await budgets.report(a_report(1, *((one, 3, 1) for one in accounts)), seconds=LEASE)
    assert set(await standing(budgets)) == {(3, 6)}


async def test_a_budget_is_what_was_put(budgets: BudgetRecords) -> None:
    budget = a_budget(scope="application", name="shöp", hard_limit=120, period="month")
    assert await budgets.put_budget(budget) == budget
    assert await budgets.budgets("acme") == [budget]
    assert await budgets.budgets("evil") == []


async def test_a_budget_for_the_same_is_changed_and_keeps_its_id(budgets: BudgetRecords) -> None:
    first = await budgets.put_budget(a_budget(limit=100))
    await given(budgets, a_want())
    second = msgspec.structs.replace(
        a_budget("bud_2", limit=50, hard_limit=60), created_at=8.0, updated_at=9.0
    )
    changed = await budgets.put_budget(second)
    assert changed == msgspec.structs.replace(second, id=first.id, created_at=first.created_at)
    assert await budgets.budgets("acme") == [changed]
    assert await standing(budgets) == [(0, 10)]
    others = [
        a_budget("bud_3", period="month"),
        a_budget("bud_4", unit="tokens"),
        a_budget("bud_5", scope="user", name="ann"),
        a_budget("bud_6", tenant="other"),
    ]
    for other in others:
        assert await budgets.put_budget(other) == other
    assert len(await budgets.budgets("acme")) == 4


async def test_a_budget_counts_what_was_used_of_its_period_before_it_was_set(
    budgets: BudgetRecords, clock: VirtualClock
) -> None:
    clock.advance(40 * DAY + 5 * HOUR)
    today = NEW_YEAR + 40 * DAY
    embedding = msgspec.structs.replace(
        a_row(today + HOUR, model="embedder"), usage=Usage(embedding_tokens=9)
    )
    rows = (
        a_row(today - HOUR),  # of yesterday
        a_row(today),
        a_row(today + HOUR, user="bob", key_id="key_2", application="search"),
        a_row(today + HOUR, user="", key_id=""),
        a_row(today, tenant="other"),
        embedding,
    )
    await budgets.report(a_report(1, usage=rows), seconds=LEASE)
    for number, (of, expected) in enumerate(
        [
            ({}, {"": (28, 0)}),
            ({"hard_limit": 200, "unit": "nanodollars", "period": "month"}, {"": (28, 35)}),
            ({"unit": "tokens"}, {"": (42, 0)}),
            ({"scope": "user", "name": "*"}, {"ann": (14, 0), "bob": (7, 0)}),
            ({"scope": "user", "name": "ann", "hard_limit": 100}, {"ann": (7, 14)}),
            ({"scope": "key", "name": "key_2"}, {"key_2": (7, 0)}),
            ({"scope": "application", "name": "search"}, {"search": (7, 0)}),
            ({"scope": "user", "name": "zoe"}, {"zoe": (0, 0)}),
        ]
    ):
        made = await budgets.put_budget(a_budget(f"bud_{number}", **of))
        lines = [line for line in await budgets.spent("acme") if line.budget.id == made.id]
        assert {line.name: (line.settled, line.hard_settled) for line in lines} == expected, of


async def test_a_budget_that_is_removed_and_set_again_goes_on_counting(
    budgets: BudgetRecords,
) -> None:
    first = await budgets.put_budget(a_budget())
    await given(budgets, a_want(most=30))
    await budgets.report(
        a_report(1, (an_account(), 20, 0), usage=(a_row(nanodollars=20),)), seconds=LEASE
    )
    assert await budgets.delete_budget("acme", first.id)
    await budgets.report(a_report(2, usage=(a_row(nanodollars=15),)), seconds=LEASE)
    await budgets.put_budget(a_budget())
    assert await standing(budgets) == [(35, 10)]
    assert await given(budgets, a_want(most=100)) == [55]
    await budgets.put_budget(a_budget(limit=200))
    assert await standing(budgets) == [(35, 65)]


async def test_what_was_used_is_counted_when_counting_begins_and_not_with_each_limit(
    budgets: BudgetRecords,
) -> None:
    await budgets.put_budget(a_budget())
    unbooked = a_report(1, usage=(a_row(nanodollars=15),))
    await budgets.report(unbooked, seconds=LEASE)
    counted = []
    for limit, hard_limit in [(90, None), (90, 200), (80, 100), (80, None), (70, 100)]:
        await budgets.put_budget(a_budget(limit=limit, hard_limit=hard_limit))
        (line,) = await budgets.spent("acme")
        counted.append((line.settled, line.hard_settled))
        more = a_report(len(counted) + 1, usage=(a_row(nanodollars=10),))
        await budgets.report(more, seconds=LEASE)
    assert counted == [(0, 0), (25, 25), (25, 25), (45, 25), (55, 55)]


async def test_a_limit_that_changes_reads_no_usage(
    sqlite_file: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = SqlRecords.open(sqlite_url(sqlite_file), clock)
    await records.budgets.put_budget(a_budget())
    monkeypatch.setattr(usage_rows, "paid_by_name", None)
    assert (await records.budgets.put_budget(a_budget(limit=70))).limit == 70
    await records.close()


@pytest.mark.parametrize(("spent", "back"), [(0, 900), (300, 600), (900, 0), (0, 0)])
@pytest.mark.parametrize("pool", ["limit", "hard"])
async def test_what_was_used_counts_beside_what_a_silent_holder_is_given_back(
    budgets: BudgetRecords, clock: VirtualClock, pool: Pool, spent: int, back: int
) -> None:
    account = an_account(pool=pool)
    budget = a_budget(limit=1_000, hard_limit=1_000 if pool == "hard" else None)
    await budgets.put_budget(budget)
    await given(budgets, a_want(account, most=900))
    clock.advance(LEASE)
    assert await budgets.expire() == ["h1"]
    assert await budgets.delete_budget("acme", "bud_1")
    used = a_report(1, holder="h2", usage=(a_row(nanodollars=950),))
    await budgets.report(used, seconds=LEASE)
    await budgets.put_budget(budget)
    told = (a_row(nanodollars=spent),) if spent else ()
    await budgets.report(a_report(1, (account, spent, back), usage=told, last=True), seconds=LEASE)
    (line,) = await budgets.spent("acme")
    assert (line.hard_settled if pool == "hard" else line.settled) == 950 + spent
    assert await given(budgets, a_want(account, most=100), holder="h2") == [50 if not spent else 0]


async def test_each_name_that_spends_has_a_line(budgets: BudgetRecords) -> None:
    await budgets.put_budget(a_budget(scope="user", name="*"))
    await budgets.put_budget(a_budget("bud_2", scope="key", name="key_1"))
    (each, key) = await budgets.spent("acme")
    assert (each.name, key.name) == ("", "key_1")
    wants = [a_want(an_account(name=name)) for name in ("bob", "ann")]
    await given(budgets, *wants)
    lines = await budgets.spent("acme")
    assert [(line.name, line.outstanding) for line in lines] == [
        ("ann", 10),
        ("bob", 10),
        ("key_1", 0),
    ]


async def test_lines_come_in_pages(budgets: BudgetRecords) -> None:
    for number, created_at in enumerate([3.0, 1.0, 2.0, 2.0]):
        of_each = a_budget(
            f"bud_{number}", tenant=f"t{number % 2}", scope="user", name="*",
            period="month" if number > 1 else "day", hard_limit=100,
        )  # fmt: skip
        await budgets.put_budget(msgspec.structs.replace(of_each, created_at=created_at))
    await budgets.put_budget(a_budget("bud_9", tenant="t1"))
    names = ["ann", "Bob", "zoë", "\U0001f600", "c/d"]
    pools: list[Pool] = ["limit", "hard"]
    for budget_id, tenant, most in (("bud_1", "t1", 5), ("bud_2", "t0", 3)):
        for name in names[:most]:
            for pool in pools[: 1 + len(name) % 2]:
                account = an_account(budget_id, name=name, pool=pool)
                assert await given(budgets, a_want(account, tenant=tenant)) == [10]
    for of in ("t1", None):
        whole = await budgets.spent(of)
        assert whole == sorted(whole, key=lambda line: line.place)
        assert len(whole) == (7 if of else 11)
        assert await budgets.spent(of, after=whole[-1].place) == []
        for limit in range(1, len(whole) + 2):
            told: list[Spent] = []
            while page := await budgets.spent(
                of, limit=limit, after=told[-1].place if told else None
            ):
                assert len(page) <= limit
                told += page
            assert told == whole
    whole = await budgets.spent(None)
    gone = next(number for number, line in enumerate(whole) if line.name == "ann")
    assert await budgets.delete_budget(None, whole[gone].budget.id)
    left = [line for line in whole[gone:] if line.budget.id != whole[gone].budget.id]
    assert await budgets.spent(None, limit=100, after=whole[gone].place) == left


async def test_a_new_period_begins_at_nothing(budgets: BudgetRecords, clock: VirtualClock) -> None:
    await budgets.put_budget(a_budget())
    await budgets.put_budget(a_budget("bud_2", period="month"))
    await given(budgets, a_want(), a_want(an_account("bud_2")))
    clock.advance(DAY)
    day, month = await budgets.spent("acme")
    assert (day.period_start, day.period_end) == (NEW_YEAR + DAY, NEW_YEAR + 2 * DAY)
    assert (month.period_start, month.period_end) == (NEW_YEAR, NEW_YEAR + 31 * DAY)
    assert (day.outstanding, month.outstanding) == (0, 10)
    tomorrow = Account("bud_1", "", NEW_YEAR + DAY, "limit")
    assert await given(budgets, a_want(tomorrow, most=100)) == [100]


@pytest.mark.parametrize(("days", "settled"), [(100, 1), (101, 0)])
async def test_what_is_long_over_is_forgotten(
    database_url: str, clock: VirtualClock, days: int, settled: int
) -> None:
    """Once it is followed by a hundred days with usage."""
    records = SqlRecords.open(database_url, clock)
    try:
        await records.budgets.put_budget(a_budget())
        usage = tuple(a_row(NEW_YEAR + day * DAY) for day in range(days))
        report = a_report(1, (an_account(), 1, 0), usage=usage, last=True)
        await records.budgets.report(report, seconds=1)
        clock.advance(120 * DAY)
        await records.budgets.expire()
        clock.set_time(NEW_YEAR)
        assert await standing(records.budgets) == [(settled, 0)]
        await records.budgets.report(report, seconds=1)  # a holder that is known counts once
        assert await standing(records.budgets) == [(1, 0)]
    finally:
        await records.close()


@pytest.mark.parametrize("days_ahead", [101, 4_000])
async def test_a_clock_that_is_ahead_makes_nothing_forget(
    database_url: str, clock: VirtualClock, days_ahead: int
) -> None:
    records = SqlRecords.open(database_url, clock)
    try:
        await records.budgets.put_budget(a_budget(limit=100))
        usage = tuple(a_row(NEW_YEAR - day * DAY) for day in range(300))
        report = a_report(1, (an_account(), 60, 0), usage=usage)
        await given(records.budgets, a_want(most=70))
        await records.budgets.report(report, seconds=LEASE)
        clock.advance(2 * HOUR)
        clock.set_time(NEW_YEAR + days_ahead * DAY)
        await records.budgets.report(
            a_report(1, holder="h2", usage=(a_row(NEW_YEAR + days_ahead * DAY),)), seconds=LEASE
        )
        assert await records.budgets.expire() == ["h1"]
        clock.set_time(NEW_YEAR + 3 * HOUR)
        assert await standing(records.budgets) == [(70, 0)]
        await records.budgets.report(report, seconds=LEASE)
        await records.budgets.report(a_report(2, (an_account(), 0, 10)), seconds=LEASE)
        assert await standing(records.budgets) == [(60, 0)]
    finally:
        await records.close()


async def test_budgets_of_all_tenants_are_seen_and_removed_where_none_is_named(
    budgets: BudgetRecords,
) -> None:
    for id_, tenant in (("bud_1", "b"), ("bud_2", "a")):
        await budgets.put_budget(a_budget(id_, tenant=tenant))
    assert [line.budget.tenant for line in await budgets.spent(None)] == ["a", "b"]
    assert await budgets.delete_budget(None, "bud_1")
    assert [line.budget.tenant for line in await budgets.spent(None)] == ["a"]


async def test_a_tenant_has_no_more_budgets_than_it_may_have(budgets: BudgetRecords) -> None:
    for name in ("ann", "bob"):
        await budgets.put_budget(a_budget(f"bud_{name}", scope="user", name=name), most=2)
    with pytest.raises(TooManyBudgets, match="has 2 budgets, and may have 2"):
        await budgets.put_budget(a_budget("bud_eve", scope="user", name="eve"), most=2)
    changed = a_budget("bud_bob", scope="user", name="bob", limit=3)
    assert (await budgets.put_budget(changed, most=2)).limit == 3
    await budgets.put_budget(a_budget("bud_3", tenant="other"), most=2)
    assert await budgets.delete_budget("acme", "bud_ann")
    await budgets.put_budget(a_budget("bud_eve", scope="user", name="eve"), most=2)


@pytest.mark.parametrize(("hour", "summed_again"), [(5, 5), (6, 5), (2, 0), (-1, 5)])
async def test_what_is_reported_while_a_budget_is_being_set_counts(
    database_url: str,
    clock: VirtualClock,
    monkeypatch: pytest.MonkeyPatch,
    hour: int,
    summed_again: int,
) -> None:
    """The hours that are over are summed before the transaction, and once more in it only where
    one of them has changed meanwhile."""
    clock.advance(40 * DAY + 5 * HOUR + 600)
    today = NEW_YEAR + 40 * DAY
    records = SqlRecords.open(database_url, clock)
    budgets, read, paid, summed = records.budgets, records._transactions.read, usage_rows._paid, []

    async def read_then_report(query):
        found = await read(query)
        await budgets.report(a_report(2, usage=(a_row(today + hour * HOUR),)), seconds=LEASE)
        return found

    def noted(connection, budget, *, first, end):
        summed.append(((first - today) // HOUR, (end - today) // HOUR))
        return paid(connection, budget, first=first, end=end)

    try:
        rows = tuple(a_row(today + start * HOUR) for start in (0, 2, 5))
        await budgets.report(a_report(1, usage=rows), seconds=LEASE)
        with monkeypatch.context() as patched:
            patched.setattr(budgets._transactions, "read", read_then_report)
            patched.setattr(usage_rows, "_paid", noted)
            await budgets.put_budget(a_budget(scope="user", name="*", limit=50))
        assert summed == [(0, 5), (summed_again, 24)]
        [line] = await budgets.spent("acme")
        assert line.settled == (21 if hour == -1 else 28)
    finally:
        await records.close()
