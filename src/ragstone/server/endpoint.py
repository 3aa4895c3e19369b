"""One operation, from the head of a request to the last byte of its response.

All operations behave alike: identity from the credential, the scope checked, what there is no
room for refused before its body is read, errors mapped, one metric and one log line at the end.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Final

import msgspec
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ragstone.domain.errors import (
    DeadlineExceeded,
    Overloaded,
    RagstoneError,
    TooManyRequests,
)
from ragstone.domain.principal import Scope as KeyScope
from ragstone.observe.trace import Trace, new_trace_id
from ragstone.server.arrival import Arrival, identify, let_in
from ragstone.server.bodies import BodyRooms
from ragstone.server.call import Call, count_request, unexpected
from ragstone.server.errors import error_response, stopping
from ragstone.server.leaving import Client
from ragstone.server.operations import Operation
from ragstone.server.parameters import require_known
from ragstone.server.rate_limits import limit_headers
from ragstone.server.refusals import RefusalLog, send_refusal
from ragstone.system import System

_log: Final = structlog.get_logger("ragstone.request")


class Endpoint:
    """ASGI application of one operation."""

    def __init__(
        self, system: System, operation: Operation, refusals: RefusalLog, rooms: BodyRooms
    ) -> None:
        self._system = system
        self._operation = operation
        self._refusals = refusals
        self._rooms = rooms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        system, asked = self._system, self._operation
        call = self._call(request, receive)
        trace = call.trace
        refusal: RagstoneError | None = None
        try:
            if asked.scope is not None:
                refusal = await self._arrive(call, asked.scope)
            if refusal is None:
                require_known(request, asked.query)
                response = await asked.handler(call)
        except RagstoneError as error:
            call.fail(error)
            response = error_response(error, trace.id)
        except ClientDisconnect:
            call.outcome = "cancelled"
            response = Response(status_code=499)
        except asyncio.CancelledError:  # nobody but the stopping server cancels a request
            call.fail(stopping())
            response = error_response(stopping(), trace.id)
        except Exception:
            call.outcome = "error"
            _log.exception("unexpected", trace_id=trace.id, route=asked.path)
            response = error_response(unexpected(trace.id), trace.id)
        if refusal is not None:
            await self._refuse(call, refusal, send)
            return
        if asked.limited and call.principal.tenant:
            response.raw_headers += limit_headers(system, call.principal)
        if not call.finishes_later:
            call.finish(response.status_code)
        await response(scope, receive, send)

    def _call(self, request: Request, receive: Receive) -> Call:
        # Of a header that comes twice, the first counts.
        headers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in reversed(request.scope["headers"])
        }
        system = self._system
        trace = Trace(system.metrics, new_trace_id(headers.get("traceparent")))
        return Call(
            request, system, headers, Arrival.of_nobody(system), trace,
            self._operation.path, Client(receive), self._refusals, self._rooms,
        )  # fmt: skip

    async def _arrive(self, call: Call, scope: KeyScope) -> RagstoneError | None:
        """Who asks is known then; what they are refused with for lack of room, if they are."""
        asked, system = self._operation, self._system
        principal = await identify(call.headers, system, scope)
        call.arrival = msgspec.structs.replace(call.arrival, principal=principal)
        try:
            call.arrival = let_in(
                principal, call.headers, system, admitted=asked.admitted, limited=asked.limited
            )
        except (Overloaded, TooManyRequests, DeadlineExceeded) as refusal:
            # Its traceback knows the frame that keeps it: no garbage, also under load.
            return refusal.with_traceback(None)
        return None

    async def _refuse(self, call: Call, refusal: RagstoneError, send: Send) -> None:
        """Without the `Response` and the log line that all other answers have."""
        self._refusals.count(refusal.code)
        seconds = time.perf_counter() - call.started
        count_request(self._system.metrics, self._operation.path, "none", "refused", seconds)
        limits = limit_headers(self._system, call.principal) if self._operation.limited else []
        await send_refusal(refusal, call.trace.id, limits, send)


class Straight:
    """ASGI application that hands requests to the endpoint of their method and path; the rest, as
    paths with parameters, goes to `app`.

    Routing, and Starlette's layers around it, took a tenth of a cached answer's time.
    """

    def __init__(self, endpoints: Mapping[tuple[str, str], ASGIApp], app: ASGIApp) -> None:
        self._endpoints = endpoints
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get((scope.get("method", ""), scope.get("path", "")))
        await (endpoint or self._app)(scope, receive, send)
