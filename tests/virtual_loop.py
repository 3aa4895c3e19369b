"""An asyncio event loop on virtual time: when nothing is ready, time jumps to the next timer.

`asyncio.sleep`, `asyncio.timeout`, `call_later` and whatever else is built on the loop's timers
work unchanged and take no real time, so an hour of load is simulated in seconds and every run
of a seeded test is the same.

    def test_it_waits() -> None:
        async def scenario() -> None:
            clock = running_clock()             # implements ports.Clock; the loop's own time
            before = clock.monotonic()
            await asyncio.sleep(60)
            assert clock.monotonic() - before == pytest.approx(60)

        run(scenario())

Threads and sockets have no place in it: a loop that waits for neither a timer nor a file that is
ready raises `Deadlock`.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from tests.clock import VirtualClock

T = TypeVar("T")


class Deadlock(RuntimeError):
    """Every task waits, and no timer is set that could wake one."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its time is `clock`, which a test may also advance itself, as a blocked loop would."""

    def __init__(self, clock: VirtualClock | None = None) -> None:
        self.clock = clock or VirtualClock()
        super().__init__(_JumpingSelector(self.clock))

    def time(self) -> float:
        return self.clock.monotonic()


class _JumpingSelector(selectors.DefaultSelector):  # type: ignore[misc,valid-type]
    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if not ready:
            if timeout is None:
                raise Deadlock("every task waits, and there is no timer to wake one")
            self._clock.advance(max(timeout, 0))
        return ready


def run(main: Coroutine[Any, Any, T], *, clock: VirtualClock | None = None) -> T:
    """What `main` returns, run on a new loop of virtual time; like `asyncio.run` otherwise."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        return runner.run(main)


def running_clock() -> VirtualClock:
    """The clock of the virtual loop that runs the caller."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop.clock
