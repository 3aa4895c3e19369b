"""What requests that are no questions pay for."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ragstone.domain.budget import Spender
from ragstone.pipeline.billed import billed_embedder, own_embedder
from ragstone.pipeline.settle import Bill, settled
from ragstone.ports import Embedder
from ragstone.server.call import Call


@asynccontextmanager
async def paid_embedder(call: Call, application: str) -> AsyncIterator[Embedder]:
    """The embedder, with what it costs on the caller's bill, under that application.

    Where it costs nothing no budget is looked at. Raises `BudgetExhausted` at a hard limit, as
    do the embedder's calls once the caller's budgets are spent.
    """
    s, principal = call.system.services, call.principal
    if s.prices.embedder.free:
        yield own_embedder(s.embedder, principal.tenant)
        return
    spender = Spender(
        tenant=principal.tenant,
        key_id=principal.key_id,
        user=principal.user,
        application=application,
    )
    bill = Bill(principal, spender, s.ledger, s.prices, s.quotas, s.metrics, call.trace)
    async with settled(bill, questions=0):
        yield billed_embedder(s.embedder, bill)
