"""One call: what a handler gets, and how its body is read."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ragstone.domain.answer import CacheOutcome
from ragstone.domain.errors import (
    InternalError,
    PayloadTooLarge,
    RagstoneError,
    RequestTimeout,
    TokensRateLimited,
)
from ragstone.domain.principal import Principal, Priority
from ragstone.observe.logging import say
from ragstone.observe.metrics import Metrics
from ragstone.observe.trace import Trace
from ragstone.pipeline.admit import admit
from ragstone.ports import Permit
from ragstone.resilience.admission import weight_of
from ragstone.resilience.deadline import Deadline
from ragstone.resilience.time_limit import TimeLimit
from ragstone.server.arrival import Arrival, declared_length
from ragstone.server.bodies import BodyRooms
from ragstone.server.decoding import decode
from ragstone.server.leaving import Client
from ragstone.server.refusals import RefusalLog, is_refusal
from ragstone.system import System

LARGE_BODY: Final = 256_000
"""Bytes; decoding and encoding more would hold up other requests."""

_BODY_SECONDS: Final = 30.0
_BODY_RATE: Final = 50_000
"""Bytes a second; slower than this, a client only keeps a connection busy."""

_T = TypeVar("_T")
_log = structlog.get_logger("ragstone.request")


class _Json(Response):
    """With the headers as they are sent: making them from names took longer than sending them."""

    def __init__(self, body: bytes, status: int, trace_id: str) -> None:
        self.status_code = status
        self.background = None
        self.body = body
        self.raw_headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-trace-id", trace_id.encode()),
            (b"x-content-type-options", b"nosniff"),
        ]


@dataclass(slots=True)
class Call:
    """A request with who sent it, and the system that answers."""

    request: Request
    system: System
    headers: Mapping[str, str]
    """By their names in lower case."""
    arrival: Arrival
    trace: Trace
    route: str
    client: Client
    refusals: RefusalLog
    rooms: BodyRooms
    app: str = "none"
    """The application that answered, for the metrics."""
    outcome: str = "ok"
    cache: CacheOutcome = "off"
    error: RagstoneError | None = None
    """Why it failed."""
    started: float = field(default_factory=time.perf_counter)
    finishes_later: bool = False
    """True for a stream: the one who ends it calls `finish`."""

    @property
    def principal(self) -> Principal:
        return self.arrival.principal

    @property
    def deadline(self) -> Deadline:
        """Of the whole request, from the moment when its head was there."""
        return self.arrival.deadline

    @property
    def priority(self) -> Priority:
        return self.arrival.priority

    @property
    def weight(self) -> int:
        """Slots that it takes, by how much there is to do."""
        return self.arrival.weight

    def admitted(self) -> AbstractAsyncContextManager[Permit]:
        """Stage 1 for what is no question, waited for and counted like one."""
        s = self.system.services
        return admit(
            self.principal, self.priority, self.weight,
            s.admission, s.ladder, self.deadline, self.trace, s.metrics,
        )  # fmt: skip

    def json(self, value: object, status: int = 200) -> Response:
        return self.said(msgspec.json.encode(value), status)

    def said(self, body: bytes, status: int = 200) -> Response:
        """`body` is JSON."""
        return _Json(body, status, self.trace.id)

    async def body(self, decoder: "msgspec.json.Decoder[_T]") -> _T:
        """The request's JSON body.

        Raises `InvalidRequest`, `PayloadTooLarge`, `RequestTimeout`, `DeadlineExceeded`, and
        `Overloaded` where too many bodies are being read.
        """
        limit = self.system.settings.server.max_body_bytes
        declared = declared_length(self.headers)
        with self.rooms.bodies.holding(expected_length(declared, limit)):
            self.deadline.check("body")
            with self.trace.stage("body"):
                raw = await read_body(self.request, declared, limit, self.deadline)
            self.arrival = self.arrival.weighing(weight_of(len(raw)))
            return decode(raw, decoder)

    def finish(self, status: int) -> None:
        """Count and log the request; called exactly once."""
        seconds = time.perf_counter() - self.started
        count_request(self.system.metrics, self.route, self.app, self.outcome, seconds)
        if self.outcome == "refused":
            self.error = None  # it knows the frame that knows this: no garbage, also under load
            return  # a line for each would be one more load
        trace = self.trace
        line = request_line(
            trace.id, self.route, status, self.outcome, self.cache, seconds,
            stages=trace.timings_ms, followed=trace.followed,
            nanodollars=trace.nanodollars, degraded=trace.degraded,
        )  # fmt: skip
        if self.error:
            line |= {"code": self.error.code, "reason": str(self.error)}
        # Reading costs nothing and is often polled: it is in the metrics, and here on demand.
        if self.request.method == "GET" and status < 400:
            _log.debug("request", **line)
        else:
            say(_log, "request", line)

    def fail(self, error: RagstoneError) -> None:
        """Note why the call failed, for the metrics and the log."""
        self.error = error
        if is_refusal(error):
            self.outcome = "refused"
            if isinstance(error, TokensRateLimited):  # what is refused earlier, is counted there
                self.system.metrics.rejections.labels(error.code, self.priority).inc()
            self.refusals.count(error.code)
            return
        self.outcome = "error"


Handler = Callable[[Call], Awaitable[Response]]


def count_request(metrics: Metrics, route: str, app: str, outcome: str, seconds: float) -> None:
    metrics.requests.labels(route, app, outcome).inc()
    metrics.request_duration.labels(route, app, outcome).observe(seconds)


def request_line(
    trace_id: str,
    route: str,
    status: int,
    outcome: str,
    cache: CacheOutcome,
    seconds: float,
    *,
    stages: Mapping[str, float],
    followed: str | None = None,
    nanodollars: int = 0,
    degraded: Sequence[str] = (),
) -> dict[str, object]:
    """What the log says of a request."""
    return {
        "trace_id": trace_id,
        "route": route,
        "status": status,
        "outcome": outcome,
        "cache": cache,
        "followed": followed,
        "ms": round(seconds * 1000, 2),
        "stages": stages,
        "nanodollars": nanodollars,
        "degraded": degraded,
    }


def unexpected(trace_id: str) -> InternalError:
    return InternalError(
        "The server met an unexpected error.",
        remedy=f"Look for the trace id {trace_id} in its log.",
    )


async def read_body(
    request: Request, declared: int | None, limit: int, deadline: Deadline | None = None
) -> bytes:
    """The whole body, of which the head says that it has `declared` bytes.

    Raises `PayloadTooLarge` before more than `limit` bytes are held, `RequestTimeout`,
    `DeadlineExceeded`, and `ClientDisconnect`.

    It takes the messages itself and has one limit for both ends: Starlette's stream and a second
    limit were a tenth of a cached answer's time.
    """
    now = asyncio.get_running_loop().time()
    until, last = now + _BODY_SECONDS, math.inf
    if deadline is not None:
        last = now + deadline.remaining()

    def too_late() -> RagstoneError:
        return _too_slow() if deadline is None or until < last else deadline.exceeded("body")

    parts: list[bytes] = []
    size, complete = 0, False
    async with TimeLimit(min(until, last) - now, too_late) as timeout:
        while not complete:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise _too_large(limit)
            parts.append(part)
            # Once all is there, what is to come is empty, and setting a timer is dear.
            complete = size == declared or not message.get("more_body", False)
            if not complete:
                until += len(part) / _BODY_RATE
                timeout.postpone(min(until, last))
    return b"".join(parts)


def expected_length(declared: int | None, limit: int) -> int:
    """Bytes of the body as declared, or else as many as it may have. Raises `PayloadTooLarge`."""
    if declared is not None and declared > limit:
        raise _too_large(limit)
    return limit if declared is None else declared


def body_seconds(size: int) -> float:
    """How long a body of `size` bytes may take."""
    return _BODY_SECONDS + size / _BODY_RATE


def body_timeout(seconds: float) -> TimeLimit:
    """Raises `RequestTimeout` when what is inside takes longer."""
    return TimeLimit(seconds, _too_slow)


def _too_slow() -> RequestTimeout:
    return RequestTimeout(
        "The request's body did not arrive in time.",
        remedy="Send it at once, or in smaller requests.",
    )


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"The request body is larger than {limit:,} bytes.",
        remedy="Send less, or raise server.max_body_bytes.",
    )
