"""All who wait: by priority, fair between tenants, bounded."""

from collections.abc import Callable

from ragstone.domain.principal import PRIORITIES
from ragstone.resilience.wait_limit import WaitLimit
from ragstone.resilience.waiting_line import Line, Waiter


class WaitingRoom:
    """All lines together, with a bound on how many may wait, and a tenant's share of that.

    A tenant may fill a room in which nobody else waits. When the room is full, a newcomer takes
    the place of a waiter of lower priority, or of a tenant that has more than its share.
    """

    def __init__(
        self,
        places: int,
        *,
        tenant_share: float,
        in_use: Callable[[str], int],
        new_wait_limit: Callable[[], WaitLimit],
    ) -> None:
        """`in_use`: units of a tenant in use."""
        self._places = places
        self._share = max(1, int(places * tenant_share))
        self._by_tenant: dict[str, int] = {}
        self._crowding: dict[str, None] = {}
        """Tenants above their share; there are never more of them than shares in one."""
        self.lines = tuple(Line(in_use, new_wait_limit()) for _ in PRIORITIES)
        self.count = 0

    def push(self, waiter: Waiter) -> None:
        self.lines[waiter.rank].push(waiter)
        self._count(waiter.tenant, 1)

    def remove(self, waiter: Waiter) -> None:
        self.lines[waiter.rank].remove(waiter)
        self._count(waiter.tenant, -1)

    def of(self, tenant: str) -> int:
        """Requests of a tenant that wait."""
        return self._by_tenant.get(tenant, 0)

    def freed(self, tenant: str) -> None:
        """The tenant has fewer units in use than before."""
        for line in self.lines:
            line.freed(tenant)

    def wait_limit(self, rank: int) -> WaitLimit:
        """Of a class."""
        return self.lines[rank].wait_limit

    def units_until(self, tenant: str, rank: int, weight: int) -> int:
        """Units that are let in until all of a tenant are that wait in a class, and one more of
        that weight."""
        higher = sum(line.units_until(tenant, 0) for line in self.lines[:rank])
        return higher + self.lines[rank].units_until(tenant, weight)

    @property
    def tenants(self) -> int:
        """Tenants of whom somebody waits."""
        return len(self._by_tenant)

    @property
    def full(self) -> bool:
        return self.count >= self._places

    @property
    def overfull(self) -> bool:
        return self.count > self._places

    def displaced_by(self, tenant: str, rank: int) -> Waiter | None:
        """Who would leave a full room for a newcomer; None: the newcomer has to go."""
        for lower in range(len(self.lines) - 1, rank, -1):
            if self.lines[lower]:
                return self._from_line(lower)
        return None if tenant in self._crowding else self._crowding_at(rank)

    def _from_line(self, rank: int) -> Waiter:
        return self._crowding_at(rank) or self.lines[rank].oldest_of_last_tenant()

    def _crowding_at(self, rank: int) -> Waiter | None:
        for tenant in self._crowding:
            if (waiter := self.lines[rank].oldest_of(tenant)) is not None:
                return waiter
        return None

    def _count(self, tenant: str, change: int) -> None:
        self.count += change
        waiting = self._by_tenant.get(tenant, 0) + change
        if waiting:
            self._by_tenant[tenant] = waiting
        else:
            del self._by_tenant[tenant]
        if waiting > self._share:
            self._crowding[tenant] = None
        else:
            self._crowding.pop(tenant, None)
