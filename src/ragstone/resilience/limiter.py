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
from ragstone.resilience.latency_window import FEWEST, MOST, LatencyWindow

TOLERANCE = 1.25
"""A latency more than this many times the reference is crowded."""
FALL = 1.4
"""Latency at half the limit, this many times shorter, blames our concurrency. Past the knee it
falls to half, where places queue or speed is shared; above `TOLERANCE`, or a limit that was just
found calm would be taken back."""
CHECK_EVERY = 64
"""Turnovers (or windows, if they are longer) at rest between two checks. One costs about half a
turnover's throughput: long streams end before the limit is down."""
CHECK_ERROR = 0.15
"""Relative standard error of the reference latency that a check waits for."""
LONGEST_REST = 32
"""Windows of rest at most: a probe that fails makes one window's first results late."""
DROP_SHARE = 0.1
"""More drops than this among a window's outcomes, and the limit does not grow."""
CLEAN = 32
"""Successes without a drop between them, after which slow calls are believed to be normal."""
_LONGEST_SETTLING = 4.0
"""Reference latencies that may pass before results under a new limit count."""
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class _Check:
    """What was measured before the limit was halved."""

    limit: float
    log_latency: float
    error: float


class AdaptiveLimiter:
    """The concurrency limit of one dependency. Constant memory; about a microsecond a sample."""

    def __init__(self, *, initial: int, minimum: int, maximum: int, clock: Clock) -> None:
        """Raises `ValueError` unless 1 <= minimum <= initial <= maximum."""
        if not 1 <= minimum <= initial <= maximum:
            raise ValueError(f"want 1 <= {minimum=} <= {initial=} <= {maximum=}")
        self._minimum, self._maximum = float(minimum), float(maximum)
        self._clock = clock
        self._limit = float(initial)
        self._changed = self._settled = clock.monotonic()
        self._window = LatencyWindow(self._changed)
        self._reference: float | None = None
        self._reference_error = 0.0
        self._calm_limit = 0.0
        self._ceiling = math.inf
        self._step = initial / 2
        self._rest = 0
        self._patience = 2
        self._until_check = CHECK_EVERY / 8
        self._check: _Check | None = None
        self._added = float(initial)
        self._dropping = False
        self._since_drop = 0
        self._growing_first = True

    @property
    def limit(self) -> int:
        """Calls that may be in flight now."""
        return int(self._limit)

    def sample(self, latency: float, in_flight: int, *, late: float = 0.0) -> None:
        """A call succeeded, `latency` seconds to its first result, of which it lay `late` before
        we noticed; `in_flight` counts it.

        Not for refusals of our own nor for cancelled calls.
        """
        now = self._clock.monotonic()
        if self._reference is None and self._settled == self._changed:
            self._settled = now + 3 * latency  # the very first is the quickest of several
        if now - latency < self._changed - _ROUNDING:
            return
        window = self._window
        window.add(latency - late, in_flight)
        self._since_drop += 1
        # Once all that a raise let in have answered, nobody slower is to come.
        settled = now >= self._settled or FEWEST <= self._added <= window.count
        if not settled or not window.is_due(now, self._limit, self._added):
            return
        if self._check is not None:
            self._judge_check(self._check)
        else:
            self._judge()

    def dropped(self, in_flight: int) -> None:
        """A call timed out, or the other side refused it as too much; `in_flight` counts it."""
        if not self._dropping:
            self._ceiling = self._check.limit if self._check else self._limit
            self._dropping = True
        self._check = None
        self._since_drop = 0
        self._window.drops += 1
        # A limit that is not used is not halved by the few calls there are.
        self._set(self._limit * (1 - 0.5 / max(in_flight, self._limit / 2, 1)))
        self._calm_limit = min(self._calm_limit, self._limit)

    def _judge(self) -> None:
        window = self._window
        if self._reference is None:
            self._refer()
        assert self._reference is not None
        probing = self._limit > self._calm_limit
        threshold = self._reference + math.log(TOLERANCE if probing else FALL)
        # A calm that was none is taken back by the next window; crowded costs throughput.
        verdict = window.verdict(threshold, self._reference_error, below=1, above=2)
        if verdict is None:
            return
        if verdict == "below":
            self._calm()
        else:
            self._crowded()
        self._open_window()

    def _judge_check(self, check: _Check) -> None:
        window = self._window
        if window.error > CHECK_ERROR and window.count < MOST:
            return
        threshold = check.log_latency - math.log(FALL)
        verdict = window.verdict(threshold, check.error, below=2, above=1)
        if verdict is None:
            return
        self._checked(check, fell=verdict == "below")
        self._open_window()

    def _open_window(self) -> None:
        self._window = self._window.next(self._clock.monotonic())

    def _refer(self) -> None:
        self._reference, self._reference_error = self._window.mean, self._window.error

    def _refine(self, reference: float) -> None:
        """Weigh in a calm window of the first growth, by inverse variance."""
        old, new = self._reference_error**-2, self._window.error**-2
        self._reference = (reference * old + self._window.mean * new) / (old + new)
        self._reference_error = (old + new) ** -0.5

    def _calm(self) -> None:
        window = self._window
        assert self._reference is not None
        faster = self._reference - math.log(TOLERANCE) - 2 * window.error
        if self._limit == self._calm_limit and window.mean < faster:
            self._until_check = 0  # or the reference was never right
        if window.drop_share > DROP_SHARE or window.peak < self._limit / 2:
            return  # overloaded, or the limit is not what holds the calls back
        self._dropping = False
        if self._growing_first:
            self._refine(self._reference)
        if self._limit > self._calm_limit and self._ceiling == math.inf:
            self._patience = 2
        self._calm_limit = self._limit
        self._until_check -= min(1.0, window.count / self._limit)
        if self._until_check <= 0:
            self._halve()
        elif self._rest > 0:
            self._rest -= 1
        else:
            self._probe()

    def _probe(self) -> None:
        """Try more: towards the ceiling by halves, else by steps that double."""
        if self._ceiling - self._limit <= max(1.0, 0.02 * self._limit):
            self._take_rest()
        elif self._ceiling < math.inf:
            self._change(min((self._limit + self._ceiling) / 2, 2 * self._limit))
        else:
            self._change(self._limit + self._step)
            self._step = min(2 * self._step, self._limit / (2 if self._growing_first else 8))

    def _take_rest(self) -> None:
        self._rest = self._patience
        self._patience = min(2 * self._patience, LONGEST_REST)
        self._ceiling = math.inf
        self._step = max(1.0, 0.02 * self._limit)

    def _crowded(self) -> None:
        if self._dropping and self._since_drop < CLEAN:
            return  # the drops shrink it; what came just in time is no reference
        self._dropping = False
        self._growing_first = False
        if self._limit > self._calm_limit > 0:
            self._ceiling = self._limit
            self._change(self._calm_limit)
        else:
            self._halve()

    def _halve(self) -> None:
        used = min(self._limit, self._window.peak)
        self._check = _Check(self._limit, self._window.mean, self._window.error)
        self._change(used / 2, deviations=2)

    def _checked(self, check: _Check, *, fell: bool) -> None:
        self._check = None
        self._until_check = CHECK_EVERY
        was_crowded = self._window.mean > (self._reference or 0.0) + math.log(TOLERANCE)
        self._refer()
        if fell:
            self._ceiling = check.limit
            self._calm_limit = self._limit
            self._rest = 0
            if was_crowded and self._limit > self._minimum:
                self._halve()
            return
        # Whatever it did fall by is within what we allow, or the restored limit were crowded.
        self._reference = max(self._window.mean, check.log_latency - math.log(TOLERANCE))
        self._calm_limit = check.limit
        self._change(check.limit)
        if self._ceiling == math.inf:
            self._take_rest()

    def _set(self, limit: float) -> None:
        self._limit = min(self._maximum, max(self._minimum, limit))

    def _change(self, limit: float, *, deviations: float = 1) -> None:
        """Another limit. What began under the old one tells nothing of it; and of what began
        under the new one the quick end first, so the verdict waits for the slower ones too."""
        before = self._limit
        self._set(limit)
        if self._limit == before:
            return
        self._added = max(0.0, self._limit - before)
        self._changed = self._settled = self._clock.monotonic()
        if self._reference is not None:
            spread = min(_LONGEST_SETTLING, math.exp(deviations * self._window.deviation))
            self._settled += spread * math.exp(self._reference)
