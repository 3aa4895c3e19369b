"""Asking the records for slices: one call at a time; what is wanted meanwhile goes with the next.

A call whose answer was lost is asked again under its number before any other, so that nothing
that was granted is forgotten.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from ragstone.domain.budget import Account, Grant, Want
from ragstone.domain.errors import RagstoneError, RecordsUnavailable
from ragstone.governance.ledger.book import Book
from ragstone.governance.ledger.slices import AccountView
from ragstone.ports import LEASE_ANSWER_SECONDS, BudgetStore, Clock

_PAUSE_SECONDS: Final = 0.2
"""After a failed call nothing is asked for so long: a flood of questions is no flood of calls."""
_PATIENCE_SECONDS: Final = 1.0
"""How long a question waits for a call, which takes milliseconds. Behind a locked database it
takes tens of seconds: the question then holds its place for nothing, and is refused instead."""

Answer = dict[Account, Grant] | RagstoneError
"""Grants for all that was wanted, or why there are none."""


@dataclass(slots=True)
class _Wanted:
    view: AccountView
    least: int
    most: int


@dataclass(slots=True)
class _Call:
    book: Book
    number: int
    views: list[AccountView]
    wants: list[Want]
    at: float


class Leasing:
    """For the one book that is reserved in; `book` tells which that is now."""

    def __init__(
        self,
        store: BudgetStore,
        clock: Clock,
        *,
        seconds: float,
        processes: int,
        book: Callable[[], Book],
        on_over: Callable[[Account], None],
    ) -> None:
        """`on_over` is told of accounts that have nothing left while the book has some, or
        holds it."""
        self._store = store
        self._clock = clock
        self._seconds = seconds
        self._processes = processes
        self._book = book
        self._on_over = on_over
        self._wanted: dict[Account, _Wanted] = {}
        self._answer: asyncio.Future[Answer] | None = None
        """To what is wanted now."""
        self._asking: asyncio.Task[None] | None = None
        self._unanswered: _Call | None = None
        self._under_way: frozenset[Account] = frozenset()
        self._asked_at: float | None = None
        """Since when the call under way is, or has been waited for."""
        self._number = 0
        self._failed: tuple[float, RagstoneError] | None = None
        self._closed = False

    async def ask(self, wants: Sequence[tuple[AccountView, int]]) -> Answer:
        """Asks for at least so much of each account, or with 0 only how it stands. Cancelling
        ends the wait, not the call; so does an answer that does not come."""
        if self._closed:
            return _stopped()
        if self._failed is not None and self._is_paused():
            return self._failed[1]
        for view, least in wants:
            self._want(view, least, least)
        answer = self._answer
        assert answer is not None
        try:
            async with asyncio.timeout(self._patience()):
                return await asyncio.shield(answer)
        except TimeoutError:
            return RecordsUnavailable(
                "The records do not say in time what is left of the budgets.",
                remedy="Ask again; if it lasts, see whether something locks the database.",
            )

    def _patience(self) -> float:
        """Those who come while a call is late already do not wait as long again."""
        if self._asked_at is None:
            return _PATIENCE_SECONDS
        return max(0.0, self._asked_at + _PATIENCE_SECONDS - self._clock.monotonic())

    def look(self, view: AccountView) -> None:
        """Learns how the account stands with the next call, for which nobody waits."""
        self._want(view, 0, 0)

    def ask_ahead(self, view: AccountView) -> None:
        """Asks for more before it is needed, for which nobody waits."""
        account = view.account
        if account not in self._wanted and account not in self._under_way and not self._is_paused():
            self._want(view, 1, view.low)

    def _is_paused(self) -> bool:
        failed = self._failed
        return failed is not None and self._clock.monotonic() - failed[0] < _PAUSE_SECONDS

    def _want(self, view: AccountView, least: int, most: int) -> None:
        """The least that would help one of those who want it is enough; at the most all get
        theirs, and some is there for those who follow."""
        wanted = self._wanted.get(view.account)
        if wanted is None:
            self._wanted[view.account] = _Wanted(view, least, most)
        else:
            wanted.least = min(filter(None, (wanted.least, least)), default=0)
            wanted.most += most
        if self._asking is None and not self._closed:
            self._answer = asyncio.get_running_loop().create_future()
            self._asking = asyncio.create_task(self._ask_all())

    @property
    def forgets(self) -> bool:
        """Whether a call has gone unanswered for so long that its answer may be lost for good."""
        call = self._unanswered
        return call is not None and self._clock.monotonic() - call.at > LEASE_ANSWER_SECONDS / 2

    def forget(self) -> None:
        """What the unanswered call was granted is freed when its book ends."""
        self._unanswered = None

    async def close(self) -> None:
        """Asks no more: who would has no answer."""
        self._closed = True
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    async def _ask_all(self) -> None:
        answer = self._answer
        try:
            while self._wanted:
                wanted, self._wanted = list(self._wanted.values()), {}
                answer = self._answer
                self._answer = asyncio.get_running_loop().create_future()
                self._under_way = frozenset([one.view.account for one in wanted])
                self._asked_at = self._clock.monotonic()
                result = await self._ask_once(wanted)
                self._asked_at = None
                self._under_way = frozenset()
                if answer is not None:
                    answer.set_result(result)
        finally:
            self._asking, self._asked_at = None, None
            for waiting in (answer, self._answer):
                if waiting is not None and not waiting.done():
                    waiting.set_result(_stopped())

    async def _ask_once(self, wanted: list[_Wanted]) -> Answer:
        try:
            if self._unanswered is not None:
                await self._send(self._unanswered)
            self._number += 1
            wants = [
                Want(
                    account=one.view.account,
                    tenant=one.view.budget.tenant,
                    least=one.least,
                    most=one.most + self._ahead(one),
                )
                for one in wanted
            ]
            views = [one.view for one in wanted]
            now = self._clock.monotonic()
            self._unanswered = _Call(self._book(), self._number, views, wants, now)
            return await self._send(self._unanswered)
        except RagstoneError as error:
            self._failed = (self._clock.monotonic(), error)
            return error

    def _ahead(self, one: _Wanted) -> int:
        return one.view.ahead(self._processes, one.least) if one.most else 0

    async def _send(self, call: _Call) -> dict[Account, Grant]:
        sent_at = self._clock.monotonic()
        call.book.calls += 1
        try:
            grants = await self._store.lease(
                call.book.holder, call.wants, seconds=self._seconds, number=call.number
            )
        finally:
            call.book.calls -= 1
        self._unanswered, self._failed = None, None
        call.book.renewed_at = max(call.book.renewed_at, sent_at)
        for view, grant in zip(call.views, grants, strict=True):
            call.book.granted(view, grant)
        for view in call.views:
            if view.is_over and self._book().has_unspent(view.account):
                self._on_over(view.account)
        return {grant.account: grant for grant in grants}


def _stopped() -> RecordsUnavailable:
    return RecordsUnavailable("The server stops.")
