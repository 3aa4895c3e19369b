"""The budgets of each tenant, remembered for about a second."""

import asyncio
from dataclasses import dataclass
from typing import Final

from ragstone.domain.budget import Budget
from ragstone.domain.errors import RagstoneError
from ragstone.ports import BudgetStore, Clock

_FRESH_SECONDS: Final = 1.0
_STALE_SECONDS: Final = 5.0
"""Older than this, they are read again before they are used."""
_PAUSE_SECONDS: Final = 0.5
"""After a failed read."""
_MOST: Final = 10_000
"""Tenants that are remembered; then those that asked least recently are forgotten."""


@dataclass(slots=True, eq=False)
class _Remembered:
    budgets: tuple[Budget, ...] | None = None
    read_at: float = float("-inf")
    failed_at: float = float("-inf")
    error: RagstoneError | None = None
    reading: "asyncio.Task[None] | None" = None


class KnownBudgets:
    """What stays the same is the same object, so that others can tell by its identity."""

    def __init__(self, store: BudgetStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._tenants: dict[str, _Remembered] = {}

    def at_once(self, tenant: str) -> tuple[Budget, ...] | None:
        """Without waiting; None where `read` has to be awaited. Reads again in the background
        what is older than a second."""
        known = self._tenants.get(tenant)
        if known is None or known.budgets is None:
            return None
        now = self._clock.monotonic()
        if now - known.read_at < _FRESH_SECONDS or now - known.failed_at < _PAUSE_SECONDS:
            return known.budgets
        if now - known.read_at > _STALE_SECONDS and known.failed_at < known.read_at:
            return None
        self._begin_reading(tenant, known)
        return known.budgets

    async def read(self, tenant: str) -> tuple[Budget, ...]:
        """As they are now; those remembered where they cannot be read. Raises
        `RecordsUnavailable` where they never could."""
        known = self._tenants.get(tenant)
        if known is None:
            known = self._remember(tenant)
        if known.error is None or self._clock.monotonic() - known.failed_at >= _PAUSE_SECONDS:
            await asyncio.wait([self._begin_reading(tenant, known)])
        if known.budgets is not None:
            return known.budgets
        raise known.error or RuntimeError("reading was cancelled")

    async def close(self) -> None:
        readings = [known.reading for known in self._tenants.values() if known.reading]
        for reading in readings:
            reading.cancel()
        await asyncio.gather(*readings, return_exceptions=True)

    def _remember(self, tenant: str) -> _Remembered:
        if len(self._tenants) >= _MOST:
            by_age = sorted(self._tenants.items(), key=lambda item: item[1].read_at)
            for name, known in by_age[: _MOST // 10]:
                if known.reading is None:
                    del self._tenants[name]
        return self._tenants.setdefault(tenant, _Remembered())

    def _begin_reading(self, tenant: str, known: _Remembered) -> "asyncio.Task[None]":
        if known.reading is None:
            known.reading = asyncio.create_task(self._read(tenant, known))
        return known.reading

    async def _read(self, tenant: str, known: _Remembered) -> None:
        asked = self._clock.monotonic()
        try:
            budgets = tuple(await self._store.budgets(tenant))
        except RagstoneError as error:
            known.error, known.failed_at = error, self._clock.monotonic()
        else:
            known.error, known.read_at = None, asked
            if budgets != known.budgets:
                known.budgets = budgets
        finally:
            known.reading = None
