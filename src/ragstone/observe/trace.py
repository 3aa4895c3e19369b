"""What one request did: its id, the time each stage took, and what was left out."""

import random
import re
import time
from typing import Final

from ragstone.observe.metrics import Metrics

_TRACEPARENT: Final = re.compile(r"^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_NO_TRACE: Final = "0" * 32
_random = random.Random()  # seeded by the system


def new_trace_id(traceparent: str | None = None) -> str:
    """32 hexadecimal digits: the caller's (W3C Trace Context) where valid, else random."""
    if traceparent and (match := _TRACEPARENT.match(traceparent)) and match[1] != _NO_TRACE:
        return match[1]
    # Not a secret; the system's source would release the interpreter lock for each question.
    return (_random.getrandbits(128) or 1).to_bytes(16).hex()


class Trace:
    """Filled by the pipeline while a question runs."""

    __slots__ = (
        *("_metrics", "_started"),
        *("degraded", "followed", "id", "nanodollars", "notices", "timings_ms"),
    )

    def __init__(self, metrics: Metrics, trace_id: str) -> None:
        self.id = trace_id
        self.timings_ms: dict[str, float] = {}
        """By stage, in the order in which they ended."""
        self.degraded: list[str] = []
        """Rungs taken, each once, in order."""
        self.followed: str | None = None
        """The id of the trace of another request, whose generation this one shared."""
        self.notices: list[Exception] = []
        """Why, for those who run the server."""
        self.nanodollars = 0
        """What the request has cost so far."""
        self._metrics = metrics
        self._started = time.perf_counter()

    def stage(self, name: str) -> "_Timed":
        """`with trace.stage(name)` times what runs inside, also when it fails."""
        return _Timed(self, name)

    def record(self, name: str, seconds: float) -> None:
        """Add a stage's time; a name used twice adds up."""
        milliseconds = self.timings_ms.get(name, 0.0) + seconds * 1000
        # To microseconds, in half the time that `round` takes.
        self.timings_ms[name] = int(milliseconds * 1000 + 0.5) / 1000
        self._metrics.stage_duration.labels(name).observe(seconds)

    def degrade(self, rung: str, cause: Exception | None = None) -> None:
        """Note that something was left out; the response says so."""
        if cause is not None:
            # Its traceback knows frames that know this trace: a cycle, which would keep the
            # request's data until a garbage collection.
            self.notices.append(cause.with_traceback(None))
        if rung not in self.degraded:
            self.degraded.append(rung)
            self._metrics.degraded.labels(rung).inc()

    def elapsed(self) -> float:
        """Seconds since the request began."""
        return time.perf_counter() - self._started


class _Timed:
    __slots__ = ("_name", "_started", "_trace")

    def __init__(self, trace: Trace, name: str) -> None:
        self._trace = trace
        self._name = name

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._trace.record(self._name, time.perf_counter() - self._started)
