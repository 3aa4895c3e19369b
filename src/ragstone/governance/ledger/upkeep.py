"""What a ledger needs done beside the questions: reporting, refreshing, recovering."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from ragstone.domain.errors import RagstoneError
from ragstone.governance.ledger.leased import LeasedLedger
from ragstone.governance.ledger.recovery import recover_journals

_JOURNAL_BYTES: Final = 1 << 20
"""A longer journal is ended, and another begun: some 4,000 questions."""
_SOONEST_SECONDS: Final = 0.05
"""Between two reports when something was refused."""
_RENEW_SHARE: Final = 1 / 3
"""Of `lease_seconds`, after which a lease is prolonged with nothing to report."""
_LOOK_SHARE: Final = 0.5
"""Of `report_seconds`, at least so long between two looks at all accounts in use."""
_LOOKED_AT: Final = 200
"""Accounts in use that are looked at again after each report, the last used first."""

_log = structlog.get_logger("ragstone.ledger")


class Upkeep:
    """For one ledger, from `start` to `close`, after which the ledger itself is closed."""

    def __init__(self, ledger: LeasedLedger, *, expires: bool) -> None:
        """`expires`: it also charges what other processes held whose lease has run out; one
        process of a server does so, the one with the records."""
        self._ledger = ledger
        self._expires = expires
        self._scarce = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._ticked_at = ledger.clock.monotonic()
        self._looked_at = self._ticked_at
        ledger.on_scarce = self._scarce.set

    def start(self) -> None:
        seconds = self._ledger.settings.report_seconds
        self._tasks = [
            asyncio.create_task(self._report_forever(), name="ledger reports"),
            asyncio.create_task(_every(seconds, self.recover), name="ledger recovery"),
        ]
        if self._expires:
            lease = self._ledger.settings.lease_seconds
            # Those who live, and could not report while this process was away, come first.
            expiring = _every(lease / 3, self._expire, after=lease)
            self._tasks.append(asyncio.create_task(expiring, name="ledger expiry"))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def tick(self) -> None:
        """Reports what there is. Raises what the first failed with of the books that could not be
        reported, when all is done; what was not told is told again."""
        ledger, now = self._ledger, self._ledger.clock.monotonic()
        self._learn(now)
        if self._wants_new_book():
            ledger.rotate()
        failures = await self._report_all(now - ledger.settings.lease_seconds * _RENEW_SHARE)
        ledger.plans.forget_idle()
        self._look()
        if failures:
            raise failures[0]

    async def recover(self) -> None:
        folder = self._ledger.settings.journals
        if folder is not None:
            seconds = self._ledger.settings.lease_seconds
            await recover_journals(folder, self._ledger.store, seconds=seconds)

    async def _report_all(self, renewable: float) -> list[Exception]:
        """Each book for itself: one that is refused does not let the lease of others run out."""
        failures: list[Exception] = []
        books = self._ledger.books
        for book in books:
            renew = book.renewed_at <= renewable and book.has_leased
            try:
                await books.report(book, renew=renew)
            except Exception as error:
                failures.append(error)
        return failures

    def _learn(self, now: float) -> None:
        elapsed, self._ticked_at = now - self._ticked_at, now
        if elapsed > 0:
            for view in self._ledger.plans.views():
                view.tick(now, elapsed, self._ledger.settings.processes)

    def _wants_new_book(self) -> bool:
        ledger = self._ledger
        if ledger.leasing.forgets:
            ledger.leasing.forget()
            return True
        books = ledger.books
        return books.present.journal_bytes > _JOURNAL_BYTES or books.has_lapsed()

    def _look(self) -> None:
        """How accounts in use stand, since others spend from them too."""
        now, seconds = self._ledger.clock.monotonic(), self._ledger.settings.report_seconds
        if now - self._looked_at < _LOOK_SHARE * seconds:
            return
        self._looked_at = now
        recent = [
            view for view in self._ledger.plans.views() if now - view.active_at <= 2 * seconds
        ]
        recent.sort(key=lambda view: -view.active_at)
        for view in recent[:_LOOKED_AT]:
            self._ledger.leasing.look(view)

    async def _report_forever(self) -> None:
        while True:
            await self._until_due()
            await _logged(self.tick)

    async def _until_due(self) -> None:
        try:
            async with asyncio.timeout(self._ledger.settings.report_seconds):
                await asyncio.sleep(_SOONEST_SECONDS)
                await self._scarce.wait()
        except TimeoutError:
            pass
        self._scarce.clear()

    async def _expire(self) -> None:
        for holder in await self._ledger.store.expire():
            _log.warning("charged in full what a process held that was not heard of", holder=holder)


async def _every(seconds: float, work: Callable[[], Awaitable[None]], after: float = 0.0) -> None:
    await asyncio.sleep(after)
    while True:
        await _logged(work)
        await asyncio.sleep(seconds)


async def _logged(work: Callable[[], Awaitable[None]]) -> None:
    """Its failure ends nothing: the next time may do better."""
    try:
        await work()
    except RagstoneError as error:
        _log.warning("the ledger's records cannot be reached", code=error.code, reason=str(error))
    except Exception:
        _log.exception("the upkeep of the ledger failed")
