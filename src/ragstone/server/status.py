"""`GET /v1/status`: how the process that answers is doing, in numbers and names."""

from typing import Literal

import msgspec
from starlette.responses import Response

from ragstone import __version__
from ragstone.resilience.ladder import LoadRung
from ragstone.server.call import Call


class DependencyStatus(msgspec.Struct, frozen=True):
    """One thing that this server needs."""

    name: str
    """Its role, as in the metrics: `model`, `model_2`, `embedder`, `index`, `reranker`."""
    breaker: Literal["closed", "half_open", "open"]
    """Closed is healthy; open: not asked; half open: tried again."""
    in_flight: int


class Status(msgspec.Struct, frozen=True):
    """Load and health of one process; where several serve, each answers for itself."""

    rung: LoadRung | None
    """The last rung of the ladder that load has taken."""
    level: int
    """How many it has taken, 0 to 5."""
    chunks_joined: bool
    in_flight: int
    waiting: int
    slots_in_use: int
    dependencies: list[DependencyStatus]
    version: str


async def get_status(call: Call) -> Response:
    """Which rung load has taken, how much runs and waits, and which dependencies are cut off."""
    services = call.system.services
    ladder, admission = services.ladder, services.admission
    return call.json(
        Status(
            rung=ladder.rung,
            level=ladder.level,
            chunks_joined=ladder.joins_chunks,
            in_flight=admission.in_flight,
            waiting=admission.waiting,
            slots_in_use=admission.slots_in_use,
            dependencies=[
                DependencyStatus(each.name, each.breaker_state, each.in_flight)
                for each in services.dependencies
            ],
            version=__version__,
        )
    )
