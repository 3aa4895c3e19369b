"""How many calls a dependency should have in flight, learned from the time to the first result.

The question asked is always the same: would the calls be faster if there were half as many?
While they would not, more are let in; when they would, fewer. So the yardstick is not a history
of latencies, which creeps up when overload lasts, but a measurement at half the concurrency.

- **Window.** Some samples of calls that all began after the last change of the limit; closed when
  the verdict is clear against their own noise, `calm` or `crowded`: at most `TOLERANCE` times the
  reference latency, or more. Means are of logarithms, since latencies are about lognormal.
- **Growth.** By half of itself a window until one is crowded; then back to the last calm limit,
  and a binary search up to the crowded one, as in BIC (Xu, Harfoush and Rhee, "Binary Increase
  Congestion Control", INFOCOM 2004). Found, it rests, longer after each probe that failed.
- **Check.** When a limit that was calm is crowded, and now and then at rest: the limit is halved
  for a window. Latency falls: halve again, then search upwards. It does not: our concurrency is
  not the cause, so this latency is the new reference and the limit is restored.
- **Drops.** Each takes its share of a half, so a whole round of timeouts halves the limit and a
  stray one costs little, as in DCTCP (RFC 8257, section 3.3). Nothing grows while they go on.
"""

import math
from dataclasses import dataclass

from ragstone.ports import Clock
from ragstone.resilience.latency_window import LatencyWindow

TOLERANCE = 1.35
"""A latency this many times the reference is crowded. Past its knee a server that queues or that
shares its speed takes twice as long for twice the calls; this is the geometric half of that."""
CHECK_EVERY = 64
"""Windows at rest between two checks: they cost about half a window's throughput each."""
LONGEST_REST = 32
"""Windows of rest at most: a probe that fails makes one window's first results late."""
DROP_SHARE = 0.1
"""More drops than this among a window's outcomes, and the limit does not grow."""


@dataclass(frozen=True, slots=True)
class _Check:
    """What was measured before the limit was halved."""

    limit: float
    log_latency: float


class AdaptiveLimiter:
    """The concurrency limit of one dependency. Constant memory; about a microsecond a sample."""

    def __init__(self, *, initial: int, minimum: int, maximum: int, clock: Clock) -> None:
        """Raises `ValueError` unless 1 <= minimum <= initial <= maximum."""
        if not 1 <= minimum <= initial <= maximum:
            raise ValueError(f"want 1 <= {minimum=} <= {initial=} <= {maximum=}")
        self._minimum, self._maximum = float(minimum), float(maximum)
        self._clock = clock
        self._limit = float(initial)
        self._window = LatencyWindow(clock.monotonic())
        self._reference: float | None = None
        self._calm_limit = 0.0
        self._ceiling = math.inf
        self._step = initial / 2
        self._rest = 0
        self._patience = 2
        self._until_check = CHECK_EVERY // 8
        self._check: _Check | None = None
        self._dropping = False

    @property
    def limit(self) -> int:
        """Calls that may be in flight now."""
        return int(self._limit)

    def sample(self, latency: float, in_flight: int) -> None:
        """A call succeeded, `latency` seconds to its first result; `in_flight` counts it.

        Not for refusals of our own nor for cancelled calls.
        """
        now = self._clock.monotonic()
        window = self._window
        if not window.add(now, latency, in_flight):
            return
        if not window.is_due(now, self._limit):
            return
        if self._reference is None:
            self._reference = window.mean
        verdict = window.verdict(self._threshold())
        if verdict is None:
            return
        if self._check is not None:
            self._checked(self._check, fell=verdict == "calm")
        elif verdict == "calm":
            self._calm()
        else:
            self._crowded()
        self._window = window.next(now)

    def dropped(self, in_flight: int) -> None:
        """A call timed out, or the other side refused it as too much; `in_flight` counts it."""
        if not self._dropping:
            self._ceiling = self._check.limit if self._check else self._limit
            self._dropping = True
        self._check = None
        self._window.drops += 1
        # A limit that is not used is not halved by the few calls there are.
        self._set(self._limit * (1 - 0.5 / max(in_flight, self._limit / 2, 1)))
        self._calm_limit = min(self._calm_limit, self._limit)

    def _threshold(self) -> float:
        if self._check is not None:
            return self._check.log_latency - math.log(TOLERANCE)
        assert self._reference is not None
        return self._reference + math.log(TOLERANCE)

    def _calm(self) -> None:
        window = self._window
        assert self._reference is not None
        if window.mean < self._reference - math.log(TOLERANCE):
            self._reference = window.mean  # the dependency became faster
        if window.drop_share > DROP_SHARE or window.peak < self._limit / 2:
            return  # overloaded, or the limit is not what holds the calls back
        self._dropping = False
        if self._limit > self._calm_limit and self._ceiling == math.inf:
            self._patience = 2
        self._calm_limit = self._limit
        self._until_check -= 1
        if self._rest > 0:
            self._rest -= 1
        elif self._until_check <= 0:
            self._halve()
        else:
            self._probe()

    def _probe(self) -> None:
        """Try more: towards the ceiling by halves, else by steps that double."""
        if self._ceiling - self._limit <= max(1.0, 0.02 * self._limit):
            self._take_rest()
        elif self._ceiling < math.inf:
            self._set(min((self._limit + self._ceiling) / 2, 2 * self._limit))
        else:
            self._set(self._limit + self._step)
            self._step = min(2 * self._step, self._limit / 2)

    def _take_rest(self) -> None:
        self._rest = self._patience
        self._patience = min(2 * self._patience, LONGEST_REST)
        self._ceiling = math.inf
        self._step = max(1.0, 0.02 * self._limit)

    def _crowded(self) -> None:
        if self._window.drop_share > DROP_SHARE:
            return  # the drops shrink it; what came through says nothing of a lower limit
        if self._limit > self._calm_limit > 0:
            self._ceiling = self._limit
            self._set(self._calm_limit)
        else:
            self._halve()

    def _halve(self) -> None:
        used = min(self._limit, self._window.peak)
        self._check = _Check(self._limit, self._window.mean)
        self._set(used / 2)

    def _checked(self, check: _Check, *, fell: bool) -> None:
        self._reference = self._window.mean
        self._until_check = CHECK_EVERY
        if fell:
            self._ceiling = check.limit
            self._calm_limit = self._limit
            self._check = None
            if self._limit > self._minimum:
                self._halve()
            return
        self._check = None
        self._calm_limit = check.limit
        self._set(check.limit)
        if self._ceiling == math.inf:
            self._take_rest()

    def _set(self, limit: float) -> None:
        self._limit = min(self._maximum, max(self._minimum, limit))
