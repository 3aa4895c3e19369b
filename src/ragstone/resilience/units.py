"""Units of a limit that are in use, in all and by tenant."""

from typing import Protocol


class Units(Protocol):
    """What a `Gate` counts with: within one process, or over several (`board.Board`)."""

    @property
    def processes(self) -> int:
        """How many share the limit."""
        ...

    @property
    def own(self) -> int:
        """In use by this process."""
        ...

    @property
    def own_tenants(self) -> int:
        """Tenants that use units in this process, at least 1."""
        ...

    @property
    def own_most(self) -> int:
        """The most that one tenant uses in this process."""
        ...

    @property
    def contested(self) -> bool:
        """Whether another process has somebody waiting."""
        ...

    def total(self) -> int:
        """In use by all processes."""
        ...

    def of(self, tenant: str) -> int:
        """In use by a tenant in all processes."""
        ...

    def own_of(self, tenant: str) -> int:
        """In use by a tenant in this process."""
        ...

    def agree(self, limit: int) -> int:
        """The limit over all, when `limit` is what this process finds right for itself."""
        ...

    def take(self, tenant: str, weight: int, limit: int) -> bool:
        """Takes `weight` units if no more than `limit` are then in use, or none was."""
        ...

    def give(self, tenant: str, weight: int) -> None:
        """Gives back what `take` took."""
        ...

    def gives_way(self, place: int, limits: tuple[int, ...]) -> bool:
        """Whether a waiter of this place in line has to leave a free unit to another process."""
        ...

    def want(self, place: int | None) -> None:
        """Tells the others the place in line of this process's first waiter, or that none is."""
        ...


class LocalUnits:
    """Implements `Units` for a process on its own."""

    __slots__ = ("_held", "own")

    processes = 1
    contested = False

    def __init__(self) -> None:
        self.own = 0
        self._held: dict[str, int] = {}

    @property
    def own_tenants(self) -> int:
        return max(1, len(self._held))

    @property
    def own_most(self) -> int:
        return max(self._held.values(), default=0)

    def total(self) -> int:
        return self.own

    def of(self, tenant: str) -> int:
        return self._held.get(tenant, 0)

    def own_of(self, tenant: str) -> int:
        return self._held.get(tenant, 0)

    def agree(self, limit: int) -> int:
        return limit

    def take(self, tenant: str, weight: int, limit: int) -> bool:
        after = self.own + weight
        if after > limit and self.own:
            return False
        self.own = after
        self._held[tenant] = self._held.get(tenant, 0) + weight
        return True

    def give(self, tenant: str, weight: int) -> None:
        self.own -= weight
        left = self._held[tenant] - weight
        if left:
            self._held[tenant] = left
        else:
            del self._held[tenant]

    def gives_way(self, place: int, limits: tuple[int, ...]) -> bool:
        return False

    def want(self, place: int | None) -> None:
        """There is nobody to tell."""
