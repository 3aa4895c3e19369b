"""Stage 1: who may begin now."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ragstone.domain.errors import DeadlineExceeded, Overloaded, ShuttingDown, TooManyRequests
from ragstone.domain.principal import Principal, Priority
from ragstone.observe.metrics import Metrics
from ragstone.observe.trace import Trace
from ragstone.ports import Admission, Permit
from ragstone.resilience.deadline import Deadline
from ragstone.resilience.ladder import LoadLadder


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
            ladder.observe_wait(permit.waited)
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
            # A stop is no load, and a tenant that has its share is no lack of room.
            if not isinstance(error, ShuttingDown | TooManyRequests):
                ladder.observe_wait(math.inf)
        raise
