"""Liveness, readiness, metrics."""

import msgspec
from starlette.responses import Response

from ragstone import __version__
from ragstone.observe.metrics import CONTENT_TYPE
from ragstone.server.auth import authorize_local
from ragstone.server.call import Call


class Live(msgspec.Struct, frozen=True):
    live: bool
    version: str


class Ready(msgspec.Struct, frozen=True):
    """Each part that must be ready before questions are sent here."""

    ready: bool
    parts: dict[str, bool]
    model: str


async def get_live(call: Call) -> Response:
    """The process runs and its event loop turns."""
    return call.json(Live(True, __version__))


async def get_ready(call: Call) -> Response:
    """The embedder is warm, the index open and the records answer; 503 until then."""
    parts = await call.system.readiness()
    ready = all(parts.values())
    return call.json(Ready(ready, parts, call.system.model_name), 200 if ready else 503)


async def get_metrics(call: Call) -> Response:
    """Prometheus metrics. Once keys exist, only this machine and keys with `admin` get them."""
    await authorize_local(call.request, call.system)
    headers = {"X-Content-Type-Options": "nosniff"}
    return Response(call.system.render_metrics(), 200, headers, media_type=CONTENT_TYPE)
