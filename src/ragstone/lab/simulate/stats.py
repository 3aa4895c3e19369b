"""What a simulator has seen."""

from collections import Counter
from dataclasses import dataclass
from typing import Final

import msgspec

_MAX_QUESTIONS: Final = 200_000
"""Questions that attempts are counted for; later ones are not told apart."""
_MAX_STARTS: Final = 200_000
"""Requests whose time is remembered: the first ones."""


@dataclass(slots=True)
class Tokens:
    """What one request has used so far, for which a provider would charge."""

    input: int
    output: int = 0
    """Written to the connection."""


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
    input_tokens: dict[str, int]
    """By the same words. A request that was refused has used none."""
    output_tokens: dict[str, int]
    """The same, of what was written until then."""
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
        self.input_tokens: Counter[str] = Counter()
        self.output_tokens: Counter[str] = Counter()
        self.attempts: Counter[str] = Counter()
        self.starts: list[tuple[str, float]] = []
        """Each request's question and time, in seconds of the machine's monotonic clock."""

    def begun(self, question: str, at: float) -> None:
        self.requests += 1
        self.open += 1
        self.max_open = max(self.max_open, self.open)
        if question in self.attempts or len(self.attempts) < _MAX_QUESTIONS:
            self.attempts[question] += 1
        if len(self.starts) < _MAX_STARTS:
            self.starts.append((question, at))

    def ended(self, outcome: str, tokens: Tokens | None = None) -> None:
        self.open -= 1
        self.outcomes[outcome] += 1
        if tokens is not None:
            self.input_tokens[outcome] += tokens.input
            self.output_tokens[outcome] += tokens.output

    def stats(self, waiting: int) -> Stats:
        most = max(self.attempts.values(), default=0)
        return Stats(
            requests=self.requests,
            open=self.open,
            waiting=waiting,
            max_open=self.max_open,
            outcomes=dict(self.outcomes),
            input_tokens=dict(self.input_tokens),
            output_tokens=dict(self.output_tokens),
            questions=len(self.attempts),
            most_attempts=most,
        )
