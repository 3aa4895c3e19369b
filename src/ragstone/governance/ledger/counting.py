"""A ledger that counts what questions consume and refuses nothing: for tests and trials."""

from collections.abc import Sequence
from itertools import count

from ragstone.domain.budget import Amount, Spender, Standing, UsageRow
from ragstone.domain.usage import Usage


class UsageLedger:
    """Implements `ports.Ledger` in memory: it counts, and refuses nothing."""

    def __init__(self) -> None:
        self._ids = count(1)
        self._open: dict[str, Amount] = {}
        self.rows: list[UsageRow] = []

    @property
    def open_reservations(self) -> int:
        return len(self._open)

    async def standing(self, spender: Spender) -> Standing:
        return "normal"

    async def reserve(self, spender: Spender, upper: Amount, *, model: bool = True) -> str:
        reservation = f"res_{next(self._ids)}"
        self._open[reservation] = upper
        return reservation

    async def join(self, reservation: str, spender: Spender) -> bool:
        return reservation in self._open

    def settle(self, reservation: str, spent: Amount, rows: Sequence[UsageRow]) -> None:
        if self._open.pop(reservation, None) is None:
            return  # settled before: counting it twice would be the fault
        self.record(rows)

    def record(self, rows: Sequence[UsageRow]) -> None:
        self.rows.extend(rows)

    def settled(self, tenant: str) -> Usage:
        """What the tenant's finished questions consumed since the start."""
        return sum((row.usage for row in self.rows if row.tenant == tenant), Usage())

    async def close(self) -> None:
        """Nothing is held elsewhere."""
