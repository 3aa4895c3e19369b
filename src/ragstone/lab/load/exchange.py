"""One request and all that came of it."""

import asyncio
import math
from collections.abc import Callable

from ragstone.lab.load.outcome import Outcome, outcome_of
from ragstone.lab.load.reading import Heard


class Exchange:
    """Filled by the client, read by the recorder when `outcome` is set. Times are monotonic
    seconds of the machine's clock, so that those of several processes compare."""

    __slots__ = (
        "abandon",
        "ended",
        "first",
        "heard",
        "index",
        "key",
        "last",
        "launched",
        "leave_after",
        "on_end",
        "outcome",
        "question",
        "retry_after",
        "scheduled",
        "status",
        "timers",
        "trace_id",
        "turn",
    )

    def __init__(
        self,
        *,
        index: int,
        question: int,
        key: int,
        turn: int = 0,
        scheduled: float,
        launched: float,
        leave_after: float = math.nan,
        keep_text: bool = False,
    ) -> None:
        self.index = index
        """Of the arrival in the schedule."""
        self.question = question
        self.key = key
        self.turn = turn
        """0 for the first question of a conversation."""
        self.scheduled = scheduled
        """Latency counts from here, however late the request was sent."""
        self.launched = launched
        self.leave_after = leave_after
        """The client goes at this piece of the answer; not a number: it stays."""
        self.status = 0
        self.trace_id = ""
        self.retry_after = ""
        """As the header says it; empty without one."""
        self.first = self.last = math.nan
        """When the first and the latest piece of answer text came."""
        self.ended = math.nan
        self.outcome: Outcome | None = None
        self.heard = Heard(keep_text=keep_text)
        self.abandon: Callable[[], object] = _nothing
        """Drops the connection, or the attempt to get one."""
        self.timers: list[asyncio.TimerHandle] = []
        """Cancelled at the end."""
        self.on_end: Callable[[Exchange], None] = _ignore

    @property
    def latency(self) -> float:
        return self.ended - self.scheduled

    def complete(self, now: float, *, whole: bool) -> None:
        """The response ended, `whole` or broken off."""
        self.finish(now, outcome_of(self.status, self.heard, complete=whole))

    def finish(self, now: float, outcome: Outcome, code: str | None = None) -> None:
        """Set the outcome; only the first call counts."""
        if self.outcome is None:
            self.ended = now
            self.outcome = outcome
            self.heard.code = code or self.heard.code
            for timer in self.timers:
                timer.cancel()
            self.on_end(self)

    def give_up(self, now: float, outcome: Outcome) -> None:
        """The client goes: for its deadline, or since the schedule says so."""
        if self.outcome is None:
            self.finish(now, outcome)
            self.abandon()


def _nothing() -> None:
    return None


def _ignore(exchange: Exchange) -> None:
    return None
