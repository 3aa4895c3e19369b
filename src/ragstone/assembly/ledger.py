"""The ledger of one process, as the settings say."""

from contextlib import AsyncExitStack

from ragstone.governance.ledger import LeasedLedger, LedgerSettings, Upkeep
from ragstone.home import LEDGER_FOLDER
from ragstone.observe.metrics import Metrics
from ragstone.ports import BudgetStore, Clock
from ragstone.settings import Settings


def open_ledger(
    settings: Settings,
    store: BudgetStore,
    clock: Clock,
    metrics: Metrics,
    stack: AsyncExitStack,
    *,
    processes: int,
    has_records: bool,
) -> LeasedLedger:
    """Until the context ends; then it reports the last.

    `processes` spend from the same budgets. All of one machine have their journals in one folder,
    so that any of them recovers what a dead one left; the one that `has_records` charges what
    nobody can recover.
    """
    ledger = LeasedLedger(
        store,
        clock,
        LedgerSettings(
            economy_at=settings.budgets.economy_at,
            lease_seconds=settings.budgets.lease_seconds,
            report_seconds=settings.budgets.report_seconds,
            processes=processes,
            journals=settings.home.absolute() / LEDGER_FOLDER,
        ),
        on_overrun=metrics.budget_overruns.inc,
    )
    metrics.follow(metrics.open_reservations, lambda: ledger.open_reservations)
    stack.push_async_callback(ledger.close)
    upkeep = Upkeep(ledger, expires=has_records)
    stack.push_async_callback(upkeep.close)
    upkeep.start()
    return ledger
