"""Refusing in time: a server with ten times its load refuses more than it answers.

A refusal is made from the head of the request, outside of routing. It is counted in the
metrics; the log gets one line a second with how many there were.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ragstone.domain.errors import (
    BudgetExhausted,
    DeadlineExceeded,
    Overloaded,
    RagstoneError,
    TooManyRequests,
)
from ragstone.domain.principal import Scope as KeyScope
from ragstone.observe.trace import new_trace_id
from ragstone.server.arrival import ARRIVAL, identify, let_in
from ragstone.server.errors import rendered
from ragstone.server.rate_limits import RateLimitHeaders, limit_headers
from ragstone.system import System

_LOG_SECONDS: Final = 1.0
_log = structlog.get_logger("ragstone.request")


def is_refusal(error: RagstoneError) -> bool:
    """Whether nothing was wrong but the moment: too much to do, too late for it, or all spent."""
    return isinstance(error, Overloaded | TooManyRequests | DeadlineExceeded | BudgetExhausted)


Endpoint = Callable[[Request], Awaitable[Response]]
"""A route's, which answers whatever happens; see `call.endpoint`."""


class Early(Protocol):
    """Of an operation, what is looked at before its body is read."""

    @property
    def scope(self) -> KeyScope | None: ...

    @property
    def admitted(self) -> bool: ...

    @property
    def limited(self) -> bool: ...


class RefusalLog:
    """One line a second at most."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def count(self, code: str) -> None:
        if not self._counts:
            asyncio.get_running_loop().call_later(_LOG_SECONDS, self._tell)
        self._counts[code] += 1

    def _tell(self) -> None:
        counts, self._counts = self._counts, Counter()
        _log.warning("refused", seconds=_LOG_SECONDS, **counts)


class RefuseEarly:
    """ASGI middleware: refuses what quotas or admission have no room for; all else goes on.

    What it has found out goes with the request, so that nothing is done twice. Any other
    fault of a request is found again, and told, behind it.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        system: System,
        early: Mapping[tuple[str, str], Early],
        endpoints: Mapping[tuple[str, str], Endpoint],
        log: RefusalLog,
    ) -> None:
        """`early`: what may be refused here, by method and path. `endpoints`: of those, what is
        asked most: Starlette's routing took a tenth of a cached answer's time."""
        self._app = app
        self._system = system
        self._log = log
        self._early = early
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = (scope.get("method", ""), scope.get("path", ""))
        asked = self._early.get(route)
        if asked is None or asked.scope is None:
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        # Of a header that comes twice, the first counts, as everywhere behind this.
        headers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in reversed(scope["headers"])
        }
        try:
            principal = await identify(headers, self._system, asked.scope)
            try:
                scope[ARRIVAL] = let_in(
                    principal, headers, self._system, admitted=asked.admitted, limited=asked.limited
                )
            except (Overloaded, TooManyRequests, DeadlineExceeded) as refusal:
                self._count(scope["path"], refusal, began)
                limits = limit_headers(self._system, principal) if asked.limited else []
                await _send(refusal, new_trace_id(headers.get("traceparent")), limits, send)
                return
        except RagstoneError:
            pass  # the route meets it again and says it with all that belongs to it
        if (endpoint := self._endpoints.get(route)) is None:
            await self._app(scope, receive, send)
            return
        response = await endpoint(Request(scope, receive, send))
        await response(scope, receive, send)

    def _count(self, route: str, refusal: RagstoneError, began: float) -> None:
        self._log.count(refusal.code)
        metrics = self._system.metrics
        metrics.requests.labels(route, "none", "refused").inc()
        metrics.request_duration.labels(route, "none", "refused").observe(
            time.perf_counter() - began
        )


async def _send(
    refusal: RagstoneError, trace_id: str, limits: RateLimitHeaders, send: Send
) -> None:
    """Without the `Response` that all other answers have: a refusal is to cost little."""
    status, said, body = rendered(refusal, trace_id)
    headers = [(name.lower().encode(), value.encode()) for name, value in said.items()]
    headers += limits
    headers.append((b"content-type", b"application/json"))
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
