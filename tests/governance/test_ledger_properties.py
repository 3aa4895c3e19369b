"""Whatever happens in whatever order, no budget is overspent and nothing counts twice."""

import asyncio
import itertools
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from ragstone.domain.budget import Account, Amount, Spender
from ragstone.domain.errors import BudgetExhausted, RecordsUnavailable
from ragstone.governance.ledger import LeasedLedger, LedgerSettings, Upkeep
from ragstone.governance.ledger.accounts import obeyed
from ragstone.governance.ledger.book import Book
from ragstone.governance.ledger.journal import begin_journal
from ragstone.governance.ledger.recovery import reports_of
from ragstone.governance.ledger.sharing import share
from ragstone.governance.ledger.slices import AccountView
from ragstone.governance.ledger.usage_rows import UNFINISHED
from tests.clock import VirtualClock
from tests.governance.test_leased_ledger import ANNA, BERT, Store, budget, row
from tests.virtual_loop import VirtualLoop

_CAP, _USERS_CAP = 1_000, 600


@dataclass(eq=False)
class Process:
    """One of the server's, which may be killed."""

    ledger: LeasedLedger
    upkeep: Upkeep
    lives: bool = True


@dataclass(eq=False)
class Call:
    """To a model: what was reserved for it, for whom, and what it did cost in the end."""

    process: Process
    reservation: str
    upper: int
    spenders: list[Spender]
    charged: int | None = None
    """None while it runs."""
    killed: bool = False
    """While it ran: charged in full, whoever shares it."""

    def __post_init__(self) -> None:
        self.accounts = list[frozenset[Account]]()
        """In which each of those who share it holds it."""
        self.note_accounts()

    def note_accounts(self) -> None:
        parties = self.process.ledger._open[self.reservation].parties
        self.accounts = [frozenset(one.view.account for one in slices) for _, slices in parties]

    @property
    def is_of_two_days(self) -> bool:
        """Usage tells it in one of them, and a budget that is set may count it there too."""
        return len({account.period_start for held in self.accounts for account in held}) > 1

    def of(self, account: Account) -> int:
        """What it cost, or may cost, that account."""
        amount = self.upper if self.charged is None else self.charged
        if self.charged is None or self.killed:
            return amount if any(account in held for held in self.accounts) else 0
        return sum(
            share(amount, len(self.accounts), place)
            for place, held in enumerate(self.accounts)
            if account in held
        )


