"""Adaptive client throttling: an endpoint that refuses most calls is sent fewer.

Beyer and others, "Site Reliability Engineering", ch. 21, "Handling Overload": a call is
withheld with the probability

    max(0, (requests - K * accepts) / (requests + 1))

over a window, where withheld calls are requests too. It complements the breaker: refusals
for load (429, 5xx) are cheap for us and costly for the endpoint, and all or nothing would be
the wrong answer to an endpoint that can do half.

Three things differ from the book. Fewer than ten calls in the window prove nothing. A call counts
when its outcome is known, not when it begins: a model takes seconds to its first token, and a
burst that it is about to answer must not look like refusals. And one call in ten always passes:
with the formula alone the rate after a long refusal grows from one call a window, which at a
high rate takes minutes.
"""

from random import Random
from typing import Final

from ragstone.ports import Clock
from ragstone.resilience.window import CountWindow

WINDOW_SECONDS: Final = 10.0
"""The book has two minutes; normal again within seconds of the endpoint's healing is the aim."""

_FEWEST: Final = 10
_MOST_WITHHELD: Final = 0.9


class ClientThrottle:
    """Towards one endpoint. `ratio` is the book's K: 2 sends two calls for each accepted."""

    def __init__(self, ratio: float, *, clock: Clock, random: Random) -> None:
        self._ratio = ratio
        self._clock = clock
        self._random = random
        self._window = CountWindow(WINDOW_SECONDS)

    def withholds(self) -> bool:
        """True when this call should not be sent; it then counts as a request."""
        window = self._window
        if window.total < _FEWEST or window.total <= self._ratio * window.kind:
            return False  # the common case: nothing to draw
        now = self._clock.monotonic()
        window.advance(now)
        if window.total < _FEWEST:
            return False
        probability = (window.total - self._ratio * window.kind) / (window.total + 1)
        if self._random.random() >= min(probability, _MOST_WITHHELD):
            return False
        window.add(now, total=1, kind=0)
        return True

    def accepted(self) -> None:
        """The endpoint took the call."""
        self._window.add(self._clock.monotonic(), total=1, kind=1)

    def refused(self) -> None:
        """The endpoint had no room for it."""
        self._window.add(self._clock.monotonic(), total=1, kind=0)

    def reset(self) -> None:
        """Forget: the breaker has found the endpoint healed."""
        self._window.clear()
