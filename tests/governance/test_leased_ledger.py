"""What a ledger promises to those who use it."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from ragstone.domain.budget import (
    EACH,
    Amount,
    Budget,
    Grant,
    LedgerReport,
    Spender,
    UsageRow,
    Want,
)
from ragstone.domain.errors import BudgetExhausted, InvalidRequest, RecordsUnavailable
from ragstone.governance.ledger import LeasedLedger, LedgerSettings, Upkeep
from ragstone.governance.ledger.recovery import recover_journals
from ragstone.records.memory_budgets import MemoryBudgets
from tests.clock import VirtualClock
from tests.conftest import Logged
from tests.virtual_loop import run, running_clock

ANNA = Spender(tenant="acme", key_id="key_1", user="anna", application="shop")
BERT = Spender(tenant="acme", key_id="key_1", user="bert", application="shop")


def dollars(amount: int) -> Amount:
    return Amount(nanodollars=amount)


def budget(limit: int, **other: object) -> Budget:
    plain = {"id": "b1", "tenant": "acme", "scope": "tenant", "name": "", "period": "day"}
    return msgspec.convert(
        {**plain, "unit": "nanodollars", "limit": limit, **other},
        Budget,
    )


def row(spender: Spender, nanodollars: int) -> UsageRow:
    return UsageRow(
        hour=0,
        tenant=spender.tenant,
        application=spender.application,
        model="m",
        key_id=spender.key_id or "",
        user=spender.user or "",
        questions=1,
        nanodollars=nanodollars,
    )


class Store(MemoryBudgets):
    """Counts calls, and can be away."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.away = False
        self.loses_answers = False
        self.refused: str | None = None
        """The holder whose reports are."""
        self.trip_seconds = 0.001
        self.leases = 0
        self.reads = 0

    async def budgets(self, tenant: str) -> list[Budget]:
        self.reads += 1
        await self._trip()
        return await super().budgets(tenant)

    async def lease(
        self, holder: str, wants: Sequence[Want], *, seconds: float, number: int | None = None
    ) -> list[Grant]:
        self.leases += 1
        await self._trip()
        grants = await super().lease(holder, wants, seconds=seconds, number=number)
        await self._way_back()
        return grants

    async def report(self, report: LedgerReport, *, seconds: float) -> None:
        await self._trip()
        if report.holder == self.refused:
            raise InvalidRequest("That is no report.")
        await super().report(report, seconds=seconds)
        await self._way_back()

    async def _trip(self) -> None:
        await asyncio.sleep(self.trip_seconds)
        if self.away:
            raise RecordsUnavailable("The records are away.")

    async def _way_back(self) -> None:
        await asyncio.sleep(0.001)
        if self.loses_answers:
            raise RecordsUnavailable("The answer was lost.")

    async def settled(self, budget_id: str = "b1", name: str | None = None) -> int:
        return sum(
            line.settled
            for line in await self.spent("acme")
            if line.budget.id == budget_id and name in (None, line.name)
        )

    async def outstanding(self) -> int:
        return sum(line.outstanding for line in await self.spent("acme"))


class Site:
    """A store and ledgers over it, on virtual time."""

    def __init__(self, *, processes: int = 1, journals: Path | None = None) -> None:
        self.clock = running_clock()
        self.store = Store(self.clock)
        self.settings = LedgerSettings(processes=processes, journals=journals)
        self.overruns = 0
        self._names: Callable[[], int] = itertools.count(1).__next__
        self.upkeeps: list[Upkeep] = []

    def ledger(self, *, upkeep: bool = True) -> LeasedLedger:
        ledger = LeasedLedger(
            self.store,
            self.clock,
            self.settings,
            new_name=lambda: f"holder_{self._names()}",
            on_overrun=self._overrun,
        )
        if upkeep:
            self.upkeeps.append(Upkeep(ledger, expires=True))
            self.upkeeps[-1].start()
        return ledger

    async def lower(self, ledger: LeasedLedger, limit: Budget) -> None:
        """Sets the limit, and waits on a process that is asked until it has heard of it."""
        await self.store.put_budget(limit)
        for _ in range(20):
            await ledger.standing(ANNA)
            await asyncio.sleep(0.1)

    def _overrun(self) -> None:
        self.overruns += 1

    async def end(self, *ledgers: LeasedLedger) -> None:
        for upkeep in self.upkeeps:
            await upkeep.close()
        for ledger in ledgers:
            await ledger.close()


