"""Samples of latency under one limit, and what they say."""

import math
from typing import Literal

Verdict = Literal["calm", "crowded"]

FEWEST, MOST = 8, 64
"""Samples in a window. Fewer than `FEWEST` when the limit is so low that they would take long."""
SHORTEST_SECONDS = 0.1
"""A window lasts at least this long, so that one pause of a fast dependency is not the whole."""
PRIOR_SAMPLES = 8
"""What the spread of earlier windows weighs beside a new one's."""
_ROUNDING = 1e-6


class LatencyWindow:
    """Running mean and spread (Welford) of the logarithms of latencies."""

    __slots__ = ("_opened", "_squares", "_variance", "count", "drops", "mean", "peak")

    def __init__(self, opened: float, variance: float = 0.1) -> None:
        self._opened = opened
        self._variance = variance
        self._squares = 0.0
        self.count = 0
        self.drops = 0
        self.mean = 0.0
        self.peak = 0

    def add(self, now: float, latency: float, in_flight: int) -> bool:
        """False: the call began before this window, under another limit, and says nothing."""
        if now - latency < self._opened - _ROUNDING:
            return False
        self.count += 1
        self.peak = max(self.peak, in_flight)
        value = math.log(max(latency, _ROUNDING))
        delta = value - self.mean
        self.mean += delta / self.count
        self._squares += delta * (value - self.mean)
        return True

    def is_due(self, now: float, limit: float) -> bool:
        """Whether it holds enough to be judged. At half of a low limit's calls: long streams
        give no further sample until one of them ends."""
        enough = self.count >= min(FEWEST, limit / 2)
        return enough and now - self._opened >= SHORTEST_SECONDS

    def verdict(self, threshold: float) -> Verdict | None:
        """Whether the mean lies above `threshold` (log seconds); None while noise hides it.

        Calm is believed at one standard error, since a probe that was wrong is taken back;
        crowded at two, since it costs throughput.
        """
        distance = self.mean - threshold
        error = math.sqrt(self._pooled_variance() / self.count)
        if distance > 2 * error:
            return "crowded"
        if distance < -error:
            return "calm"
        if self.count < MOST:
            return None
        return "crowded" if distance > 0 else "calm"

    @property
    def drop_share(self) -> float:
        """Drops among all outcomes."""
        return self.drops / max(1, self.drops + self.count)

    def next(self, now: float) -> "LatencyWindow":
        """An empty window that remembers how noisy this dependency is."""
        return LatencyWindow(now, self._pooled_variance())

    def _pooled_variance(self) -> float:
        weight = PRIOR_SAMPLES + max(0, self.count - 1)
        return (PRIOR_SAMPLES * self._variance + self._squares) / weight
