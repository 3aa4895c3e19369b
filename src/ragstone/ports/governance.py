"""Quotas, and where budgets are held."""

from collections.abc import Sequence
from typing import Final, Protocol

from ragstone.domain.budget import (
    Amount,
    Budget,
    Grant,
    LedgerReport,
    Spender,
    Spent,
    SpentPlace,
    Standing,
    UsageBy,
    UsageRow,
    UsageTotal,
    Want,
)
from ragstone.domain.principal import Principal
from ragstone.domain.quota import RateLimits, TokensTaken


class Quotas(Protocol):
    """How much each key and each tenant may ask in a minute; see `governance/quotas`.

    Nothing here waits. A caller without limits costs next to nothing.
    """

    def check_request(self, principal: Principal) -> None:
        """Counts a request of the key and of the tenant, or neither. Raises `RateLimited`."""
        ...

    def take_tokens(self, principal: Principal, tokens: int) -> TokensTaken | None:
        """Charges key and tenant, or neither, with what a model may use at most; None where
        tokens are not limited. Right before a model is asked. Raises `TokensRateLimited`."""
        ...

    def correct_tokens(self, taken: TokensTaken, used: int) -> None:
        """Gives back what was not used, or charges what was used beyond. Once for each
        `taken`; 0 when the model was not asked in the end."""
        ...

    def standing(self, principal: Principal) -> RateLimits | None:
        """For the caller to know; None where nothing is limited."""
        ...


class Ledger(Protocol):
    """Where budgets are held. One for each process; see `governance/ledger`.

    Always: what is settled and what open reservations hold is at most the cap, for every
    account, over all processes.
    """

    @property
    def open_reservations(self) -> int: ...

    async def standing(self, spender: Spender) -> Standing:
        """How the spender's budgets are. Raises `BudgetExhausted` at a hard limit, and
        `RecordsUnavailable` when its budgets are not known and cannot be read."""
        ...

    async def reserve(self, spender: Spender, upper: Amount, *, model: bool = True) -> str:
        """Holds `upper` in every account of the spender, or in none; returns an id.

        `model`: for a language model, which is also bound by the softer `limit`. From what the
        process has leased this takes microseconds; else it asks for more first. Raises
        `BudgetExhausted`, `RecordsUnavailable`.
        """
        ...

    async def join(self, reservation: str, spender: Spender) -> bool:
        """The spender shares what the reservation will cost; False if it cannot, or if the
        reservation is settled. The same amount is held in those accounts of the spender that
        it does not hold yet."""
        ...

    def settle(self, reservation: str, spent: Amount, rows: Sequence[UsageRow]) -> None:
        """Charges what was spent, split evenly among those who joined, and frees the rest.

        Never waits, so it cannot be cancelled halfway. `rows` are kept for the usage report. A
        second call for the same reservation changes nothing.
        """
        ...

    def record(self, rows: Sequence[UsageRow]) -> None:
        """For the usage report, of what needed no reservation."""
        ...

    async def close(self) -> None:
        """Reports what is left."""
        ...


LEASE_ANSWER_SECONDS: Final = 600.0
"""For how long `BudgetStore.lease` gives the same answer under the same number."""


class BudgetStore(Protocol):
    """The durable side of the ledger. Raises `RecordsUnavailable`.

    For every account: settled, plus what is out in slices, is at most the cap, or nothing more
    is granted (a cap may be lowered below it). Every call that returned survives a `kill -9`.
    """

    async def budgets(self, tenant: str) -> list[Budget]: ...

    async def lease(
        self, holder: str, wants: Sequence[Want], *, seconds: float, number: int | None = None
    ) -> list[Grant]:
        """For each want a grant, in order, of 0 or of `least` to `most`; the holder's lease on
        all it has is prolonged to `seconds` from now. A budget that is gone grants 0, and a
        holder that has ended gets 0.

        Asked again under the same `number` (up to 2^63 - 1), as after an answer that was lost,
        it grants nothing more and says the same: for `LEASE_ANSWER_SECONDS`.
        """
        ...

    async def report(self, report: LedgerReport, *, seconds: float) -> None:
        """Takes effect once for each holder and sequence; prolongs the lease.

        Sequences rise: one below the last that was seen counts as seen. More settled than the
        holder holds is booked all the same, also beyond the cap: money that was spent was spent.
        """
        ...

    async def expire(self) -> list[str]:
        """Charges in full what holders hold whose lease has run out; returns their names.

        A holder that lives after all may go on: what it spends of its slices is paid for, and
        what it returns of them is credited.
        """
        ...


class BudgetRecords(BudgetStore, Protocol):
    """With what administrators do. Raises `RecordsUnavailable`."""

    async def put_budget(self, budget: Budget, *, most: int | None = None) -> Budget:
        """Made, or changed where tenant, scope, name, period and unit are those of an earlier
        one, whose id and `created_at` it keeps. What usage tells of its present period counts
        where it begins to: when it is new, or gets or loses its hard limit.

        Raises `TooManyBudgets` where it would be new and the tenant has `most` already.
        """
        ...

    async def delete_budget(self, tenant: str | None, budget_id: str) -> bool:
        """False if absent, or another tenant's than the one named. Nothing more is granted; what
        is out may still be reported, and counts if it is made again under the same id."""
        ...

    async def spent(
        self, tenant: str | None, *, limit: int | None = None, after: SpentPlace | None = None
    ) -> list[Spent]:
        """Every budget in its present period; those for `EACH` once for each name that spent,
        or once without a name. Of all tenants where `tenant` is None. In the order of their
        places, at most `limit`, beginning behind `after`, which may have gone."""
        ...

    async def usage(
        self, tenant: str | None, *, by: UsageBy, since: float, until: float
    ) -> list[UsageTotal]:
        """Sums of whole hours, from the one that holds `since` to the last that begins before
        `until`; the dearest first, or by time. Of all tenants where `tenant` is None."""
        ...
