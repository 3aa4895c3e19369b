"""Stages 2 and 12: what a question may consume is reserved, what it consumed is settled once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from ragstone.domain.budget import Amount, Spender, Standing, UsageRow
from ragstone.domain.usage import Usage
from ragstone.observe.metrics import Metrics
from ragstone.ports import Ledger

_UNDECIDED: Final = "error"


@dataclass(slots=True)
class Bill:
    """Filled while the question runs; settled as it stands when the question ends."""

    usage: Usage = field(default_factory=Usage)
    model: str = "none"
    outcome: str = _UNDECIDED
    standing: Standing = "normal"
    """How the budgets were when the question came."""
    escalated_from: str | None = None
    """The model whose answer was replaced by that of a better one."""

    def escalated(self, model: str) -> None:
        """Notes that `model`'s answer was replaced."""
        self.escalated_from = model


@asynccontextmanager
async def reserve_and_settle(
    spender: Spender, upper_bound: Usage, ledger: Ledger, metrics: Metrics
) -> AsyncIterator[Bill]:
    """Settles exactly once, also when the client has gone or a stage failed."""
    reservation = await ledger.reserve(spender, Amount(tokens=upper_bound.tokens))
    metrics.open_reservations.inc()
    bill = Bill()
    try:
        yield bill
    except (asyncio.CancelledError, GeneratorExit):
        if bill.outcome == _UNDECIDED:  # a client may also leave after the last event
            bill.outcome = "cancelled"
        raise
    finally:
        _count(bill, metrics)
        row = UsageRow(
            hour=0,
            tenant=spender.tenant,
            application=spender.application,
            model=bill.model,
            key_id=spender.key_id or "",
            user=spender.user or "",
            questions=1,
            usage=bill.usage,
        )
        ledger.settle(reservation, Amount(tokens=bill.usage.tokens), [row])
        metrics.open_reservations.dec()


def _count(bill: Bill, metrics: Metrics) -> None:
    kinds = (
        ("input", bill.usage.input_tokens),
        ("cached_input", bill.usage.cached_input_tokens),
        ("output", bill.usage.output_tokens),
        ("embedding", bill.usage.embedding_tokens),
    )
    for kind, tokens in kinds:
        if tokens:
            metrics.tokens.labels(kind, bill.model).inc(tokens)
