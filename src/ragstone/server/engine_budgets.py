"""The part of the engine's door by which gateways reach the durable side of their ledgers."""

from collections.abc import Awaitable, Callable

import msgspec

from ragstone.hop.messages import (
    BUDGETS,
    EXPIRE,
    LEASE,
    REPORT,
    BudgetsAsked,
    LeaseAsked,
    ReportGiven,
)
from ragstone.system import System

_BUDGETS = msgspec.json.Decoder(BudgetsAsked)
_LEASE = msgspec.json.Decoder(LeaseAsked)
_REPORT = msgspec.json.Decoder(ReportGiven)


def budget_handlers(system: System) -> dict[str, Callable[[bytes], Awaitable[object]]]:
    """By path."""

    async def budgets(body: bytes) -> object:
        return await system.budgets.budgets(_BUDGETS.decode(body).tenant)

    async def lease(body: bytes) -> object:
        asked = _LEASE.decode(body)
        return await system.budgets.lease(
            asked.holder, asked.wants, seconds=asked.seconds, number=asked.number
        )

    async def report(body: bytes) -> object:
        given = _REPORT.decode(body)
        await system.budgets.report(given.report, seconds=given.seconds)
        return None

    async def expire(body: bytes) -> object:
        return await system.budgets.expire()

    return {BUDGETS: budgets, LEASE: lease, REPORT: report, EXPIRE: expire}
