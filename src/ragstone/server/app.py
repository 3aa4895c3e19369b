"""The ASGI application: routes from the table, the documents about them, and the web page."""

from collections.abc import Sequence
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp

from ragstone.domain.errors import InvalidRequest, NotFound, RagstoneError, did_you_mean
from ragstone.hop.messages import PREFIX
from ragstone.observe.trace import new_trace_id
from ragstone.server.bodies import BodyRooms
from ragstone.server.docs_page import docs_page
from ragstone.server.endpoint import Endpoint, Straight
from ragstone.server.errors import error_response
from ragstone.server.openapi import openapi_document
from ragstone.server.operations import OPERATIONS
from ragstone.server.refusals import RefusalLog
from ragstone.system import System

ANSWERED_BY_GATEWAYS: Final = frozenset(
    {
        *("/v1/answers", "/v1/search", "/v1/chat/completions"),
        *("/v1/models", "/v1/models/{model:path}"),
        *("/v1/status", "/health/live", "/health/ready", "/metrics"),
    }
)
"""The question path, and what a gateway says of itself."""


def build_app(
    system: System, page_routes: Sequence[BaseRoute] = (), forward: ASGIApp | None = None
) -> ASGIApp:
    """The application over a running system. `page_routes` are the web page's.

    In a gateway `forward` answers what is not of the question path.
    """
    openapi = msgspec.json.encode(openapi_document())
    docs = docs_page()
    refusals = RefusalLog()
    rooms = BodyRooms(system.settings.server.max_bodies_bytes)
    here = [o for o in OPERATIONS if forward is None or o.path in ANSWERED_BY_GATEWAYS]

    async def get_openapi(request: Request) -> Response:
        headers = {"X-Content-Type-Options": "nosniff"}
        return Response(openapi, headers=headers, media_type="application/json")

    async def get_docs(request: Request) -> Response:
        policy = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return Response(docs, headers=policy, media_type="text/html")

    answering: dict[tuple[str, str], ASGIApp] = {}
    if forward is not None:
        answering = {(o.method, o.path): forward for o in OPERATIONS}
    answering |= {(o.method, o.path): Endpoint(system, o, refusals, rooms) for o in here}
    routes: list[BaseRoute] = [
        Route(path, app, methods=[method]) for (method, path), app in answering.items()
    ]
    if forward is not None:
        routes.append(Mount(PREFIX, forward))  # gateways on other hosts, to the engine behind us
    routed = Starlette(
        routes=[
            *routes,
            Route("/openapi.json", get_openapi),
            Route("/docs", get_docs),
            *page_routes,
        ],
        exception_handlers={HTTPException: _refused},
    )
    return Straight({at: app for at, app in answering.items() if "{" not in at[1]}, routed)


async def _refused(request: Request, error: Exception) -> Response:
    """Starlette's own refusals (no such path, wrong method, bad form) in our format."""
    if not isinstance(error, HTTPException):
        raise error
    known = {operation.path for operation in OPERATIONS}
    path = request.url.path[:100]
    refusal: RagstoneError
    if error.status_code == 404:
        refusal = NotFound(
            f"There is nothing at {path}.", remedy=did_you_mean(path, known, what="paths")
        )
    elif error.status_code == 405:
        refusal = InvalidRequest(
            f"{path} does not take {request.method}.", remedy="See /docs for its methods."
        )
    else:
        refusal = InvalidRequest(str(error.detail), remedy="See /docs.")
    response = error_response(refusal, new_trace_id())
    response.status_code = error.status_code
    response.headers.update(error.headers or {})
    return response
