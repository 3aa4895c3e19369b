"""What every stage that may wait is run in."""

import asyncio
import time
from types import TracebackType

from ragstone.observe.trace import Trace
from ragstone.resilience.deadline import Deadline


class Stage:
    """Times a stage, does not begin it after the deadline, and ends it when that passes.

    `async with Stage(...)` raises `DeadlineExceeded`. A class, not a generator: five of these
    surround every question, and each would cost three times as much.
    """

    __slots__ = ("_arming", "_deadline", "_name", "_started", "_timeout", "_trace")

    def __init__(self, name: str, deadline: Deadline, trace: Trace) -> None:
        self._name = name
        self._deadline = deadline
        self._trace = trace

    async def __aenter__(self) -> None:
        self._deadline.check(self._name)
        self._started = time.perf_counter()
        self._timeout = asyncio.timeout(None)
        await self._timeout.__aenter__()
        # The event loop's clock may have another origin than ours: pass a duration.
        self._arming = arm_when_waiting(self._timeout, self._deadline.remaining())

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._arming.cancel()
        self._trace.record(self._name, time.perf_counter() - self._started)
        try:
            await self._timeout.__aexit__(kind, error, traceback)
        except TimeoutError:
            raise self._deadline.exceeded(self._name) from None


def arm_when_waiting(timeout: asyncio.Timeout, seconds: float) -> asyncio.Handle:
    """Lets `timeout`, which has been entered, end in `seconds`, once the loop runs again.

    What ends without waiting needs no timer, and in a cached answer three of them were a third of
    the time. Cancel what is returned before leaving `timeout`.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds

    def arm() -> None:
        if timeout.when() is None:
            timeout.reschedule(until)

    return loop.call_soon(arm)
