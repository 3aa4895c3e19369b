"""Stage 1: who may begin now."""

import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType

from ragstone.domain.errors import DeadlineExceeded, Overloaded, RagstoneError, TooManyRequests
from ragstone.domain.principal import Principal, Priority
from ragstone.observe.metrics import Metrics
from ragstone.observe.trace import Trace
from ragstone.ports import Admission, Permit
from ragstone.resilience.deadline import Deadline
from ragstone.resilience.ladder import LoadLadder
from ragstone.resilience.pressure import tells_of_load


def admit(
    principal: Principal,
    priority: Priority,
    weight: int,
    admission: Admission,
    ladder: LoadLadder,
    deadline: Deadline,
    trace: Trace,
    metrics: Metrics,
    *,
    slot: bool = True,
) -> AbstractAsyncContextManager[Permit]:
    """Holds a permit while the question runs, and tells the ladder what its slot waited.

    Without `slot` the slot is waited for when it is taken. Entering raises `Overloaded`,
    `TooManyRequests`, `DeadlineExceeded`.
    """
    enter = partial(
        admission.admit,
        principal, priority=priority, weight=weight, deadline=deadline.at, slot=slot,
    )  # fmt: skip
    return _Admitted(enter, priority, ladder, trace, metrics, slot=slot)


class _Admitted(AbstractAsyncContextManager[Permit]):
    """Implements `ports.Permit` over another, and tells what it waited for its first slot.

    A class, not a generator, which would cost every question three times as much.
    """

    __slots__ = (
        "_enter", "_held", "_ladder", "_metrics", "_permit",
        "_priority", "_slot", "_told", "_trace",
    )  # fmt: skip

    def __init__(
        self,
        enter: Callable[[], AbstractAsyncContextManager[Permit]],
        priority: Priority,
        ladder: LoadLadder,
        trace: Trace,
        metrics: Metrics,
        *,
        slot: bool,
    ) -> None:
        self._enter = enter
        self._priority: Priority = priority
        self._ladder = ladder
        self._trace = trace
        self._metrics = metrics
        self._slot = slot
        self._told = False

    async def __aenter__(self) -> Permit:
        try:
            self._held = self._enter()
            self._permit = await self._held.__aenter__()
        except (Overloaded, TooManyRequests, DeadlineExceeded) as error:
            self._refused(error)
            raise
        self._metrics.in_flight.labels("answers").inc()
        if self._slot:
            self._tell()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self._metrics.in_flight.labels("answers").dec()
        return await self._held.__aexit__(kind, error, traceback)

    @property
    def waited(self) -> float:
        return self._permit.waited

    def free_slot(self) -> None:
        self._permit.free_slot()

    async def take_slot(self) -> None:
        if self._told:
            await self._permit.take_slot()
            return
        try:
            await self._permit.take_slot()
        except (Overloaded, TooManyRequests, DeadlineExceeded) as error:
            self._refused(error)
            raise
        self._tell()

    def check_slot(self) -> None:
        try:
            self._permit.check_slot()
        except (Overloaded, TooManyRequests, DeadlineExceeded) as error:
            self._refused(error)
            raise

    def _tell(self) -> None:
        self._told = True
        waited = self._permit.waited
        self._ladder.observe_wait(waited, self._priority)
        self._trace.record("admit", waited)
        self._metrics.queue_wait.labels(self._priority).observe(waited)

    def _refused(self, error: RagstoneError) -> None:
        self._metrics.rejections.labels(error.code, self._priority).inc()
        if tells_of_load(error):
            self._ladder.observe_wait(math.inf, self._priority)
