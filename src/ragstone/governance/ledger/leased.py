"""The ledger of one process: it spends from slices that it has leased, so that a reservation costs
microseconds and no trip to the records."""

import secrets
from collections.abc import Callable, Sequence

import structlog

from ragstone.domain.budget import (
    Account,
    Amount,
    Spender,
    Standing,
    UsageRow,
)
from ragstone.domain.errors import BudgetExhausted, RagstoneError, RecordsUnavailable
from ragstone.governance.ledger.books import Books, LedgerSettings
from ragstone.governance.ledger.known import KnownBudgets
from ragstone.governance.ledger.leasing import Leasing
from ragstone.governance.ledger.plans import Plan, Plans
from ragstone.governance.ledger.refusal import exhausted
from ragstone.governance.ledger.reservation import Reservation
from ragstone.governance.ledger.slices import AccountView, Slice, missing, take
from ragstone.governance.ledger.usage_rows import at_hour
from ragstone.ports import BudgetStore, Clock

_log = structlog.get_logger("ragstone.ledger")


class LeasedLedger:
    """Implements `ports.Ledger`. `Upkeep` reports for it; see docs/budgets.md.

    Everything that changes what is held or spent is done between two awaits, so a cancellation
    finds a reservation made or not made. Being killed loses nothing either: see `journal`.
    """

    def __init__(
        self,
        store: BudgetStore,
        clock: Clock,
        settings: LedgerSettings,
        *,
        new_name: Callable[[], str] = lambda: secrets.token_hex(12),
        on_overrun: Callable[[], None] = lambda: None,
    ) -> None:
        """`new_name` gives names of holders, each once and never again anywhere. `on_overrun` is
        told when more was spent than was reserved."""
        self.settings = settings
        self.store = store
        self.clock = clock
        self._on_overrun = on_overrun
        self._known = KnownBudgets(store, clock)
        self.books = Books(store, clock, settings, new_name)
        self.plans = Plans(self._known, clock, lambda: self.books.present, self._recall)
        self._open: dict[str, Reservation] = {}
        self.on_scarce: Callable[[], None] = lambda: None
        """Told when something was refused: what is not needed here may be what others lack."""
        self.leasing = Leasing(
            store,
            clock,
            seconds=settings.lease_seconds,
            processes=settings.processes,
            book=lambda: self.books.present,
            on_over=self._recall,
        )

    @property
    def open_reservations(self) -> int:
        return len(self._open)

    def standing_at_once(self, spender: Spender) -> Standing | None:
        """Without waiting; None where `standing` has to be awaited. Raises `BudgetExhausted`."""
        plan = self.plans.at_once(spender)
        if plan is None or any(slice_.view.used is None for slice_ in plan.model):
            return None
        return self._standing(plan.model)

    async def standing(self, spender: Spender) -> Standing:
        plan = self.plans.at_once(spender) or await self.plans.read(spender)
        if not plan.model:
            return "normal"
        unknown = [slice_.view for slice_ in plan.model if slice_.view.used is None]
        if unknown:  # once for each account, and no reason to refuse what may be free
            await self.leasing.ask([(view, 0) for view in unknown])
        return self._standing(plan.model)

    async def reserve(self, spender: Spender, upper: Amount, *, model: bool = True) -> str:
        plan = self.plans.at_once(spender) or await self.plans.read(spender)
        slices = plan.model if model else plan.other
        if slices and not (self.books.is_sure() and take(slices, upper)):
            slices = await self._take_leased(spender, upper, model)
        # From here to the return nothing waits: what was taken is noted, and the caller told.
        book = self.books.present
        reservation = book.reserve(spender, upper, slices, model=model, at=self.clock.time())
        self._ask_ahead(slices)
        name = f"{book.holder}.{reservation.number}"
        self._open[name] = reservation
        return name

    async def join(self, reservation: str, spender: Spender) -> bool:
        found = self._open.get(reservation)
        if found is None:
            return False
        try:
            plan = self.plans.at_once(spender) or await self.plans.read(spender)
            while self._open.get(reservation) is found:
                slices = self._in_book(plan, found)
                if self._may_join(found, slices) and found.book.join(found, spender, slices):
                    return True
                if found.book is not self.books.present or self.books.has_lapsed():
                    return False
                lacking = [slice_ for slice_ in slices if slice_ not in found.slices]
                await self._lease(lacking, found.upper)
                plan = self.plans.at_once(spender) or await self.plans.read(spender)
        except (BudgetExhausted, RecordsUnavailable):
            pass  # who cannot pay, or be asked about, does not join
        return False

    def settle(self, reservation: str, spent: Amount, rows: Sequence[UsageRow]) -> None:
        found = self._open.pop(reservation, None)
        if found is None:
            return
        rows = at_hour(rows, found.at)
        if not found.book.settle(found, spent, rows):
            self._on_overrun()
            _log.warning(
                "a model's provider counted more than was reserved",
                spent_nanodollars=spent.nanodollars,
                spent_tokens=spent.tokens,
                reserved_nanodollars=found.upper.nanodollars,
                reserved_tokens=found.upper.tokens,
            )

    def record(self, rows: Sequence[UsageRow]) -> None:
        self.books.present.record(at_hour(rows, self.clock.time()))

    async def close(self) -> None:
        """Reports the last; what is still open is charged in full: see `Books`."""
        await self.leasing.close()
        await self._known.close()
        self._open.clear()
        await self.books.close()

    def rotate(self) -> None:
        """Goes on in a new book, with slices of its own."""
        self.books.rotate()
        self.plans.clear()

    def _recall(self, account: Account) -> None:
        """Its limit was lowered: gives back what is free of it, and asks anew."""
        self.books.present.recall(account)
        self.plans.clear()
        self.on_scarce()

    # Slices

    def _in_book(self, plan: Plan, reservation: Reservation) -> list[Slice]:
        """Those of the plan's accounts that the reservation is held in, recalled ones included;
        for the others those of its book, which may be an older one."""
        held = {slice_.view.account: slice_ for slice_ in reservation.slices}
        views = [slice_.view for slice_ in (plan.model if reservation.model else plan.other)]
        return [held.get(view.account) or reservation.book.slice(view) for view in views]

    def _may_join(self, found: Reservation, slices: Sequence[Slice]) -> bool:
        """What it holds already, anyone may share; more is only taken under a sure lease."""
        own = all(slice_ in found.slices for slice_ in slices)
        return own or (found.book is self.books.present and not self.books.has_lapsed())

    async def _take_leased(self, spender: Spender, upper: Amount, model: bool) -> tuple[Slice, ...]:
        waited = False
        while True:
            if self.books.has_lapsed():
                self.rotate()
            plan = self.plans.at_once(spender) or await self.plans.read(spender)
            slices = plan.model if model else plan.other
            if (self.books.is_sure() or not self.books.present.has_leased) and take(slices, upper):
                return slices
            try:
                await self._lease(slices, upper)
            except BudgetExhausted:
                if waited or not self.books.gives_back({one.view.account for one in slices}):
                    raise
                waited = True
                self.on_scarce()
                await self.books.until_reported()
                for slice_ in slices:
                    slice_.view.refused_until = float("-inf")

    async def _lease(self, slices: Sequence[Slice], upper: Amount) -> None:
        """Asks once for what is missing. Raises `BudgetExhausted`, `RecordsUnavailable`."""
        lacking = missing(slices, upper)
        for slice_, _ in lacking:
            if slice_.view.refuses(slice_.of(upper), self.clock.monotonic()):
                raise self._refusal(slice_.view)
        if not lacking:
            return
        answer = await self.leasing.ask([(slice_.view, least) for slice_, least in lacking])
        if isinstance(answer, RagstoneError):
            raise answer
        for slice_, least in lacking:
            amount = slice_.of(upper)
            grant = answer.get(slice_.view.account)
            # Less is missing where others settled meanwhile, or a lost answer came: ask for that.
            if grant is not None and not grant.amount and amount - slice_.free >= least:
                slice_.view.refuse(amount, self.clock.monotonic())
                raise self._refusal(slice_.view)

    def _ask_ahead(self, slices: Sequence[Slice]) -> None:
        for slice_ in slices:
            if slice_.free < slice_.view.low:
                self.leasing.ask_ahead(slice_.view)

    def _refusal(self, view: AccountView) -> BudgetExhausted:
        self.on_scarce()
        return exhausted(view, self.clock.time())

    def _is_nearly_spent(self, view: AccountView, free: int) -> bool:
        return view.account.pool == "limit" and view.share(free) >= self.settings.economy_at

    def _standing(self, slices: Sequence[Slice]) -> Standing:
        standing: Standing = "normal"
        for slice_ in slices:
            view, free = slice_.view, slice_.free
            view.looked = True
            is_short = view.is_short(free)
            if is_short and view.is_spent(free):
                if view.account.pool == "hard":
                    raise self._refusal(view)
                standing = "exhausted"
            elif standing == "normal" and (is_short or self._is_nearly_spent(view, free)):
                standing = "economy"
        return standing
