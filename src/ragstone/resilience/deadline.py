"""One absolute deadline for a request, checked before each stage and passed into each call."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ragstone.domain.errors import DeadlineExceeded
from ragstone.ports import Clock


class Deadline:
    """A point on `Clock.monotonic` after which no work may begin."""

    __slots__ = ("_clock", "at", "seconds")

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self.seconds = seconds
        """What the request was given, for messages."""
        self.at = clock.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left; negative once it has passed."""
        return self.at - self._clock.monotonic()

    def check(self, stage: str) -> None:
        """Raises `DeadlineExceeded` when no time is left to begin `stage`."""
        if self.remaining() <= 0:
            raise self.exceeded(stage)

    def exceeded(self, stage: str) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"The question could not be answered within {self.seconds:g} seconds "
            f"(time ran out before or in the stage {stage}).",
            remedy="Try again, or allow more time.",
        )

    @asynccontextmanager
    async def limit(self, stage: str) -> AsyncIterator[None]:
        """Cancels what runs inside when the deadline passes and raises `DeadlineExceeded`."""
        self.check(stage)
        try:
            # The event loop's clock may have another origin than ours: pass a duration.
            async with asyncio.timeout(self.remaining()):
                yield
        except TimeoutError:
            if self.remaining() > 0:
                raise  # somebody else's shorter timeout
            raise self.exceeded(stage) from None
