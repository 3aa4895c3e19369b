"""Whether a rest between two reads of one stream would join anything."""

from collections.abc import Callable
from typing import Final

Pace = Callable[[], float]
"""Seconds to wait before the next read, so that more comes at once; usually 0."""

WORTH_JOINING: Final = 1.8
"""Contents expected within a rest from which it is worth its two system calls and its delay. At
10 a second a rest of 0.1 s would read each alone, and only later."""


def unpaced() -> float:
    """Reads as soon as there is something."""
    return 0.0


class StreamPace:
    """Of one stream: how fast its contents come, since the first of them."""

    __slots__ = ("_first_at", "_pace", "contents")

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self.contents = 0
        """That have come."""
        self._first_at = 0.0

    def rest(self, contents: int, now: float) -> float:
        """Seconds to rest after a read at `now` in which so many contents came; 0: do not."""
        pause = self._pace()
        if not self.contents:
            self._first_at = now
            contents = 1  # what came with the first tells nothing of the pace
        self.contents += contents
        elapsed = now - self._first_at
        if pause and elapsed > 0 and pause * (self.contents - 1) / elapsed >= WORTH_JOINING:
            return pause
        return 0.0
