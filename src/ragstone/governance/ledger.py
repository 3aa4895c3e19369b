"""Counts what questions consume; a reservation is open from admission to settlement."""

from dataclasses import dataclass
from itertools import count

from ragstone.domain.principal import Principal
from ragstone.domain.usage import Usage


@dataclass(slots=True)
class _Open:
    tenant: str
    upper_bound: Usage


class UsageLedger:
    """Implements `ports.Ledger` in memory: it counts, and refuses nothing."""

    def __init__(self) -> None:
        self._ids = count(1)
        self._open: dict[str, _Open] = {}
        self._settled: dict[str, Usage] = {}

    async def reserve(self, principal: Principal, upper_bound: Usage) -> str:
        reservation = f"res_{next(self._ids)}"
        self._open[reservation] = _Open(principal.tenant, upper_bound)
        return reservation

    async def settle(self, reservation: str, usage: Usage, outcome: str) -> None:
        held = self._open.pop(reservation, None)
        if held is None:
            return  # settled before: counting it twice would be the fault
        self._settled[held.tenant] = self._settled.get(held.tenant, Usage()) + usage

    @property
    def open_reservations(self) -> int:
        return len(self._open)

    def settled(self, tenant: str) -> Usage:
        """What the tenant's finished questions consumed since the start."""
        return self._settled.get(tenant, Usage())
