"""What a simulator has seen."""

from collections import Counter
from typing import Final

import msgspec

_MAX_QUESTIONS: Final = 200_000
"""Questions that attempts are counted for; later ones are not told apart."""


class Stats(msgspec.Struct, frozen=True):
    """`GET /stats`."""

    requests: int
    """Since the start or the last reset. Control requests are not counted."""
    open: int
    """Answered now, or waiting for a place."""
    waiting: int
    """Of these the waiting ones."""
    max_open: int
    outcomes: dict[str, int]
    """Of those that ended: `complete`, the kinds of faults, `left` (the client closed the
    connection before the end), `bad_request`."""
    questions: int
    """Different ones."""
    most_attempts: int
    """At one question."""


class Counts:
    """Counts as requests come and go."""

    def __init__(self) -> None:
        self.open = 0
        self.clear()

    def clear(self) -> None:
        """From nothing again, but for those that are open."""
        self.requests = 0
        self.max_open = self.open
        self.outcomes: Counter[str] = Counter()
        self.attempts: Counter[str] = Counter()

    def begun(self, question: str) -> None:
        self.requests += 1
        self.open += 1
        self.max_open = max(self.max_open, self.open)
        if question in self.attempts or len(self.attempts) < _MAX_QUESTIONS:
            self.attempts[question] += 1

    def ended(self, outcome: str) -> None:
        self.open -= 1
        self.outcomes[outcome] += 1

    def stats(self, waiting: int) -> Stats:
        most = max(self.attempts.values(), default=0)
        return Stats(
            requests=self.requests,
            open=self.open,
            waiting=waiting,
            max_open=self.max_open,
            outcomes=dict(self.outcomes),
            questions=len(self.attempts),
            most_attempts=most,
        )