class Budgets(RuleBasedStateMachine):
    """Some processes over one store, of which any may be killed or cut off."""

    calls: Bundle[Call] = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock()
        self.loop = VirtualLoop(self.clock)
        self.folder = Path(tempfile.mkdtemp(prefix="ledger-"))
        self.store = Store(self.clock)
        self.names = itertools.count(1)
        self.made: list[Call] = []
        self.lost_journals = False
        self.caps = {"b1": _CAP, "b2": _USERS_CAP}
        self.beyond: dict[Account, int] = {}
        """What was used of "b1" when its limit was set below that; it never grows."""
        for one in (
            budget(_CAP),
            budget(_USERS_CAP, id="b2", scope="user", name="*", hard_limit=_USERS_CAP),
        ):
            self.run(self.store.put_budget(one))
        self.processes = [self.start() for _ in range(3)]

    def run(self, work: object) -> object:
        return self.loop.run_until_complete(work)  # type: ignore[arg-type]

    def start(self) -> Process:
        settings = LedgerSettings(processes=3, journals=self.folder)
        ledger = LeasedLedger(
            self.store, self.clock, settings, new_name=lambda: f"holder_{next(self.names)}"
        )
        upkeep = Upkeep(ledger, expires=True)

        async def begin() -> None:
            upkeep.start()

        self.run(begin())
        return Process(ledger, upkeep)

    @rule(
        target=calls,
        place=st.integers(0, 2),
        upper=st.integers(0, 200),
        spender=st.sampled_from([ANNA, BERT]),
        cancelled_after=st.none() | st.integers(0, 12),
    )
    def reserve(
        self, place: int, upper: int, spender: Spender, cancelled_after: int | None
    ) -> Call | None:
        process = self.processes[place]
        reserving = process.ledger.reserve(spender, Amount(nanodollars=upper))
        reservation = self.run(_cancelled(reserving, cancelled_after))
        if not isinstance(reservation, str):
            return None
        call = Call(process, reservation, upper, [spender])
        self.made.append(call)
        return call

    @rule(
        call=calls,
        spender=st.sampled_from([ANNA, BERT]),
        cancelled_after=st.none() | st.integers(0, 12),
    )
    def join(self, call: Call | None, spender: Spender, cancelled_after: int | None) -> None:
        if call is None or not call.process.lives:
            return
        joining = call.process.ledger.join(call.reservation, spender)
        if self.run(_cancelled(joining, cancelled_after)) is True:
            assert call.charged is None
            call.spenders.append(spender)
            call.note_accounts()

    @rule(call=calls, part=st.floats(0, 1))
    def settle(self, call: Call | None, part: float) -> None:
        if call is None or not call.process.lives:
            return
        spent = int(call.upper * part)
        parties = len(call.spenders)
        rows = [
            row(spender, share(spent, parties, place))
            for place, spender in enumerate(call.spenders)
        ]
        call.process.ledger.settle(call.reservation, Amount(nanodollars=spent), rows)
        if call.charged is None:
            call.charged = spent

    @rule(place=st.integers(0, 2), journal_lost=st.integers(0, 15).map(lambda chance: chance == 15))
    def kill(self, place: int, journal_lost: bool) -> None:
        process = self.processes[place]
        self.run(self._kill(process))
        if journal_lost:
            for path in self.folder.iterdir():
                if path.stem in {book.holder for book in _books(process)}:
                    path.unlink()
                    self.lost_journals = True
        self.processes[place] = self.start()

    async def _kill(self, process: Process) -> None:
        process.lives = False
        own = asyncio.current_task()
        mine = [*process.upkeep._tasks]
        if process.ledger.leasing._asking is not None:
            mine.append(process.ledger.leasing._asking)
        for task in mine:
            assert task is not own
            task.cancel()
        await asyncio.gather(*mine, return_exceptions=True)
        for book in _books(process):
            book.leave()
        for call in self.made:
            if call.process is process and call.charged is None:
                call.charged, call.killed = call.upper, True

    @rule(place=st.integers(0, 2))
    def begin_a_new_book(self, place: int) -> None:
        self.processes[place].ledger.rotate()

    @rule(
        target=calls,
        place=st.integers(0, 2),
        upper=st.integers(1, 100),
        part=st.floats(0, 1),
        spender=st.sampled_from([ANNA, BERT]),
    )
    def spend(self, place: int, upper: int, part: float, spender: Spender) -> Call | None:
        call = self.reserve(place, upper, spender, None)
        self.settle(call, part)
        return call

    @rule(seconds=st.sampled_from([0.001, 0.1, 1.0, 1.5, 3.0, 25.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @rule(seconds=st.sampled_from([-100_000.0, -3_600.0, -40.0, 20.0, 40.0, 3_600.0, 100_000.0]))
    def wall_clock_jumps(self, seconds: float) -> None:
        """Over the ends of leases, and into other days."""
        self.clock.set_time(self.clock.time() + seconds)

    @rule(away=st.booleans(), seconds=st.sampled_from([0.0, 0.5, 1.5, 20.0, 50.0]))
    def store_fails(self, away: bool, seconds: float) -> None:
        """It is away, or its answers get lost: until the next wait, or for so many seconds."""
        self.store.away, self.store.loses_answers = away, not away
        if seconds:
            self.run(asyncio.sleep(seconds))
            self.store_is_well()

    @rule()
    def store_is_well(self) -> None:
        self.store.away = self.store.loses_answers = False

    @rule(cap=st.integers(100, 2_000), removed=st.booleans())
    def set_budget(self, cap: int, removed: bool) -> None:
        self.caps["b1"] = cap
        if removed:
            assert self.run(self.store.delete_budget("acme", "b1"))
        self.run(self.store.put_budget(budget(cap)))
        self.beyond = {
            account: counted.used
            for account, counted in self.store._accounts.items()
            if account.budget_id == "b1"
        }

    @rule(place=st.integers(0, 2))
    def ask_standing(self, place: int) -> None:
        self.run(_cancelled(self.processes[place].ledger.standing(ANNA), None))

    @invariant()
    def nothing_is_overspent(self) -> None:
        """The records' count stays within the cap, and what was really spent or may still be
        spent stays within the records' count."""
        for account, counted in self.store._accounts.items():
            cap = self.caps[account.budget_id]
            assert 0 <= counted.used <= max(cap, self.beyond.get(account, 0)), account
            if account in self.beyond:
                self.beyond[account] = min(self.beyond[account], counted.used)
            truth = sum(call.of(account) for call in self.made)
            assert truth <= counted.used, (account, truth, counted)

    def teardown(self) -> None:
        try:
            self.store.away = self.store.loses_answers = False
            self.clock.set_time(self.clock.time() + 10_000_000)  # no lease ends later than that
            for call in self.made:
                self.settle(call, 0.5)
            self.run(asyncio.sleep(50))
            for process in self.processes:
                self.run(process.upkeep.close())
                self.run(process.ledger.close())
            last = self.start()
            self.run(asyncio.sleep(90))
            self.run(last.upkeep.close())
            self.run(last.ledger.close())
            self.all_is_accounted_for()
        finally:
            self.loop.close()
            shutil.rmtree(self.folder)

    def all_is_accounted_for(self) -> None:
        assert not list(self.folder.iterdir())
        for account, counted in self.store._accounts.items():
            truth = sum(call.of(account) for call in self.made)
            assert counted.outstanding == 0, account
            if self.lost_journals or any(call.is_of_two_days for call in self.made):
                assert counted.settled >= truth
            else:
                assert counted.settled == truth, account
        if not self.lost_journals:
            by_rows = sum(one.nanodollars for one in self.store._usage)
            assert by_rows == sum(call.charged or 0 for call in self.made)


def _books(process: Process) -> list[Book]:
    return list(process.ledger.books)


async def _cancelled(work: object, after: int | None) -> object:
    """What it returns, or None where it raises what it may raise, or is cancelled after so many
    turns of the loop."""
    task = asyncio.ensure_future(work)  # type: ignore[call-overload]
    for _ in range(after or 0):
        if task.done():
            break
        await asyncio.sleep(0.0005)
    if after is not None:
        task.cancel()
    try:
        return await task
    except (BudgetExhausted, RecordsUnavailable, asyncio.CancelledError):
        return None


TestBudgets = Budgets.TestCase
TestBudgets.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


async def test_the_records_of_a_journal_survive_torn_ends(tmp_path: Path) -> None:
    """Cut anywhere, a journal gives the reports of what was written whole."""
    journal = begin_journal(tmp_path, "h")
    assert journal is not None
    begun = journal.bytes
    book = Book("h", journal)
    [one] = obeyed([budget(1_000)], ANNA, 1_767_225_600.0)
    slice_ = book.slice(AccountView.of(one, 0.0))
    slice_.free = 1_000
    ends = [journal.bytes]
    first = book.reserve(ANNA, Amount(nanodollars=100), [slice_], model=True, at=0.0)
    slice_.free, slice_.held = 900, 100
    ends.append(journal.bytes)
    book.settle(first, Amount(nanodollars=40), [row(ANNA, 40)])
    ends.append(journal.bytes)
    path = tmp_path / "h.journal"
    content, inode = path.read_bytes(), path.stat().st_ino
    for cut in range(len(content) + 1):
        reports = await reports_of(content[:cut], inode=inode)
        charged = sum(told.settled for report in reports for told in report.accounts)
        expected = 0 if cut < ends[1] else 100 if cut < ends[2] else 40
        assert charged == expected
        models = {one.model for report in reports for one in report.usage}
        assert models == ({"m"} if expected == 40 else {UNFINISHED} if expected else set())
        assert all(told.last == (cut in (begun, *ends)) for told in reports)
    for place in range(ends[1], ends[2]):
        damaged = bytearray(content)
        damaged[place] ^= 128
        [report] = await reports_of(bytes(damaged), inode=inode)
        assert report.accounts[0].settled == 100
        assert not report.last  # what was behind it is charged when the lease ends
    assert [told.last for told in await reports_of(content, inode=inode)] == [True]
    journal.remove()
