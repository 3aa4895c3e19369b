"""Who may begin now."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from ragstone.domain.principal import Principal, Priority


class Permit(Protocol):
    """One admitted request: a place among those in flight, and a slot for its own work."""

    @property
    def waited(self) -> float:
        """Seconds in the queue, for the slot that was taken last."""
        ...

    def free_slot(self) -> None:
        """The request's own work is done, as when a model writes now: another may begin.

        The place in flight is kept until the context ends. A second call does nothing.
        """
        ...

    def check_slot(self) -> None:
        """Raises at once what `take_slot` would raise at once, and takes nothing: before work
        that a refusal would undo. Not while a slot is held."""
        ...

    async def take_slot(self) -> None:
        """There is own work to do: wait for a slot, or for one once more, as when the model
        failed.

        Nothing happens while the slot is held. Raises as entering `Admission.admit` does.
        """
        ...


class Admission(Protocol):
    """Who may begin now. `weight` is in slots, at least 1; see `resilience/admission.py`.

    Both raise `Overloaded` (the server has no room), `TooManyRequests` (the tenant has its
    share), `ShuttingDown`, `DeadlineExceeded` (it would begin too late).
    """

    @property
    def in_flight(self) -> int:
        """Requests of this process that were let in and have not ended."""
        ...

    @property
    def waiting(self) -> int:
        """Requests of this process that wait for a slot."""
        ...

    @property
    def slots_in_use(self) -> int: ...

    def check(
        self, principal: Principal, *, priority: Priority, weight: int, deadline: float
    ) -> None:
        """Raises at once what `admit` would raise at once, and takes nothing.

        For the moment when a request's head is there and its body is not yet. Whoever may need no
        slot after all is let through where only the short wait of overload speaks against it.
        """
        ...

    def admit(
        self,
        principal: Principal,
        *,
        priority: Priority,
        weight: int,
        deadline: float,
        slot: bool = True,
    ) -> AbstractAsyncContextManager[Permit]:
        """Held while the request runs. Without `slot` it begins with a place alone, as for a
        question that a kept answer may settle."""
        ...

    def close(self) -> None:
        """Refuses from now on, and whoever waits; what runs goes on."""
        ...
