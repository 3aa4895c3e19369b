"""Where each spender's reservations are held, looked up once and remembered."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ragstone.domain.budget import Account, Budget, Spender, period_bounds
from ragstone.governance.ledger.accounts import Obeyed, obeyed
from ragstone.governance.ledger.book import Book
from ragstone.governance.ledger.known import KnownBudgets
from ragstone.governance.ledger.slices import AccountView, Slice
from ragstone.ports import Clock

_MOST: Final = 20_000
"""Spenders that are remembered."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Holds until the spender's budgets, the day, or the book that is reserved in change."""

    budgets: tuple[Budget, ...]
    day: tuple[int, int]
    """Unix seconds of its beginning and end."""
    model: tuple[Slice, ...]
    other: tuple[Slice, ...]
    """For paid work that is no language model's."""


class Plans:
    """Over the budgets that are known; `book` tells which one is reserved in now."""

    def __init__(
        self,
        known: KnownBudgets,
        clock: Clock,
        book: Callable[[], Book],
        on_lowered: Callable[[Account], None],
    ) -> None:
        """`on_lowered` is told when a limit is lower than it was while the book has some of it,
        and recalls that."""
        self._known = known
        self._clock = clock
        self._book = book
        self._on_lowered = on_lowered
        self._plans: dict[Spender, Plan] = {}
        self._views: dict[Account, AccountView] = {}

    def at_once(self, spender: Spender) -> Plan | None:
        """Without waiting; None where `read` has to be awaited."""
        budgets = self._known.at_once(spender.tenant)
        if budgets is None:
            return None
        plan = self._plans.get(spender)
        if plan is not None and plan.budgets is budgets:
            start, end = plan.day
            if start <= self._clock.time() < end:  # a clock that was set goes back, too
                return plan
        return self._made(spender, budgets)

    async def read(self, spender: Spender) -> Plan:
        """Raises `RecordsUnavailable` where the budgets never could be read."""
        return self._made(spender, await self._known.read(spender.tenant))

    def views(self) -> list[AccountView]:
        """Of all accounts that somebody spends from."""
        return list(self._views.values())

    def clear(self) -> None:
        self._plans.clear()

    def forget_idle(self) -> None:
        """Accounts that nobody spends from any more, as those of a day that is over."""
        now, book = self._clock.monotonic(), self._book()
        if book.forget_empty(lambda view: view.is_idle(now)):
            self._plans.clear()
        for account, view in list(self._views.items()):
            if view.is_idle(now) and not book.has(account):
                del self._views[account]
                self._plans.clear()

    def _made(self, spender: Spender, budgets: tuple[Budget, ...]) -> Plan:
        now = self._clock.time()
        views = [self._view(one) for one in obeyed(budgets, spender, now)]
        book = self._book()
        slices = [book.slice(view) for view in views]  # not before: some may have been recalled
        plan = Plan(
            budgets,
            period_bounds("day", now),
            tuple(slices),
            tuple(slice_ for slice_ in slices if slice_.view.binds_other_work),
        )
        if len(self._plans) >= _MOST:
            self._plans.clear()
        self._plans[spender] = plan
        return plan

    def _view(self, one: Obeyed) -> AccountView:
        view = self._views.get(one.account)
        if view is None:
            view = AccountView.of(one, self._clock.monotonic())
            self._views[one.account] = view
        elif view.budget != one.budget:
            lowered = view.change(one.budget)
            if lowered and self._book().has_unspent(one.account):
                self._on_lowered(one.account)
        return view
