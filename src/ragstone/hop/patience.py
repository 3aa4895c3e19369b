"""How long an engine that listens is waited for, once it has said nothing for too long."""

from collections.abc import Iterator
from contextlib import contextmanager
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

    __slots__ = ("_answers", "_silent", "_trying")

    def __init__(self) -> None:
        self._answers = 0
        self._silent = False
        self._trying = False

    def tries(self, seconds: float | None) -> bool:
        """Whether the next question, which may take so long, would be the one that tries."""
        return self._silent and not self._trying and seconds is not None

    @contextmanager
    def waiting(self, seconds: float | None) -> Iterator[float | None]:
        """Around one question that may take so long: how long it is waited for; None: no limit.

        A `TimeoutError` that leaves it says that the engine was silent to this question.
        """
        answers = self._answers
        tries = self.tries(seconds)
        if self._silent and not tries and seconds is not None:
            seconds = min(seconds, SHORT_SECONDS)
        self._trying = self._trying or tries
        try:
            yield seconds
        except TimeoutError:
            if self._answers == answers:
                self._silent = True
            raise
        else:
            self._answers += 1
            self._silent = False
        finally:
            if tries:
                self._trying = False
