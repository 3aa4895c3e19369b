"""Who may begin now: a slot for a request's own work, and a place among those in flight.

A slot guards this machine's processor and is given back when the model begins to write; a place
bounds memory and is kept until the last byte. The slots are a `Gate`; the places are counted.
"""

from collections.abc import Awaitable
from types import TracebackType
from typing import Final, Protocol

from ragstone.domain.errors import Overloaded, ShuttingDown
from ragstone.domain.principal import Principal, Priority
from ragstone.ports import Clock
from ragstone.resilience.capacity import RESERVED
from ragstone.resilience.gate import Gate
from ragstone.resilience.ticket import Ticket

_BYTES_OF_A_UNIT: Final = 16_384
_TEXTS_OF_A_UNIT: Final = 16
_MOST_UNITS: Final = 8
_RETRY_SECONDS: Final = 1.0


class SlotLimiter(Protocol):
    """How many slots there are, learnt from how long each is held; see `limiter`."""

    @property
    def limit(self) -> int: ...

    def sample(self, latency: float, in_flight: int) -> None: ...


def weight_of(body_bytes: int | None) -> int:
    """The slots that a request takes: one, and one more for each full 16 kB of body, at most 8.

    A question is a few hundred bytes; what takes longer to parse, to embed and to pack is a long
    conversation or a long list of texts. None: the length is not known yet, and counts as short
    until the body is read. A gate lets none take more than a tenant's share.
    """
    return min(_MOST_UNITS, 1 + (body_bytes or 0) // _BYTES_OF_A_UNIT)


def weight_of_texts(count: int) -> int:
    """The slots for embedding so many texts at once: one for each 16 begun, at most 8.

    A body of tiny texts is short and yet much work: 16 of them take about as long as a question.
    """
    return min(_MOST_UNITS, -(-count // _TEXTS_OF_A_UNIT))


class AdmittedRequest:
    """Implements `ports.Permit`, and is the context in which the request runs."""

    __slots__ = (
        "_admission", "_at_once", "_deadline", "_priority", "_tenant", "_ticket", "_weight",
    )  # fmt: skip

    def __init__(
        self,
        admission: "GatedAdmission",
        tenant: str,
        priority: Priority,
        weight: int,
        deadline: float,
        *,
        slot: bool,
    ) -> None:
        self._admission = admission
        self._at_once = slot
        self._tenant = tenant
        self._priority: Priority = priority
        self._weight = weight
        self._deadline = deadline
        self._ticket: Ticket | None = None

    async def __aenter__(self) -> "AdmittedRequest":
        admission = self._admission
        admission.take_place(self._priority)
        if self._at_once:
            try:
                await self.take_slot()
            except BaseException:
                admission.give_place()
                raise
        return self

    def _slot(self) -> Awaitable[Ticket]:
        return self._admission.gate.acquire(
            tenant=self._tenant,
            priority=self._priority,
            weight=self._weight,
            deadline=self._deadline,
        )

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.free_slot()
        elif self._ticket is not None:  # broken off: how long it was held tells nothing of the load
            self._ticket.release()
        self._admission.give_place()

    @property
    def waited(self) -> float:
        return self._ticket.waited if self._ticket is not None else 0.0

    def free_slot(self) -> None:
        if self._ticket is not None and self._ticket.held:
            self._admission.learn(self._ticket)
            self._ticket.release()

    def check_slot(self) -> None:
        self._admission.gate.check(
            tenant=self._tenant,
            priority=self._priority,
            weight=self._weight,
            deadline=self._deadline,
        )

    async def take_slot(self) -> None:
        if self._ticket is None or not self._ticket.held:
            self._ticket = await self._slot()


class GatedAdmission:
    """Implements `ports.Admission` over a gate for the slots and a bound on what is in flight.

    The classes keep the same distance from the bound as from the gate's limit. With a `limiter`,
    the time for which slots are held decides how many there are: give its `limit` to the gate.
    """

    def __init__(
        self, gate: Gate, *, in_flight: int, clock: Clock, limiter: SlotLimiter | None = None
    ) -> None:
        self.gate = gate
        self._clock = clock
        self._limiter = limiter
        self._places = 0
        self._most: dict[Priority, int] = {
            name: max(1, in_flight - round(share * in_flight)) for name, share in RESERVED.items()
        }

    @property
    def in_flight(self) -> int:
        """Requests that were let in and have not ended."""
        return self._places - self.gate.waiting

    @property
    def waiting(self) -> int:
        return self.gate.waiting

    @property
    def slots_in_use(self) -> int:
        return self.gate.in_use

    def check(
        self, principal: Principal, *, priority: Priority, weight: int, deadline: float
    ) -> None:
        """As the port says."""
        self._refuse_beyond(priority)
        self.gate.check(
            tenant=principal.tenant, priority=priority, weight=weight, deadline=deadline,
            hurried=False,
        )  # fmt: skip

    def admit(
        self,
        principal: Principal,
        *,
        priority: Priority,
        weight: int,
        deadline: float,
        slot: bool = True,
    ) -> AdmittedRequest:
        """As the port says."""
        return AdmittedRequest(self, principal.tenant, priority, weight, deadline, slot=slot)

    def close(self) -> None:
        """Refuses from now on, and who waits; requests in flight go on."""
        self.gate.close()

    def take_place(self, priority: Priority) -> None:
        """For `AdmittedRequest`. Raises `Overloaded`."""
        self._refuse_beyond(priority)
        self._places += 1

    def give_place(self) -> None:
        self._places -= 1

    def learn(self, ticket: Ticket) -> None:
        """A slot was held to its end and is about to be given back."""
        if self._limiter is not None:
            self._limiter.sample(self._clock.monotonic() - ticket.since, self.gate.in_use)

    def _refuse_beyond(self, priority: Priority) -> None:
        if self._places >= self._most[priority]:
            raise Overloaded(
                "The server holds as many requests as it may, open streams included.",
                remedy="Try again later.",
                retry_after=self.gate.retry_after(),
            )


class OpenAdmission:
    """Implements `ports.Admission` without refusing anybody before it closes; it only counts."""

    waiting: Final = 0

    def __init__(self) -> None:
        self.in_flight = 0
        self.slots_in_use = 0
        self._closed = False

    def check(
        self, principal: Principal, *, priority: Priority, weight: int, deadline: float
    ) -> None:
        """Raises `ShuttingDown` only."""
        if self._closed:
            raise ShuttingDown(
                "The server is shutting down.",
                remedy="Try again: another process answers.",
                retry_after=_RETRY_SECONDS,
            )

    def admit(
        self,
        principal: Principal,
        *,
        priority: Priority,
        weight: int,
        deadline: float,
        slot: bool = True,
    ) -> "CountedRequest":
        self.check(principal, priority=priority, weight=weight, deadline=deadline)
        return CountedRequest(self, weight, slot=slot)

    def close(self) -> None:
        """Refuses from now on."""
        self._closed = True


class CountedRequest:
    """Implements `ports.Permit` for `OpenAdmission`."""

    waited: Final = 0.0

    def __init__(self, admission: OpenAdmission, weight: int, *, slot: bool) -> None:
        self._admission = admission
        self._at_once = slot
        self._weight = weight
        self._held = 0

    async def __aenter__(self) -> "CountedRequest":
        self._admission.in_flight += 1
        if self._at_once:
            await self.take_slot()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.free_slot()
        self._admission.in_flight -= 1

    def free_slot(self) -> None:
        self._admission.slots_in_use -= self._held
        self._held = 0

    def check_slot(self) -> None:
        """There is room."""

    async def take_slot(self) -> None:
        self._admission.slots_in_use += self._weight - self._held
        self._held = self._weight
