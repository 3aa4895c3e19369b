"""A fixed number of questions at once, and a bounded queue before them."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from ragstone.domain.errors import DeadlineExceeded, Overloaded
from ragstone.domain.principal import Principal, Priority
from ragstone.ports import Clock

_SMOOTHING: Final = 0.1
"""Weight of the newest service time in the running mean that `Retry-After` is computed from."""


@dataclass(frozen=True, slots=True)
class AdmittedPermit:
    """Implements `ports.Permit`."""

    waited: float

    def free_slot(self) -> None:
        """The slot is kept until the end."""


class FixedAdmission:
    """Implements `ports.Admission`: first come, first served, refusing beyond the queue.

    A permit is handed from the request that ends to the one that waits longest, so the limit
    is never exceeded in between; a waiter that is cancelled gives up its place or, when it
    had just been handed a permit, passes it on.
    """

    def __init__(self, *, concurrency: int, queue: int, clock: Clock) -> None:
        self._concurrency = concurrency
        self._queue_limit = queue
        self._clock = clock
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._mean_service = 1.0
        self.in_flight = 0

    @property
    def queued(self) -> int:
        return len(self._waiting)

    def check(
        self, principal: Principal, *, priority: Priority, weight: int, deadline: float
    ) -> None:
        """Nothing is refused before `admit`."""

    @asynccontextmanager
    async def admit(
        self, principal: Principal, *, priority: Priority, weight: int, deadline: float
    ) -> AsyncIterator[AdmittedPermit]:
        """Raises `Overloaded` (the queue is full), `DeadlineExceeded` (waited too long)."""
        arrived = self._clock.monotonic()
        await self._acquire(deadline)
        started = self._clock.monotonic()
        try:
            yield AdmittedPermit(waited=started - arrived)
        finally:
            self._note_service(self._clock.monotonic() - started)
            self._release()

    async def _acquire(self, deadline: float) -> None:
        if self.in_flight < self._concurrency:
            self.in_flight += 1
            return
        if len(self._waiting) >= self._queue_limit:
            raise Overloaded(
                f"The server is answering {self.in_flight} questions and "
                f"{len(self._waiting)} more are waiting.",
                remedy="Try again shortly.",
                retry_after=self._expected_wait(),
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(deadline - self._clock.monotonic()):
                await turn
        except BaseException as error:
            self._withdraw(turn)
            if isinstance(error, TimeoutError):
                raise DeadlineExceeded(
                    "The question waited for its turn until its time was used up.",
                    remedy="Try again shortly.",
                    retry_after=self._expected_wait(),
                ) from None
            raise

    def _withdraw(self, turn: asyncio.Future[None]) -> None:
        if turn.done() and not turn.cancelled():
            self._release()  # handed over at the very moment of leaving
        elif turn in self._waiting:
            self._waiting.remove(turn)

    def _release(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)  # the permit changes hands: in_flight stays
                return
        self.in_flight -= 1

    def _note_service(self, seconds: float) -> None:
        self._mean_service += _SMOOTHING * (seconds - self._mean_service)

    def _expected_wait(self) -> float:
        """Seconds until a request arriving now would begin (Little's law), at least one."""
        return max(1.0, self._mean_service * (len(self._waiting) + 1) / self._concurrency)
