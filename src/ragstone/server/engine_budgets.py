"""The part of the engine's door by which gateways reach the durable side of their ledgers."""

from ragstone.hop.messages import (
    BUDGETS,
    EXPIRE,
    LEASE,
    REPORT,
    BudgetsAsked,
    LeaseAsked,
    ReportGiven,
)
from ragstone.server.engine_operation import Operation
from ragstone.system import System


def budget_operations(system: System) -> dict[str, Operation]:
    """By path."""

    async def budgets(asked: BudgetsAsked) -> object:
        return await system.budgets.budgets(asked.tenant)

    async def lease(asked: LeaseAsked) -> object:
        return await system.budgets.lease(
            asked.holder, asked.wants, seconds=asked.seconds, number=asked.number
        )

    async def report(given: ReportGiven) -> object:
        await system.budgets.report(given.report, seconds=given.seconds)
        return None

    async def expire(asked: None) -> object:
        return await system.budgets.expire()

    return {
        BUDGETS: Operation(BudgetsAsked, budgets),
        LEASE: Operation(LeaseAsked, lease),
        REPORT: Operation(ReportGiven, report),
        EXPIRE: Operation(None, expire),
    }
