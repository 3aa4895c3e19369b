"""Stage 1: who may begin now."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ragstone.domain.errors import DeadlineExceeded, Overloaded
from ragstone.domain.principal import Principal
from ragstone.observe.metrics import Metrics
from ragstone.observe.trace import Trace
from ragstone.ports import Admission
from ragstone.resilience.deadline import Deadline


@asynccontextmanager
async def admit(
    principal: Principal,
    admission: Admission,
    deadline: Deadline,
    trace: Trace,
    metrics: Metrics,
) -> AsyncIterator[None]:
    """Holds a permit while the question runs. Raises `Overloaded`, `DeadlineExceeded`."""
    entered = False
    try:
        async with admission.admit(
            principal, priority=principal.priority or "standard", weight=1, deadline=deadline.at
        ) as permit:
            entered = True
            trace.record("admit", permit.waited)
            metrics.queue_wait.labels("standard").observe(permit.waited)
            metrics.in_flight.labels("answers").inc()
            try:
                yield
            finally:
                metrics.in_flight.labels("answers").dec()
    except (Overloaded, DeadlineExceeded) as error:
        if not entered:
            metrics.rejections.labels(error.code, "standard").inc()
        raise
