"""The rung `chunks_joined`: how long readers of model streams wait, so that more comes at once.

Relaying costs the same for one token as for ten that arrive together. When the event loop
wakes late, each reader waits between two reads, and its socket collects meanwhile. The text
is the same; it comes in larger pieces.
"""

from typing import Final

from ragstone.ports import Clock
from ragstone.resilience.pressure import CALM, PRESSED, Share, Stairs

PAUSES: Final = (0.0, 0.1, 0.15, 0.2, 0.25)
"""Seconds by level. The shortest joins three tokens at 30 a second; the longest is still read
as flowing text."""

LATE_SECONDS: Final = 0.02
"""A wake-up later than this is pressure."""

_WINDOW_SECONDS: Final = 0.5
_PATIENCE_SECONDS: Final = 2.0


class ChunkJoining:
    """Moved by the lag of the event loop; `pause` is what readers wait."""

    __slots__ = ("_clock", "_enabled", "_lags", "_stairs", "_window_began", "pause")

    def __init__(self, *, enabled: bool, clock: Clock) -> None:
        self._enabled = enabled
        self._clock = clock
        self._lags = Share(LATE_SECONDS)
        self._window_began = clock.monotonic()
        self._stairs = Stairs(patience=_PATIENCE_SECONDS, now=self._window_began)
        self.pause = 0.0
        """Seconds between two reads; 0 when there is room."""

    def observe_lag(self, seconds: float) -> None:
        """How late the event loop woke; expected several times a second."""
        self._lags.observe(seconds)
        now = self._clock.monotonic()
        if not self._enabled or now - self._window_began < _WINDOW_SECONDS:
            return
        self._window_began = now
        share = self._lags.take()
        if share >= PRESSED and self._stairs.level < len(PAUSES) - 1:
            self._stairs.up(now)
        elif share <= CALM:
            self._stairs.calm(now)
        else:
            self._stairs.stay(now)
        self.pause = PAUSES[self._stairs.level]