def test_without_budgets_nothing_is_leased() -> None:
    async def scenario() -> None:
        site = Site()
        ledger = site.ledger()
        for _ in range(10):
            reservation = await ledger.reserve(ANNA, dollars(5))
            assert await ledger.standing(ANNA) == "normal"
            ledger.settle(reservation, dollars(4), [row(ANNA, 4)])
        await site.end(ledger)
        assert (site.store.leases, site.store.reads) == (0, 1)
        [total] = await site.store.usage("acme", by="user", since=0, until=site.clock.time())
        assert (total.by, total.questions, total.nanodollars) == ("anna", 10, 40)

    run(scenario())


def test_what_is_spent_is_settled_and_the_rest_given_back() -> None:
    async def scenario() -> None:
        site = Site()
        await site.store.put_budget(budget(10_000))
        ledger = site.ledger()
        for _ in range(5):
            reservation = await ledger.reserve(ANNA, dollars(100))
            ledger.settle(reservation, dollars(30), [row(ANNA, 30)])
            ledger.settle(reservation, dollars(30), [row(ANNA, 30)])
        assert ledger.open_reservations == 0
        await asyncio.sleep(2)
        assert await site.store.settled() == 150
        await site.end(ledger)
        assert (await site.store.settled(), await site.store.outstanding()) == (150, 0)
        [total] = await site.store.usage("acme", by="tenant", since=0, until=site.clock.time())
        assert total.nanodollars == 150

    run(scenario())


def test_reserving_within_a_slice_asks_nobody() -> None:
    async def scenario() -> None:
        site = Site()
        await site.store.put_budget(budget(1_000_000))
        ledger = site.ledger()
        ledger.settle(await ledger.reserve(ANNA, dollars(10)), dollars(10), [])
        before = site.store.leases
        for _ in range(5):
            reserving = ledger.reserve(ANNA, dollars(10))
            with pytest.raises(StopIteration):  # it never waits
                reserving.send(None)
        assert site.store.leases == before
        await site.end(ledger)

    run(scenario())


def test_beyond_the_limit_it_is_refused_in_words() -> None:
    async def scenario() -> None:
        site = Site()
        await site.store.put_budget(budget(1_500_000_000, scope="user", name=EACH, period="month"))
        ledger = site.ledger()
        await ledger.reserve(ANNA, dollars(1_000_000_000))
        with pytest.raises(BudgetExhausted) as refusal:
            await ledger.reserve(ANNA, dollars(600_000_000))
        error = refusal.value
        assert error.message == (
            "The budget of $1.50 a month for the user 'anna' (each has its own) "
            "has too little left for the most that this may cost."
        )
        assert "2026-02-01 at 00:00 UTC" in str(error)
        assert error.retry_after == pytest.approx(31 * 86_400, abs=5)
        assert error.scope == "user"
        await ledger.reserve(BERT, dollars(600_000_000))  # another user's is another budget
        await site.end(ledger)

    run(scenario())


def test_all_accounts_or_none() -> None:
    async def scenario() -> None:
        site = Site()
        await site.store.put_budget(budget(1_000))
        await site.store.put_budget(budget(50, id="b2", unit="tokens", scope="user", name="anna"))
        ledger = site.ledger()
        with pytest.raises(BudgetExhausted, match="50 tokens a day for the user 'anna'"):
            await ledger.reserve(ANNA, Amount(nanodollars=1_000, tokens=60))
        await ledger.reserve(BERT, dollars(1_000))  # nothing was held of it
        await site.end(ledger)

    run(scenario())


