"""Ends a stream that says nothing: limits on the first content, on gaps, and on the whole."""

import asyncio
import math
from collections.abc import Callable
from typing import Final, Literal

Limit = Literal["first_token", "gap", "deadline"]

_GRACE_SECONDS: Final = 0.1
"""In which the event loop may read what the server has sent before it is blamed for silence: a
loop that was held up finds the limit passed together with what came in time. A look later than
this says that it was held up again."""


class Watchdog:
    """Calls `bite` when a limit passes, which must wake whoever reads the stream.

    Only content counts as life: `content` is called for it and for nothing else, so pings,
    comments, roles and thinking keep nothing alive. Until the first content the first limit
    holds, however much else is sent; from then on the gap.

    One timer a stream and none a read: content only leaves a time behind, and the timer, when
    it fires, looks how long ago that was and sets itself anew. `asyncio.timeout` could not do
    it: around a `yield` it would cancel the consumer. When it is due is remembered here: uvloop
    gives a handle that does not know it for a time that has passed already.
    """

    __slots__ = (
        "_bite", "_due", "_ends", "_gap", "_has_begun", "_loop", "_since", "_suspected",
        "_timer", "limit",
    )  # fmt: skip

    def __init__(
        self, bite: Callable[[], None], *, began: float, first_token: float, gap: float, ends: float
    ) -> None:
        """Seconds of the event loop's clock: `began` and `ends` are points, the others spans."""
        self._loop = asyncio.get_running_loop()
        self._bite = bite
        self._gap = gap
        self._ends = ends
        self._has_begun = False
        self._since = began + first_token - gap
        """The last sign of life; a gap after it the stream is over."""
        self._suspected = math.inf
        """The sign after which a gap has been found, and the grace given."""
        self.limit: Limit | None = None
        """The limit that has passed."""
        self._due = min(self._since + gap, ends)
        self._timer = self._loop.call_at(self._due, self._look)

    def hold(self) -> None:
        """Content has come and is being consumed: a slow reader is no silent server."""
        self._since = math.inf

    def resume(self, rest: float = 0.0) -> None:
        """The consumer is back for more: the gap counts from now on, or from the end of a `rest`
        of so many seconds."""
        self._since = self._loop.time() + rest
        if not self._has_begun:
            self._has_begun = True
            self._set(self._since + self._gap)

    def cancel(self) -> None:
        self._timer.cancel()

    def _set(self, when: float) -> None:
        self._timer.cancel()
        self._due = min(when, self._ends)
        self._timer = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        silent = now >= self._since + self._gap
        if now >= self._ends:
            self._end("deadline")
        elif silent and (self._suspected != self._since or now - self._due > _GRACE_SECONDS):
            self._suspected = self._since
            self._set(now + _GRACE_SECONDS)
        elif silent:
            self._end("gap" if self._has_begun else "first_token")
        else:
            self._set(min(self._since, now) + self._gap)

    def _end(self, limit: Limit) -> None:
        self.limit = limit
        self._bite()
