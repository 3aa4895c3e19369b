"""Embedding documents where it costs: paid out of the budgets of who submitted them, batch by
batch."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from ragstone.domain.budget import Amount, Spender, UsageRow
from ragstone.domain.usage import Usage
from ragstone.governance.measured import Measured, measured
from ragstone.governance.prices import Price
from ragstone.governance.token_bound import most_tokens
from ragstone.governance.token_estimate import about_tokens
from ragstone.ports import Ledger

APPLICATION: Final = "ingestion"
"""By which budgets and usage reports know it."""


def payer(tenant: str, key_id: str | None = None, user: str | None = None) -> Spender:
    """Whose budgets pay: the tenant's, and those of the key and user that submitted."""
    return Spender(tenant=tenant, key_id=key_id, user=user, application=APPLICATION)


class Cost(msgspec.Struct, frozen=True):
    """Of embedding some texts, estimated."""

    tokens: int
    nanodollars: int


class Funds:
    """Who pays for embedding, and how much at most."""

    def __init__(
        self,
        ledger: Ledger,
        price: Price,
        model: str,
        *,
        most_nanodollars: int = 0,
        on_spent: Callable[[str, Cost], None] = lambda model, cost: None,
    ) -> None:
        """`most_nanodollars`: for one job; 0 is no cap. `on_spent` hears the model and the cost."""
        self.most_nanodollars = most_nanodollars
        self._ledger = ledger
        self._price = price
        self._model = model
        self._on_spent = on_spent

    def cost(self, texts: Sequence[str]) -> Cost:
        """Of one call that embeds them."""
        usage = _usage(texts)
        return Cost(usage.embedding_tokens, self._price.cost(usage))

    @asynccontextmanager
    async def paying(self, spender: Spender, texts: Sequence[str]) -> AsyncIterator[None]:
        """Around the call that embeds them: reserves before, settles after, once; see `measured`.

        Raises `BudgetExhausted`, `RecordsUnavailable`.
        """
        upper = Amount(nanodollars=self._price.upper_bound(sum(map(most_tokens, texts))))
        reservation = await self._ledger.reserve(spender, upper, model=False)
        about = _usage(texts)
        found = Measured(about)
        try:
            with measured(about) as found:
                yield
        finally:
            self._settle(reservation, spender, found.usage)

    def _settle(self, reservation: str, spender: Spender, usage: Usage) -> None:
        cost = self._price.cost(usage)
        row = UsageRow(
            hour=0, tenant=spender.tenant, application=spender.application, model=self._model,
            key_id=spender.key_id or "", user=spender.user or "", usage=usage, nanodollars=cost,
        )  # fmt: skip
        rows = [row] if usage.embedding_tokens else []
        self._ledger.settle(reservation, Amount(nanodollars=cost), rows)
        self._on_spent(self._model, Cost(usage.embedding_tokens, cost))


def _usage(texts: Sequence[str]) -> Usage:
    return Usage(embedding_tokens=sum(map(about_tokens, texts)), estimated=True)