def test_a_flood_of_refused_questions_is_no_flood_of_calls() -> None:
    async def scenario() -> None:
        site = Site()
        await site.store.put_budget(budget(100))
        ledger = site.ledger()
        held = await ledger.reserve(ANNA, dollars(100))
        site.store.leases = 0
        for _ in range(1_000):
            with pytest.raises(BudgetExhausted):
                await ledger.reserve(ANNA, dollars(10))
            await asyncio.sleep(0.001)
        assert site.store.leases < 15
        ledger.settle(held, dollars(20), [])  # what was held and not spent is there again
        ledger.settle(await ledger.reserve(ANNA, dollars(80)), dollars(80), [])
        await site.end(ledger)
        assert await site.store.settled() == 100

    run(scenario())


def test_many_at_once_make_one_call() -> None:
    async def scenario() -> None:
        site = Site()
        await site.store.put_budget(budget(100_000))
        ledger = site.ledger(upkeep=False)
        await asyncio.gather(*(ledger.reserve(ANNA, dollars(10)) for _ in range(200)))
        assert site.store.leases <= 2
        await site.end(ledger)

    run(scenario())


def test_standing_follows_what_all_processes_spend() -> None:
    async def scenario() -> None:
        site = Site(processes=2)
        await site.store.put_budget(budget(1_000))
        one, other = site.ledger(), site.ledger()
        assert await other.standing(ANNA) == "normal"
        one.settle(await one.reserve(ANNA, dollars(850)), dollars(850), [])
        await asyncio.sleep(1.5)
        for _ in range(3):  # looked at again after each report
            await other.standing(ANNA)
            await asyncio.sleep(1)
        assert await other.standing(ANNA) == "economy"
        one.settle(await one.reserve(ANNA, dollars(150)), dollars(150), [])
        with pytest.raises(BudgetExhausted):
            await other.reserve(ANNA, dollars(1))
        assert await other.standing(ANNA) == "exhausted"
        await site.end(one, other)

    run(scenario())


def test_what_is_too_little_for_a_dear_model_is_not_spent_for_a_cheap_one() -> None:
    async def scenario() -> None:
        site = Site()
        await site.store.put_budget(budget(1_000))
        ledger = site.ledger()
        ledger.settle(await ledger.reserve(ANNA, dollars(600)), dollars(600), [])
        with pytest.raises(BudgetExhausted):
            await ledger.reserve(ANNA, dollars(500))
        ledger.settle(await ledger.reserve(ANNA, dollars(30)), dollars(30), [])
        assert await ledger.standing(ANNA) == "economy"
        ledger.settle(await ledger.reserve(ANNA, dollars(355)), dollars(355), [])
        with pytest.raises(BudgetExhausted):
            await ledger.reserve(ANNA, dollars(30))
        assert await ledger.standing(ANNA) == "exhausted"
        await site.end(ledger)

    run(scenario())


def test_beyond_the_limit_other_work_goes_on_up_to_the_hard_limit() -> None:
    async def scenario() -> None:
        site = Site()
        await site.store.put_budget(budget(100, hard_limit=120))
        ledger = site.ledger()
        ledger.settle(await ledger.reserve(ANNA, dollars(100)), dollars(100), [])
        with pytest.raises(BudgetExhausted):
            await ledger.reserve(ANNA, dollars(10))
        assert await ledger.standing(ANNA) == "exhausted"
        embedding = await ledger.reserve(ANNA, dollars(20), model=False)
        ledger.settle(embedding, dollars(20), [])
        with pytest.raises(BudgetExhausted, match="too little left"):
            await ledger.reserve(ANNA, dollars(1), model=False)
        with pytest.raises(BudgetExhausted):
            await ledger.standing(ANNA)
        await site.end(ledger)

    run(scenario())


def test_a_budget_that_was_raised_shows_within_seconds() -> None:
    async def scenario() -> None:
        site = Site()
        await site.store.put_budget(budget(100))
        ledger = site.ledger()
        await ledger.reserve(ANNA, dollars(100))
        with pytest.raises(BudgetExhausted):
            await ledger.reserve(ANNA, dollars(100))
        await site.store.put_budget(budget(200))
        await asyncio.sleep(2)
        await ledger.standing(ANNA)
        await asyncio.sleep(0.1)
        assert await ledger.standing(ANNA) == "normal"
        await ledger.reserve(ANNA, dollars(100))
        await site.end(ledger)

    run(scenario())


