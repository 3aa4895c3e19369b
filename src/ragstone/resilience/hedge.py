"""A second call for a read that is slow, so that one slow replica is not everybody's slow tail.

After Dean and Barroso, "The Tail at Scale" (CACM 56(2), 2013): wait for the 95th percentile of
what answers take, then ask another replica as well, and take the first success. For idempotent
reads only: both calls may run to their end.

More load is no remedy when all replicas are slow, so second calls are paid from a budget: each
first call earns a share of one, a second call spends one, and earning falls with the share of
second calls that won. While the caller says it is loaded there are none.
"""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, TypeVar

from ragstone.ports import Clock

T = TypeVar("T")

Outcome = Literal["won", "lost", "failed"]
"""Of a second call: it answered first; the first call did; neither succeeded."""

PERCENTILE: Final = 0.95
MOST_SAMPLES: Final = 200
"""Latest answers the percentile is taken of."""
FEWEST_SAMPLES: Final = 20
"""Answers before it is worth anything, and after which it is taken anew."""
MOST_SAVED: Final = 3.0
"""Second calls that can be saved up, so that a slow moment after a quiet hour is no burst."""
_MEMORY: Final = 20
"""Second calls over which the share of winners is averaged."""
_NO_USE, _FULL_USE = 0.1, 0.4
"""Shares of winners at which second calls are worth nothing, and all that is allowed. A slow
replica loses to nearly every second call, a dependency that is slow as a whole to few."""
_LEAST_EARNING: Final = 0.05
"""Of the share, even when none wins: the few probes by which it learns that they win again."""


class _Answers:
    """How long the latest answers took; sorted once in a while, so a read pays next to nothing."""

    def __init__(self) -> None:
        self._latest: deque[float] = deque(maxlen=MOST_SAMPLES)
        self.count = 0
        self.percentile = 0.0

    def add(self, seconds: float) -> None:
        self._latest.append(seconds)
        self.count += 1
        if self.count % FEWEST_SAMPLES == 0:
            ordered = sorted(self._latest)
            self.percentile = ordered[math.ceil(PERCENTILE * len(ordered)) - 1]


class Hedge:
    """Hedged reads of one dependency. For one event loop."""

    def __init__(
        self,
        *,
        share: float,
        clock: Clock,
        is_loaded: Callable[[], bool] = lambda: False,
        hedged: Callable[[Outcome], None] = lambda outcome: None,
    ) -> None:
        """`share`: second calls among all first ones, at most; 0 switches them off.

        `hedged` is told how each second call ended; not of one whose reader was cancelled.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"a share lies between 0 and 1, not {share}")
        self._share = share
        self._clock = clock
        self._is_loaded = is_loaded
        self._hedged = hedged
        self._answers = _Answers()
        self._saved = 0.0
        self._winning = 1.0

    async def read(
        self, primary: Callable[[], Awaitable[T]], second: Callable[[], Awaitable[T]] | None
    ) -> T:
        """The first success of the two; the other call is cancelled, and has ended on return.

        Raises what `primary` raised when both fail, and at once when it fails before a second
        call began: to repeat is a retry's business. `second` None: a plain call.
        """
        self._saved = min(MOST_SAVED, self._saved + self._share * self._earning)
        began = self._clock.monotonic()
        if second is None or self._share == 0 or self._answers.count < FEWEST_SAMPLES:
            answer = await primary()
            self._answers.add(self._clock.monotonic() - began)
            return answer
        first = asyncio.ensure_future(_call(primary))
        calls: list[asyncio.Task[T]] = [first]
        try:
            await asyncio.wait(calls, timeout=self._answers.percentile)
            if first.done() or not self._may_hedge():
                answer = await first
            else:
                self._saved -= 1
                calls.append(asyncio.ensure_future(_call(second)))
                answer = await self._race(first, calls[1])
        finally:
            await _end(calls)
        # Of a race the time of the winner, which is what a reader may expect.
        self._answers.add(self._clock.monotonic() - began)
        return answer

    @property
    def _earning(self) -> float:
        """What a first call earns of its share: by how useful second calls have been."""
        use = (self._winning - _NO_USE) / (_FULL_USE - _NO_USE)
        return max(_LEAST_EARNING, min(1.0, use))

    def _may_hedge(self) -> bool:
        return self._saved >= 1 and not self._is_loaded()

    async def _race(self, first: asyncio.Task[T], second: asyncio.Task[T]) -> T:
        await asyncio.wait((first, second), return_when=asyncio.FIRST_COMPLETED)
        winner = first if _succeeded(first) else second
        if not _succeeded(winner):
            await asyncio.wait((first, second))
            winner = first if _succeeded(first) else second
        if not _succeeded(winner):
            self._ended("failed")
            return first.result()  # raises what the first call raised
        self._ended("won" if winner is second else "lost")
        return winner.result()

    def _ended(self, outcome: Outcome) -> None:
        self._winning += ((outcome == "won") - self._winning) / _MEMORY
        self._hedged(outcome)


async def _call(function: Callable[[], Awaitable[T]]) -> T:
    return await function()


def _succeeded(call: asyncio.Task[Any]) -> bool:
    return call.done() and not call.cancelled() and call.exception() is None


async def _end(calls: list[asyncio.Task[T]]) -> None:
    """Cancel what still runs and wait for its end, also when the reader is cancelled again."""
    for call in calls:
        call.cancel()
    cancelled: asyncio.CancelledError | None = None
    while pending := [call for call in calls if not call.done()]:
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError as error:
            cancelled = error
    for call in calls:
        if not call.cancelled():
            call.exception()  # seen: the loser's error concerns nobody
    if cancelled is not None:
        raise cancelled
