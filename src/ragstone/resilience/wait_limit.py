"""How long a request may wait for its turn: CoDel, for a server's queue.

A burst may wait up to `interval`. Once the served have waited longer than `target` for a whole
`interval` without exception (RFC 8289, section 3), the queue stands: then the longest wait is
`target`, and the newest is served first, because its client is the one still there. Both limits,
set at arrival, and the order are those of "Fail at Scale" (B. Maurer, ACM Queue 13(8), 2015).

Where tenants take turns, some are served soon although the queue stands. So it counts as well when
requests were refused for a whole `interval`, without a pause as long as `target`.

Who waited `target` in vain shows that requests come faster than they are served. From then on
whoever would wait longer than half of that is refused as it comes, instead of after it. So the
line is as short as can be served within `target`, and the oldest is next again: to overtake it
would only make it wait for its refusal. Where the line moves slower than was expected when its
oldest came, the newest goes first as before.

This state lasts until nobody had to be refused for `CALM_INTERVALS`: the short wait keeps the queue
so short that it runs empty now and then although nothing has changed, and each return to the long
wait is paid by requests that wait it out in vain.
"""

from typing import Final

CALM_INTERVALS: Final = 10
"""At a load little above what can be served, one interval without a refusal is common: the state
came and went, and the refused had waited half a second instead of 20 ms
(`benchmarks/overload.py`)."""

WORTH: Final = 0.5
"""Of the target: an expected wait that is worth while when others are refused. The expectation is
a mean; so few of those who were let wait are refused in the end."""

EXTENSION: Final = 0.25
"""Of the target: how soon who may stay longer is looked at again, as another may have come that
goes before it."""

_LEAST_EXTENSION: Final = 0.001
"""Seconds. What rounding leaves of an interval is no time to wait."""

_LONG_AGO: Final = float("-inf")


class WaitLimit:
    """The state of one queue. Times are readings of `Clock.monotonic`."""

    __slots__ = (
        "_above_since",
        "_interval",
        "_last_refusal",
        "_refusing_since",
        "_sticky_until",
        "_target",
    )

    def __init__(self, *, target: float, interval: float) -> None:
        self._target = min(target, interval)
        self._interval = interval
        self._above_since: float | None = None
        self._sticky_until = _LONG_AGO
        self._last_refusal = _LONG_AGO
        self._refusing_since = _LONG_AGO

    def served(self, now: float, waited: float) -> None:
        """Somebody was let in from the queue."""
        if waited <= self._target:
            self._above_since = None
        elif self._above_since is None:
            self._above_since = now

    def emptied(self) -> None:
        """Nobody waits any more."""
        self._above_since = None

    def gave_up(self, now: float) -> None:
        """Somebody waited as long as was allowed, in vain."""
        self._sticky_until = now + CALM_INTERVALS * self._interval

    def turned_away(self, now: float) -> None:
        """Somebody was refused at once, for lack of room."""
        if now - self._last_refusal > self._target:
            self._refusing_since = now
        self._last_refusal = now
        if now - self._refusing_since > self._interval or self.overloaded(now):
            self._sticky_until = now + CALM_INTERVALS * self._interval

    def overloaded(self, now: float) -> bool:
        """Whether `target` is the longest wait."""
        return self._refuses(now) or self._stands(now)

    def newest_first(self, now: float, due: float) -> bool:
        """Whether the newest is next; `due` is the oldest one's."""
        return now >= due if self._refuses(now) else self._stands(now)

    def due(self, now: float, expected: float) -> float:
        """When it is too late for a turn that was expected to come so many seconds from now."""
        return now + max(expected, self._target)

    def worth_while(self, now: float) -> float:
        """The longest expected wait of a request arriving now; longer ones are refused at once."""
        return WORTH * self._target if self._refuses(now) else self.longest

    @property
    def longest(self) -> float:
        """Seconds that anybody may wait."""
        return self._interval

    def _refuses(self, now: float) -> bool:
        return now < self._sticky_until

    def _stands(self, now: float) -> bool:
        return self._above_since is not None and now - self._above_since > self._interval

    def allowed(self, now: float) -> float:
        """Seconds that a request arriving now may wait."""
        return self._target if self.overloaded(now) else self.longest

    def extension(self, waited: float) -> float:
        """Seconds more for who may stay, in the end up to the interval; 0: none.

        An empty queue would leave the next free unit unused; CoDel does not drop the last packet
        either (RFC 8289, section 3).
        """
        left = self._interval - waited
        return min(EXTENSION * self._target, left) if left > _LEAST_EXTENSION else 0.0
