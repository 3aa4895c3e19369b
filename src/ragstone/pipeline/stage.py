"""What every stage that may wait is run in."""

import time
from types import TracebackType

from ragstone.domain.errors import DeadlineExceeded
from ragstone.observe.trace import Trace
from ragstone.resilience.deadline import Deadline
from ragstone.resilience.time_limit import TimeLimit


class Stage:
    """Times a stage, does not begin it after the deadline, and ends it when that passes.

    `async with Stage(...)` raises `DeadlineExceeded`. A class, not a generator: five of these
    surround every question, and each would cost three times as much.
    """

    __slots__ = ("_deadline", "_limit", "_name", "_started", "_trace")

    def __init__(self, name: str, deadline: Deadline, trace: Trace) -> None:
        self._name = name
        self._deadline = deadline
        self._trace = trace

    async def __aenter__(self) -> None:
        self._deadline.check(self._name)
        self._started = time.perf_counter()
        # The event loop's clock may have another origin than ours: pass a duration.
        self._limit = TimeLimit(self._deadline.remaining(), self._exceeded)
        self._limit.begin()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._trace.record(self._name, time.perf_counter() - self._started)
        self._limit.end(kind)

    def _exceeded(self) -> DeadlineExceeded:
        return self._deadline.exceeded(self._name)
