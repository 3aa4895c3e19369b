"""Time that moves only when a test moves it."""

from ragstone.domain.clock import SystemClock


class VirtualClock:
    """Implements `ports.Clock`. Both readings move together with `advance`."""

    def __init__(self, *, monotonic: float = 1_000.0, time: float = 1_767_225_600.0) -> None:
        self._monotonic = monotonic
        self._time = time

    def monotonic(self) -> float:
        return self._monotonic

    def time(self) -> float:
        return self._time

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass; never backwards."""
        if seconds < 0:
            raise ValueError(f"a monotonic clock cannot go back by {-seconds} s")
        self._monotonic += seconds
        self._time += seconds

    def set_time(self, unix_seconds: float) -> None:
        """Let the wall clock jump, in either direction; the monotonic reading stays."""
        self._time = unix_seconds


class StillClock(SystemClock):
    """The same moment in every process."""

    def monotonic(self) -> float:
        return 5_000.0
