"""How long an engine that listens is waited for, once it has said nothing for too long."""

from types import TracebackType
from typing import Final

SHORT_SECONDS: Final = 0.25
"""An answer takes milliseconds. A silent engine costs each question this much, and not two
seconds for the collection and two more for the search."""


class Patience:
    """After a question that was given up while no other was answered, one at a time has all its
    time, to see whether the engine is back, and the others a short one; any answer ends that. Like
    a breaker half open, but it refuses nobody, and an engine that is only slow is found out by the
    first answer: what was given up around it says no more.

    Whoever asks the question that tries should wait for it no longer than the others."""

    __slots__ = ("answers", "silent", "trying")

    def __init__(self) -> None:
        self.answers = 0
        self.silent = False
        self.trying = False

    def tries(self, seconds: float | None) -> bool:
        """Whether the next question, which may take so long, would be the one that tries."""
        return self.silent and not self.trying and seconds is not None

    def waiting(self, seconds: float | None) -> "Waiting":
        """Around one question that may take so long; see there."""
        return Waiting(self, seconds)


class Waiting:
    """`with`: how long the question is waited for; None: no limit. A `TimeoutError` that leaves it
    says that the engine was silent to this question. A class: a generator costs twice as much."""

    __slots__ = ("_answers", "_patience", "_seconds", "_tries")

    def __init__(self, patience: Patience, seconds: float | None) -> None:
        self._patience = patience
        self._seconds = seconds

    def __enter__(self) -> float | None:
        patience, seconds = self._patience, self._seconds
        self._answers = patience.answers
        self._tries = patience.tries(seconds)
        if self._tries:
            patience.trying = True
        elif patience.silent and seconds is not None:
            return min(seconds, SHORT_SECONDS)
        return seconds

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        patience = self._patience
        if kind is None:
            patience.answers += 1
            patience.silent = False
        elif issubclass(kind, TimeoutError) and patience.answers == self._answers:
            patience.silent = True
        if self._tries:
            patience.trying = False
