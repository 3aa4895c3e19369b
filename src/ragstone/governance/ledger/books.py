"""The books of a process: the one that is reserved in, and those before it that still end."""

import asyncio
from collections.abc import Callable, Iterator, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from ragstone.domain.budget import Account, LedgerReport
from ragstone.governance.ledger.book import Book
from ragstone.governance.ledger.journal import begin_journal
from ragstone.governance.ledger.slices import Slice
from ragstone.ports import BudgetStore, Clock

_SURE_SHARE: Final = 0.8
"""Of `lease_seconds`, from the moment the last call that prolonged it was sent: for so long it
cannot have run out, whatever the call took and however the two clocks differ."""
_GIVING_BACK_SECONDS: Final = 0.25
"""The longest wait for what this process gives back and then needs after all."""
_CLOSE_SECONDS: Final = 5.0
"""For the last reports."""

_log = structlog.get_logger("ragstone.ledger")


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSettings:
    economy_at: float = 0.8
    lease_seconds: float = 30.0
    report_seconds: float = 1.0
    processes: int = 1
    """That spend from the same budgets, more or less: slices are sized by it."""
    journals: Path | None = None
    """The folder of the journals; None: a crash charges all that was leased."""


class Books:
    """Iterates over those that end, oldest first, and the present one."""

    def __init__(
        self,
        store: BudgetStore,
        clock: Clock,
        settings: LedgerSettings,
        new_name: Callable[[], str],
    ) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._new_name = new_name
        self._draining: list[Book] = []
        self._reported = asyncio.Event()
        """Set, and made anew, when a report has arrived."""
        self.present = self._new_book()

    def __iter__(self) -> Iterator[Book]:
        return iter((*self._draining, self.present))

    def rotate(self) -> None:
        """Goes on in a new book, with slices of its own; the one before gives back what is free."""
        self.present.draining = True
        self._draining.append(self.present)
        self.present = self._new_book()

    def is_sure(self) -> bool:
        """Whether the lease of the present book surely holds."""
        sure = self._settings.lease_seconds * _SURE_SHARE
        return self._clock.monotonic() < self.present.renewed_at + sure

    def has_lapsed(self) -> bool:
        """Whether slices of the present book may have been charged in full, since their lease may
        have run out."""
        return not self.is_sure() and self.present.has_leased

    async def report(self, book: Book, *, renew: bool = False) -> None:
        """Tells the records what there is to tell of the book. One call at a time. Raises
        `RecordsUnavailable`; then the same is told again next time, and counts once."""
        batch = self._next_batch(book, renew)
        if batch is None:
            return
        sent_at = self._clock.monotonic()
        await self._store.report(batch, seconds=self._settings.lease_seconds)
        book.arrived(batch, sent_at)
        self._reported.set()
        self._reported = asyncio.Event()
        if batch.last:
            book.end()
            self._draining.remove(book)

    def gives_back(self, accounts: Set[Account]) -> bool:
        """Whether some of these is just on its way back."""
        return any(book.gives_back(accounts) for book in self)

    async def until_reported(self) -> None:
        """Or until that takes too long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_GIVING_BACK_SECONDS):
                await self._reported.wait()

    async def close(self) -> None:
        """Reports the last; what is still open is charged in full. What cannot be reported now is
        logged, and left to whoever recovers the journals."""
        self.present.draining = True
        self._draining.append(self.present)
        for book in self._draining:
            book.abandon()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                for book in list(self._draining):
                    await self._report_to_the_end(book)
        except TimeoutError:
            _log.warning("the last reports of the ledger took too long", seconds=_CLOSE_SECONDS)
        for book in self._draining:
            book.leave()

    async def _report_to_the_end(self, book: Book) -> None:
        try:
            while book in self._draining:
                await self.report(book)
        except Exception as error:
            _log.warning(
                "a book of the ledger was not reported", holder=book.holder, reason=str(error)
            )

    def _next_batch(self, book: Book, renew: bool) -> LedgerReport | None:
        now, chosen = self._clock.monotonic(), self._settings

        def unneeded(slice_: Slice) -> int:
            return slice_.unneeded(now, chosen.report_seconds, chosen.processes)

        return book.next_batch(unneeded, renew=renew)

    def _new_book(self) -> Book:
        name, folder = self._new_name(), self._settings.journals
        return Book(name, begin_journal(folder, name) if folder is not None else None)
