"""What a generator notes of each request, small enough to keep all of them."""

from collections import Counter
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from ragstone.domain.principal import PRIORITIES, Priority
from ragstone.lab.load.distribution import Distribution
from ragstone.lab.load.exchange import Exchange
from ragstone.lab.load.outcome import Outcome

ROW: Final = np.dtype(
    [
        ("index", "i4"),
        ("turn", "i2"),
        ("key", "i2"),
        ("priority", "i1"),
        ("outcome", "u1"),
        ("cached", "?"),
        ("status", "i2"),
        ("scheduled", "f8"),
        ("lateness", "f8"),
        ("first", "f8"),
        ("latency", "f8"),
        ("contents", "i4"),
        ("input_tokens", "i4"),
        ("output_tokens", "i4"),
        ("nanodollars", "i8"),
    ]
)
"""One request. `scheduled` is in seconds since the run's beginning; `lateness`, `first` and
`latency` are from then on, and `first` is not a number where no answer text came. `key` is -1
without a key, `priority` the place in `PRIORITIES` or -1."""


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """One request as a checker wants it, with the text. Seconds since the run's beginning."""

    index: int
    turn: int
    question: int
    key: int
    outcome: str
    status: int
    code: str | None
    trace_id: str
    retry_after: str
    scheduled: float
    launched: float
    first: float | None
    ended: float
    text: str
    contents: int
    ends: int
    errors: int
    after_end: bool
    malformed: bool
    answer_kind: str
    degraded: list[str]


class Recorder:
    """Rows, gaps and counts of one generator."""

    def __init__(self, *, begin: float, capacity: int, keep: bool) -> None:
        self._begin = begin
        self._rows = np.zeros(capacity, dtype=ROW)
        self._keep = keep
        self.launched = 0
        self.ended = 0
        self.outcomes = [0] * len(Outcome)
        self.gaps = Distribution()
        self.codes: Counter[str] = Counter()
        self.rungs: Counter[str] = Counter()
        self.received: list[Received] = []

    @property
    def rows(self) -> NDArray[np.void]:
        """In the order in which the requests ended."""
        return self._rows[: self.ended]

    def add(self, exchange: Exchange, priority: Priority | None) -> None:
        """Note an exchange that has ended."""
        heard, outcome = exchange.heard, exchange.outcome
        assert outcome is not None
        start = exchange.scheduled
        self._rows[self.ended] = (
            exchange.index,
            exchange.turn,
            exchange.key,
            -1 if priority is None else PRIORITIES.index(priority),
            outcome,
            heard.cached,
            exchange.status,
            start - self._begin,
            exchange.launched - start,
            exchange.first - start,
            exchange.ended - start,
            heard.contents,
            heard.input_tokens,
            heard.output_tokens,
            heard.nanodollars,
        )
        self.ended += 1
        self.outcomes[outcome] += 1
        if exchange.turn == 0:  # as all figures of a report but those of later turns
            self.codes.update([heard.code] if heard.code else [])
            self.rungs.update(heard.degraded)
        if self._keep:
            self.received.append(self._received(exchange, outcome))

    def _received(self, exchange: Exchange, outcome: Outcome) -> Received:
        heard, begin = exchange.heard, self._begin
        came = exchange.first == exchange.first
        return Received(
            index=exchange.index,
            turn=exchange.turn,
            question=exchange.question,
            key=exchange.key,
            outcome=outcome.label,
            status=exchange.status,
            code=heard.code,
            trace_id=exchange.trace_id,
            retry_after=exchange.retry_after,
            scheduled=exchange.scheduled - begin,
            launched=exchange.launched - begin,
            first=exchange.first - begin if came else None,
            ended=exchange.ended - begin,
            text="".join(heard.text or ()),
            contents=heard.contents,
            ends=heard.ends,
            errors=heard.errors,
            after_end=heard.after_end,
            malformed=heard.malformed,
            answer_kind=heard.answer_kind,
            degraded=heard.degraded,
        )