@pytest.mark.parametrize(("pause", "within"), [(0.01, 1.1), (0.5, 1.6), (3.0, 5.0)])
def test_a_lowered_limit_is_kept_to_within_seconds(pause: float, within: float) -> None:
    """One under load, and five where questions are rare: what was leased before is recalled."""

    async def scenario() -> None:
        site = Site(processes=2)
        await site.store.put_budget(budget(10_000_000))
        ledgers = [site.ledger() for _ in range(2)]

        async def ask(ledger: LeasedLedger) -> int:
            with contextlib.suppress(BudgetExhausted):
                reservation = await ledger.reserve(ANNA, dollars(100))
                ledger.settle(reservation, dollars(100), [row(ANNA, 100)])
                return 100
            return 0

        async def asked(seconds: float, pause: float) -> int:
            spent, end = 0, site.clock.monotonic() + seconds
            while site.clock.monotonic() < end:
                for ledger in ledgers:
                    spent += await ask(ledger)
                await asyncio.sleep(pause)
            return spent

        spent = await asked(4, 0.01)
        assert await site.store.outstanding() > 10_000
        await site.store.put_budget(budget(spent // 2))
        spent += await asked(within, pause)
        assert await asked(30, pause) == 0
        assert await site.store.settled() == spent
        await site.end(*ledgers)
        assert await site.store.outstanding() == 0

    run(scenario())


def test_a_lowered_limit_takes_back_what_is_leased_of_it_and_nothing_else() -> None:
    async def scenario() -> None:
        site = Site()
        other = msgspec.structs.replace(ANNA, tenant="other")
        await site.store.put_budget(budget(10_000))
        await site.store.put_budget(budget(10_000, id="b2", tenant="other"))
        ledger = site.ledger()
        running = await ledger.reserve(ANNA, dollars(100))
        ledger.settle(await ledger.reserve(other, dollars(100)), dollars(30), [row(other, 30)])
        await asyncio.sleep(2)
        [before] = await site.store.spent("other")
        assert before.outstanding > 0
        assert await site.store.outstanding() > 100
        await site.lower(ledger, budget(150))
        assert await site.store.outstanding() == 100
        assert await site.store.spent("other") == [before]
        ledger.settle(running, dollars(60), [row(ANNA, 60)])
        await asyncio.sleep(1.5)
        assert (await site.store.settled(), await site.store.outstanding()) == (60, 0)
        await site.end(ledger)

    run(scenario())


def test_a_provider_that_counts_more_under_a_lowered_limit_is_booked_once() -> None:
    """What it counted beyond is taken from what the process leased since."""

    async def scenario() -> None:
        site = Site()
        await site.store.put_budget(budget(10_000))
        ledger = site.ledger()
        running = await ledger.reserve(ANNA, dollars(100))
        await site.lower(ledger, budget(1_000))
        second = await ledger.reserve(ANNA, dollars(200))
        ledger.settle(running, dollars(250), [row(ANNA, 250)])
        await asyncio.sleep(1.5)
        assert await site.store.settled() == 250
        ledger.settle(second, dollars(200), [row(ANNA, 200)])
        await site.end(ledger)
        assert (await site.store.settled(), await site.store.outstanding()) == (450, 0)

    run(scenario())


def test_what_is_left_under_a_lowered_limit_is_still_spent() -> None:
    async def scenario() -> None:
        site = Site()
        await site.store.put_budget(budget(10_000))
        ledger = site.ledger()
        running = await ledger.reserve(ANNA, dollars(100))
        await site.store.put_budget(budget(150))
        await asyncio.sleep(3)
        assert await ledger.standing(ANNA) != "exhausted"
        second = await ledger.reserve(ANNA, dollars(50))
        with pytest.raises(BudgetExhausted):
            await ledger.reserve(ANNA, dollars(1))
        for reservation, cost in ((running, 60), (second, 50)):
            ledger.settle(reservation, dollars(cost), [row(ANNA, cost)])
        third = await ledger.reserve(ANNA, dollars(40))
        ledger.settle(third, dollars(40), [row(ANNA, 40)])
        await site.end(ledger)
        assert await site.store.settled() == 150
        assert await site.store.outstanding() == 0

    run(scenario())


def test_what_a_reservation_frees_under_a_lowered_limit_is_asked_for_anew() -> None:
    async def scenario() -> None:
        site = Site()
        await site.store.put_budget(budget(100))
        ledger = site.ledger()
        running = await ledger.reserve(ANNA, dollars(100))
        await site.lower(ledger, budget(50))
        ledger.settle(running, dollars(10), [row(ANNA, 10)])
        with pytest.raises(BudgetExhausted):
            await ledger.reserve(ANNA, dollars(60))
        ledger.settle(await ledger.reserve(ANNA, dollars(40)), dollars(40), [row(ANNA, 40)])
        await site.end(ledger)
        assert (await site.store.settled(), await site.store.outstanding()) == (50, 0)

    run(scenario())


def test_what_is_held_under_a_lowered_limit_is_shared_as_before() -> None:
    async def scenario() -> None:
        site = Site()
        await site.store.put_budget(budget(10_000))
        ledger = site.ledger()
        running = await ledger.reserve(ANNA, dollars(100))
        await site.lower(ledger, budget(100))
        assert await ledger.join(running, BERT)
        assert await site.store.outstanding() == 100
        ledger.settle(running, dollars(71), [row(ANNA, 36), row(BERT, 35)])
        await site.end(ledger)
        assert (await site.store.settled(), await site.store.outstanding()) == (71, 0)

    run(scenario())


def test_a_new_day_is_a_new_account() -> None:
    async def scenario() -> None:
        site = Site()
        await site.store.put_budget(budget(100))
        ledger = site.ledger()
        overnight = await ledger.reserve(ANNA, dollars(100))
        await asyncio.sleep(86_401)
        reservation = await ledger.reserve(ANNA, dollars(100))
        ledger.settle(overnight, dollars(70), [])
        ledger.settle(reservation, dollars(60), [])
        await site.end(ledger)
        assert await site.store.settled() == 60

    run(scenario())


def test_those_who_join_share_the_cost() -> None:
    async def scenario() -> None:
        site = Site()
        await site.store.put_budget(budget(1_000))
        await site.store.put_budget(budget(500, id="b2", scope="user", name=EACH))
        ledger = site.ledger()
        reservation = await ledger.reserve(ANNA, dollars(100))
        assert await ledger.join(reservation, BERT)
        ledger.settle(reservation, dollars(71), [row(ANNA, 36), row(BERT, 35)])
        assert not await ledger.join(reservation, BERT)
        await site.end(ledger)
        assert await site.store.settled("b1") == 71
        assert await site.store.settled("b2", "anna") == 36
        assert await site.store.settled("b2", "bert") == 35

    run(scenario())


def test_who_cannot_pay_cannot_join() -> None:
    async def scenario() -> None:
        site = Site()
        await site.store.put_budget(budget(50, id="b2", scope="user", name="bert"))
        ledger = site.ledger()
        reservation = await ledger.reserve(ANNA, dollars(100))
        assert not await ledger.join(reservation, BERT)
        ledger.settle(reservation, dollars(80), [])
        await site.end(ledger)
        assert await site.store.settled("b2") == 0

    run(scenario())


def test_within_its_slices_it_goes_on_without_the_records_until_the_lease_may_be_over() -> None:
    async def scenario() -> None:
        site = Site()
        await site.store.put_budget(budget(1_000_000))
        ledger = site.ledger()
        ledger.settle(await ledger.reserve(ANNA, dollars(10)), dollars(10), [])
        site.store.away = True
        for _ in range(20):
            await asyncio.sleep(1)
            ledger.settle(await ledger.reserve(ANNA, dollars(1)), dollars(1), [])
        await asyncio.sleep(6)
        with pytest.raises(RecordsUnavailable):
            await ledger.reserve(ANNA, dollars(1))
        site.store.away = False
        await asyncio.sleep(1)
        ledger.settle(await ledger.reserve(ANNA, dollars(1)), dollars(1), [])
        await site.end(ledger)
        assert await site.store.settled() == 31

    run(scenario())


def test_nobody_waits_long_for_records_that_hang() -> None:
    async def scenario() -> None:
        site = Site()
        await site.store.put_budget(budget(1_000))
        ledger = site.ledger()
        ledger.settle(await ledger.reserve(ANNA, dollars(10)), dollars(10), [])
        site.store.trip_seconds = 60.0
        times = []
        for _ in range(3):
            began = site.clock.monotonic()
            with pytest.raises(RecordsUnavailable, match="in time"):
                await ledger.reserve(ANNA, dollars(900))
            times.append(site.clock.monotonic() - began)
        assert times[0] == pytest.approx(1.0, abs=0.1)
        assert max(times[1:]) < 0.1
        site.store.trip_seconds = 0.001
        await asyncio.sleep(61)
        ledger.settle(await ledger.reserve(ANNA, dollars(900)), dollars(900), [])
        await site.end(ledger)
        assert (await site.store.settled(), await site.store.outstanding()) == (910, 0)

    run(scenario())


def test_a_book_that_is_refused_for_good_does_not_let_the_lease_of_the_present_one_run_out() -> (
    None
):
    async def scenario() -> None:
        site = Site()
        await site.store.put_budget(budget(10_000))
        ledger = site.ledger()
        ledger.settle(await ledger.reserve(ANNA, dollars(100)), dollars(40), [row(ANNA, 40)])
        site.store.refused = ledger.books.present.holder
        ledger.rotate()
        held = await ledger.reserve(ANNA, dollars(100))
        await asyncio.sleep(2 * site.settings.lease_seconds)
        assert len(list(ledger.books)) == 2
        assert ledger.books.is_sure()
        with pytest.raises(InvalidRequest):
            await site.upkeeps[0].tick()
        ledger.settle(held, dollars(30), [row(ANNA, 30)])
        site.store.refused = None
        await site.end(ledger)
        assert (await site.store.settled(), await site.store.outstanding()) == (70, 0)

    run(scenario())


def test_a_book_that_is_refused_keeps_no_other_from_being_closed(
    tmp_path: Path, logged: Logged
) -> None:
    async def scenario() -> None:
        site = Site(journals=tmp_path)
        await site.store.put_budget(budget(10_000))
        ledger = site.ledger(upkeep=False)
        ledger.settle(await ledger.reserve(ANNA, dollars(100)), dollars(40), [row(ANNA, 40)])
        refused = site.store.refused = ledger.books.present.holder
        ledger.rotate()
        ledger.settle(await ledger.reserve(ANNA, dollars(100)), dollars(30), [row(ANNA, 30)])
        lines = logged("ragstone.governance.ledger.books._log")
        await ledger.close()
        assert await site.store.settled() == 30
        assert [path.stem for path in tmp_path.iterdir()] == [refused]
        assert [line["holder"] for line in lines] == [refused]
        site.store.refused = None
        assert await recover_journals(tmp_path, site.store, seconds=30) == 1
        assert (await site.store.settled(), await site.store.outstanding()) == (70, 0)

    run(scenario())


def test_who_still_asks_while_the_ledger_closes_does_not_keep_it_from_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        site = Site()
        await site.store.put_budget(budget(10_000))
        ledger = site.ledger(upkeep=False)
        await ledger.reserve(ANNA, dollars(100))
        ledger.rotate()
        calls = 0

        async def lease(*asked: object, **how: object) -> list[Grant]:
            nonlocal calls
            calls += 1
            return await asyncio.Future()

        monkeypatch.setattr(site.store, "lease", lease)

        async def ask() -> None:
            for _ in range(2):  # the second time while the older book is reported
                with pytest.raises(RecordsUnavailable):
                    await ledger.reserve(ANNA, dollars(100))

        asking = asyncio.create_task(ask())
        await asyncio.sleep(0.1)
        await ledger.close()
        await asking
        assert calls == 1
        assert (await site.store.settled(), await site.store.outstanding()) == (100, 0)

    run(scenario())


def test_budgets_that_never_could_be_read_are_not_taken_for_none() -> None:
    async def scenario() -> None:
        site = Site()
        site.store.away = True
        ledger = site.ledger()
        with pytest.raises(RecordsUnavailable):
            await ledger.reserve(ANNA, dollars(1))
        with pytest.raises(RecordsUnavailable):
            await ledger.standing(ANNA)
        await site.end(ledger)

    run(scenario())


def test_lost_answers_lose_and_double_nothing() -> None:
    async def scenario() -> None:
        site = Site()
        await site.store.put_budget(budget(1_000))
        ledger = site.ledger()
        ledger.settle(await ledger.reserve(ANNA, dollars(100)), dollars(100), [row(ANNA, 100)])
        site.store.loses_answers = True
        with pytest.raises(RecordsUnavailable):
            await ledger.reserve(ANNA, dollars(900))
        await asyncio.sleep(3)
        site.store.loses_answers = False
        await asyncio.sleep(1.5)
        ledger.settle(await ledger.reserve(ANNA, dollars(900)), dollars(900), [row(ANNA, 900)])
        await site.end(ledger)
        assert (await site.store.settled(), await site.store.outstanding()) == (1_000, 0)
        [total] = await site.store.usage("acme", by="tenant", since=0, until=site.clock.time())
        assert (total.questions, total.nanodollars) == (2, 1_000)

    run(scenario())


def test_a_provider_that_counts_more_than_was_reserved_is_paid_and_told_of() -> None:
    async def scenario() -> None:
        site = Site()
        await site.store.put_budget(budget(100))
        ledger = site.ledger()
        reservation = await ledger.reserve(ANNA, dollars(90))
        ledger.settle(reservation, dollars(130), [])
        assert site.overruns == 1
        with pytest.raises(BudgetExhausted):
            await ledger.reserve(ANNA, dollars(1))
        await site.end(ledger)
        assert await site.store.settled() == 130

    run(scenario())


def test_what_is_open_at_the_end_is_charged_in_full_and_told_in_usage() -> None:
    async def scenario() -> None:
        site = Site()
        await site.store.put_budget(budget(1_000))
        ledger = site.ledger()
        shared = await ledger.reserve(ANNA, dollars(101))
        await ledger.join(shared, BERT)
        await site.end(ledger)
        assert (await site.store.settled(), await site.store.outstanding()) == (101, 0)
        told = await site.store.usage("acme", by="user", since=0, until=site.clock.time() + 1)
        assert {total.by: total.nanodollars for total in told} == {"anna": 51, "bert": 50}

    run(scenario())


def test_a_cancelled_reservation_holds_nothing() -> None:
    async def scenario() -> None:
        site = Site()
        await site.store.put_budget(budget(1_000))
        ledger = site.ledger()
        waiting = asyncio.create_task(ledger.reserve(ANNA, dollars(1_000)))
        await asyncio.sleep(0.0025)  # the call for a slice is under way
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert ledger.open_reservations == 0
        ledger.settle(await ledger.reserve(ANNA, dollars(1_000)), dollars(1), [])
        await site.end(ledger)

    run(scenario())


def test_remainders_of_several_processes_come_together() -> None:
    async def scenario() -> None:
        site = Site(processes=4)
        await site.store.put_budget(budget(10_000))
        ledgers = [site.ledger() for _ in range(4)]

        async def spend(ledger: LeasedLedger) -> None:
            refused = 0
            while refused < 40:
                try:
                    reservation = await ledger.reserve(ANNA, dollars(170))
                except BudgetExhausted:
                    refused += 1
                    await asyncio.sleep(0.1)
                else:
                    await asyncio.sleep(0.05)
                    ledger.settle(reservation, dollars(90), [])

        await asyncio.gather(*(spend(ledger) for ledger in ledgers for _ in range(4)))
        await site.end(*ledgers)
        assert 10_000 - 170 < await site.store.settled() <= 10_000

    run(scenario())
