"""The rung `chunks_joined`: how long readers of model streams wait, so that more comes at once.

Relaying costs the same for one token as for ten that arrive together. When the event loop
wakes late, and reading is what keeps it busy, each reader waits between two reads, and its
socket collects meanwhile. The text is the same; it comes in larger pieces.
"""

from typing import Final

from ragstone.ports import Clock
from ragstone.resilience.pressure import PRESSED, Share, Stairs

PAUSES: Final = (0.0, 0.1, 0.15, 0.2, 0.25)
"""Seconds by level. The shortest joins three tokens at 30 a second; the longest is still read
as flowing text."""

LATE_SECONDS: Final = 0.02
"""A wake-up later than this is pressure."""

BUSY_READS: Final = 500.0
"""Reads a second from which joining helps: fewer take a twentieth of a core, and the lag has
another cause, such as other processes."""

_WINDOW_SECONDS: Final = 0.5
_CALM: Final = 0.2
"""Share of late wake-ups up to which there is room: one of the five in a window. A collection of
garbage or another process makes one in every fifth window, and kept the longest pause for half a
minute at a mean lag of 4 ms."""
_PATIENCE_SECONDS: Final = 2.0


class ChunkJoining:
    """Moved by the lag of the event loop and by how much is read."""

    __slots__ = (
        "_busy",
        "_clock",
        "_enabled",
        "_lags",
        "_reads",
        "_stairs",
        "_window_began",
        "pause",
    )

    def __init__(self, *, enabled: bool, clock: Clock) -> None:
        self._enabled = enabled
        self._clock = clock
        self._lags = Share(LATE_SECONDS)
        self._reads = 0
        self._window_began = clock.monotonic()
        self._stairs = Stairs(patience=_PATIENCE_SECONDS, now=self._window_began)
        self.pause = 0.0
        """Seconds between two reads; 0 when there is room."""

    @property
    def has_more(self) -> bool:
        """Whether reading keeps the loop busy, and lag, if it lasts, makes the pause longer."""
        window = self._clock.monotonic() - self._window_began
        longest = self._stairs.level == len(PAUSES) - 1
        return self._enabled and not longest and self._reads >= BUSY_READS * window

    def next_pause(self) -> float:
        """`pause`, for one who has just read."""
        self._reads += 1
        return self.pause

    def observe_lag(self, seconds: float) -> None:
        """How late the event loop woke; expected several times a second."""
        self._lags.observe(seconds)
        now = self._clock.monotonic()
        window = now - self._window_began
        if not self._enabled or window < _WINDOW_SECONDS:
            return
        share, reads = self._lags.take(), self._reads / window
        self._window_began, self._reads = now, 0
        if share <= _CALM or reads < BUSY_READS:
            self._stairs.calm(now)
        elif share >= PRESSED and self._stairs.level < len(PAUSES) - 1:
            self._stairs.up(now)
        else:
            self._stairs.stay(now)
        self.pause = PAUSES[self._stairs.level]
