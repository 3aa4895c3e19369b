"""How long a request may wait for its turn: CoDel in the form for servers.

After "Fail at Scale" (B. Maurer, ACM Queue 13(8), 2015): while the queue was empty at some time in
the last `interval`, a burst may wait up to `interval`; once it has not been, requests come faster
than they are served, waiting cannot help, and the longest wait is `target`. The queue is then
served newest first (adaptive LIFO), because the newest is the one whose client is still there.

One thing is added. A wait of `target` is so short that an overloaded queue runs empty for a moment
now and then, which would end the state although nothing has changed; so it lasts until nobody
had to be refused for an `interval`.
"""

from typing import Final

_LONG_AGO: Final = float("-inf")


class WaitLimit:
    """The state of one queue. Times are readings of `Clock.monotonic`."""

    __slots__ = ("_busy_since", "_interval", "_sticky_until", "_target")

    def __init__(self, *, target: float, interval: float) -> None:
        self._target = min(target, interval)
        self._interval = interval
        self._busy_since: float | None = None
        self._sticky_until = _LONG_AGO

    def filled(self, now: float) -> None:
        """The queue was empty and is not any more."""
        self._busy_since = now

    def emptied(self) -> None:
        self._busy_since = None

    def gave_up(self, now: float) -> None:
        """Somebody waited as long as was allowed, in vain."""
        self._sticky_until = now + self._interval

    def turned_away(self, now: float) -> None:
        """Somebody was refused at once; tells nothing before there is overload."""
        if self.overloaded(now):
            self._sticky_until = now + self._interval

    def overloaded(self, now: float) -> bool:
        """Whether `target` holds, and the newest is served first."""
        if now < self._sticky_until:
            return True
        return self._busy_since is not None and now - self._busy_since > self._interval

    def allowed(self, now: float) -> float:
        """Seconds that a request arriving now may wait."""
        return self._target if self.overloaded(now) else self._interval
