"""The engine's budgets, asked over the hop by a gateway's ledger."""

import secrets
from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec

from ragstone.domain.budget import Budget, Grant, LedgerReport, Want
from ragstone.domain.errors import RecordsUnavailable
from ragstone.hop.client import EngineClient
from ragstone.hop.messages import (
    BUDGETS,
    EXPIRE,
    LEASE,
    REPORT,
    BudgetsAsked,
    LeaseAsked,
    ReportGiven,
)

_T = TypeVar("_T")

_NUMBER_BITS: Final = 63
_BUDGETS = msgspec.msgpack.Decoder(list[Budget])
_GRANTS = msgspec.msgpack.Decoder(list[Grant])
_NOTHING = msgspec.msgpack.Decoder(None)
_NAMES = msgspec.msgpack.Decoder(list[str])


class RemoteBudgets:
    """Implements `ports.BudgetStore`.

    `RecordsUnavailable` from `lease` or `report` leaves open whether it took effect: ask again
    under the same number, or give the same report again.
    """

    def __init__(self, engine: EngineClient) -> None:
        """`engine` is shared, and not closed here."""
        self._engine = engine

    async def budgets(self, tenant: str) -> list[Budget]:
        return await self._ask(BUDGETS, BudgetsAsked(tenant), _BUDGETS)

    async def lease(
        self, holder: str, wants: Sequence[Want], *, seconds: float, number: int | None = None
    ) -> list[Grant]:
        if number is None:  # the client below asks again by itself where a connection broke
            number = secrets.randbits(_NUMBER_BITS)
        return await self._ask(LEASE, LeaseAsked(holder, list(wants), seconds, number), _GRANTS)

    async def report(self, report: LedgerReport, *, seconds: float) -> None:
        await self._ask(REPORT, ReportGiven(report, seconds), _NOTHING)

    async def expire(self) -> list[str]:
        return await self._ask(EXPIRE, None, _NAMES)

    async def _ask(
        self, path: str, asked: msgspec.Struct | None, given: "msgspec.msgpack.Decoder[_T]"
    ) -> _T:
        # A commit waits for a disk, and for other writers: longer than a read would take.
        return await self._engine.ask(path, asked, given, RecordsUnavailable, answer_seconds=None)
