"""Stages 2 and 12: what a question may consume is reserved, what it consumed is settled once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from ragstone.domain.principal import Principal
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


@asynccontextmanager
async def reserve_and_settle(
    principal: Principal, upper_bound: Usage, ledger: Ledger, metrics: Metrics
) -> AsyncIterator[Bill]:
    """Settles exactly once, also when the client has gone or a stage failed."""
    reservation = await ledger.reserve(principal, upper_bound)
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
        try:
            # Shielded: a second cancellation must not leave the reservation open.
            await asyncio.shield(ledger.settle(reservation, bill.usage, bill.outcome))
        finally:
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
