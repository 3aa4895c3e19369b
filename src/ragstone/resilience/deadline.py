"""One absolute deadline a request, and the shares of it that single stages have.

It is checked before each stage and passed into each call. A stage's own limit never exceeds what
is left: embedding has a quarter of the whole, so that an embedder which hangs leaves enough
for a lexical answer; reranking what the settings say; the model all but a reserve, so that
an extract can still be made when it fails at the last moment.
"""

from typing import Final

from ragstone.domain.errors import DeadlineExceeded
from ragstone.ports import Clock

EMBED_SHARE: Final = 0.25
RESERVE_SHARE: Final = 0.1
RESERVE_SECONDS: Final = 1.0
"""The reserve behind the model is the smaller of the two."""


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

    def embed_seconds(self) -> float:
        """Longest embedding of a query that is left."""
        return min(EMBED_SHARE * self.seconds, self.remaining())

    def within(self, seconds: float) -> float:
        """`seconds`, or what is left when that is less."""
        return min(seconds, self.remaining())

    def model_until(self, seconds: float) -> float:
        """The deadline of a generation of at most `seconds`, as a point like `at`."""
        reserve = min(RESERVE_SECONDS, RESERVE_SHARE * self.seconds)
        return self.at - max(reserve, self.remaining() - seconds)
