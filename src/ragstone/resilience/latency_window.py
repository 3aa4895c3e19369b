"""Samples of latency under one limit, and what they say."""

import math
from typing import Literal

Verdict = Literal["below", "above"]

FEWEST, MOST = 8, 64
"""Samples in a window. Fewer than `FEWEST` when the limit is so low that they would take long."""
SHORTEST_SECONDS = 0.1
"""A window lasts at least this long, so that one pause of a fast dependency is not the whole."""
PRIOR_SAMPLES = 8
"""What the spread of earlier windows weighs beside a new one's."""
_LEAST_SECONDS = 1e-6
_LEAST_DEVIATION = 0.01
"""A dependency without any noise, as in tests, still has an error to divide by."""


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

    def add(self, latency: float, in_flight: int) -> None:
        self.count += 1
        self.peak = max(self.peak, in_flight)
        value = math.log(max(latency, _LEAST_SECONDS))
        delta = value - self.mean
        self.mean += delta / self.count
        self._squares += delta * (value - self.mean)

    def is_due(self, now: float, limit: float, added: float) -> bool:
        """Whether it holds enough to be judged.

        As many as were `added` to the limit: they begin together, and the first of those that
        queue hardly wait. At half of a low limit's calls: long streams give no further sample
        until one of them ends.
        """
        enough = max(min(FEWEST, limit / 2), min(MOST, added))
        return self.count >= enough and now - self._opened >= SHORTEST_SECONDS

    @property
    def error(self) -> float:
        """The standard error of the mean, which for logarithms is a relative one."""
        return self.deviation / math.sqrt(max(1, self.count))

    @property
    def deviation(self) -> float:
        """The standard deviation of the logarithms, earlier windows included."""
        weight = PRIOR_SAMPLES + max(0, self.count - 1)
        variance = (PRIOR_SAMPLES * self._variance + self._squares) / weight
        return max(_LEAST_DEVIATION, math.sqrt(variance))

    def verdict(
        self, threshold: float, error: float, *, below: float, above: float
    ) -> Verdict | None:
        """Whether the mean lies below or above `threshold` (log seconds, known up to `error`).

        `below` and `above` say how many standard errors it takes, half as many above once the
        window is full; None while noise hides it.
        """
        distance = self.mean - threshold
        error = math.hypot(self.error, error)
        if distance > above * error:
            return "above"
        if distance < -below * error:
            return "below"
        if self.count < MOST:
            return None
        return "above" if distance > above / 2 * error else "below"

    @property
    def drop_share(self) -> float:
        """Drops among all outcomes."""
        return self.drops / max(1, self.drops + self.count)

    def next(self, now: float) -> "LatencyWindow":
        """An empty window that remembers how noisy this dependency is."""
        return LatencyWindow(now, self.deviation**2)
