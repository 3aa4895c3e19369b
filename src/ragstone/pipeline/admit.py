"""Stage 1: who may begin now."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ragstone.domain.errors import DeadlineExceeded, Overloaded, TooManyRequests
from ragstone.domain.principal import Principal, Priority
from ragstone.observe.metrics import Metrics
from ragstone.observe.trace import Trace
from ragstone.ports import Admission, Permit
from ragstone.resilience.deadline import Deadline
from ragstone.resilience.ladder import LoadLadder
from ragstone.resilience.pressure import tells_of_load


@asynccontextmanager
async def admit(
    principal: Principal,
    priority: Priority,
    weight: int,
    admission: Admission,
    ladder: LoadLadder,
    deadline: Deadline,
    trace: Trace,
    metrics: Metrics,
) -> AsyncIterator[Permit]:
    """Holds a permit while the question runs, and tells the ladder what it waited.

    Raises `Overloaded`, `TooManyRequests`, `DeadlineExceeded`.
    """
    entered = False
    try:
        async with admission.admit(
            principal, priority=priority, weight=weight, deadline=deadline.at
        ) as permit:
            entered = True
            ladder.observe_wait(permit.waited, priority)
            trace.record("admit", permit.waited)
            metrics.queue_wait.labels(priority).observe(permit.waited)
            metrics.in_flight.labels("answers").inc()
            try:
                yield permit
            finally:
                metrics.in_flight.labels("answers").dec()
    except (Overloaded, TooManyRequests, DeadlineExceeded) as error:
        if not entered:
            metrics.rejections.labels(error.code, priority).inc()
            if tells_of_load(error):
                ladder.observe_wait(math.inf, priority)
        raise
