"""Stage 1: who may begin now."""

import math
from contextlib import AbstractAsyncContextManager
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
) -> AbstractAsyncContextManager[Permit]:
    """Holds a permit while the question runs, and tells the ladder what it waited.

    Entering raises `Overloaded`, `TooManyRequests`, `DeadlineExceeded`.
    """
    return _Admitted(principal, priority, weight, admission, ladder, deadline, trace, metrics)


class _Admitted(AbstractAsyncContextManager[Permit]):
    """A class, not a generator, which would cost every question three times as much."""

    __slots__ = ("_admission", "_asked", "_held", "_ladder", "_metrics", "_priority", "_trace")

    def __init__(
        self,
        principal: Principal,
        priority: Priority,
        weight: int,
        admission: Admission,
        ladder: LoadLadder,
        deadline: Deadline,
        trace: Trace,
        metrics: Metrics,
    ) -> None:
        self._asked = principal, weight, deadline
        self._priority: Priority = priority
        self._admission = admission
        self._ladder = ladder
        self._trace = trace
        self._metrics = metrics

    async def __aenter__(self) -> Permit:
        principal, weight, deadline = self._asked
        try:
            self._held = self._admission.admit(
                principal, priority=self._priority, weight=weight, deadline=deadline.at
            )
            permit = await self._held.__aenter__()
        except (Overloaded, TooManyRequests, DeadlineExceeded) as error:
            self._refused(error)
            raise
        waited, metrics = permit.waited, self._metrics
        self._ladder.observe_wait(waited, self._priority)
        self._trace.record("admit", waited)
        metrics.queue_wait.labels(self._priority).observe(waited)
        metrics.in_flight.labels("answers").inc()
        return permit

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self._metrics.in_flight.labels("answers").dec()
        return await self._held.__aexit__(kind, error, traceback)

    def _refused(self, error: RagstoneError) -> None:
        self._metrics.rejections.labels(error.code, self._priority).inc()
        if tells_of_load(error):
            self._ladder.observe_wait(math.inf, self._priority)
