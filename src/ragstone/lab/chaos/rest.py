"""What must be left when nothing is asked any more: nothing."""

import asyncio
from dataclasses import dataclass
from typing import Final

from ragstone.lab.chaos.inspection import metric_total, sockets
from ragstone.lab.chaos.site import Site
from ragstone.lab.chaos.verdict import Check, at_most, equal, none_of

_POOL_SECONDS: Final = 31.0
"""Idle connections to dependencies are kept for 15 s (`models/llms/connection.py`), and looked at
every 15 s."""
_SETTLE_SECONDS: Final = 10.0
_TRACEBACK_LINES: Final = 30


@dataclass(frozen=True, slots=True)
class Rest:
    """A process with nothing to do."""

    tasks: float
    sockets: int


async def at_rest(site: Site) -> Rest:
    """The level before anything is asked."""
    tasks = 0.0
    while not tasks:  # a server that is held up has not counted them yet
        await asyncio.sleep(1.0)  # they are counted twice a second
        tasks = metric_total(await site.metrics(), "rag_event_loop_tasks")
    return Rest(tasks, len(sockets(site.server.pid)))


async def after_quiescence(site: Site, before: Rest, *, pools: bool) -> list[Check]:
    """Waits for quiescence, at most some seconds, and compares.

    With `pools` it waits also until idle connections to dependencies have been given up.
    """
    end = asyncio.get_running_loop().time() + _SETTLE_SECONDS + (_POOL_SECONDS if pools else 0)
    while True:
        checks = await _left(site, before, pools=pools)
        late = asyncio.get_running_loop().time() > end
        if late or all(check.passed for check in checks):
            return [*checks, none_of("unexpected errors in the log", _tracebacks(site))]
        await asyncio.sleep(0.25)


async def _left(site: Site, before: Rest, *, pools: bool) -> list[Check]:
    page = await site.metrics()
    held = sockets(site.server.pid)
    clients = sum(local == site.port for local, _ in held)
    open_calls = [(await service.stats())["open"] for service in site.services.values()]
    checks = [
        equal("requests in flight at rest", metric_total(page, "rag_in_flight"), 0.0),
        equal("open reservations at rest", metric_total(page, "rag_open_reservations"), 0.0),
        equal("calls open at dependencies at rest", sum(open_calls), 0),
        at_most("tasks at rest", metric_total(page, "rag_event_loop_tasks"), before.tasks + 1),
        # One connection is ours, which asks for the metrics.
        at_most("client connections at rest", clients, 1),
    ]
    if pools:
        checks.append(at_most("sockets at rest", len(held), before.sockets + 1))
    return checks


def _tracebacks(site: Site) -> list[str]:
    lines = site.log.read_text(errors="replace").splitlines()
    return [
        "\n".join(lines[number : number + _TRACEBACK_LINES])[:1500]
        for number, line in enumerate(lines)
        if "Traceback" in line or '"unexpected"' in line
    ]
