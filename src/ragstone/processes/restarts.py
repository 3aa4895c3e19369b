"""How often, and how soon, a process that died is started again."""

from collections import deque
from typing import Final

from ragstone.ports import Clock

WINDOW_SECONDS: Final = 60.0
_FIRST_PAUSE_SECONDS: Final = 0.05
_LONGEST_PAUSE_SECONDS: Final = 2.0


class RestartBudget:
    """`most` restarts within a minute, of all processes together."""

    def __init__(self, most: int, clock: Clock) -> None:
        self._most = most
        self._clock = clock
        self._restarts: deque[float] = deque()

    def spend(self) -> float | None:
        """Seconds to wait before the restart, doubling with each within the minute; None when
        there were too many."""
        now = self._clock.monotonic()
        while self._restarts and self._restarts[0] <= now - WINDOW_SECONDS:
            self._restarts.popleft()
        if len(self._restarts) >= self._most:
            return None
        pause: float = _FIRST_PAUSE_SECONDS * 2 ** len(self._restarts)
        self._restarts.append(now)
        return min(pause, _LONGEST_PAUSE_SECONDS)
