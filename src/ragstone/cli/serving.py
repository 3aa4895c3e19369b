"""Running a server in the foreground, with something beside it."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

from starlette.types import ASGIApp

from ragstone.assembly import open_system
from ragstone.console import routes
from ragstone.domain.errors import RagstoneError
from ragstone.observe.logging import configure_logging
from ragstone.processes.patience import Patience, held_by_command, patiently
from ragstone.server.app import build_app
from ragstone.server.engine import EngineDoor
from ragstone.server.run import serve
from ragstone.settings import Settings
from ragstone.system import System


async def run_server(
    settings: Settings,
    announce: Callable[[str], None],
    beside: Callable[[str], Coroutine[Any, Any, None]] | None = None,
) -> None:
    """Serve until a signal says stop, or until `beside`, which gets the address, fails.

    Raises what `beside` raised, and `StartupError`s.
    """
    configure_logging(settings.log.level, settings.log.format)
    async with AsyncExitStack() as stack:

        async def attempt() -> System:
            return await stack.enter_async_context(open_system(settings))

        def passing(error: RagstoneError) -> bool:
            return held_by_command(error, settings.home)

        system = await patiently(attempt, passing, Patience())
        await _serve_beside(system, announce, beside)


async def _serve_beside(
    system: System,
    announce: Callable[[str], None],
    beside: Callable[[str], Coroutine[Any, Any, None]] | None,
) -> None:
    serving = asyncio.current_task()
    assert serving is not None
    started: list[asyncio.Task[None]] = []

    def stop_if_failed(task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and task.exception() is not None:
            serving.cancel()

    def announced(url: str) -> None:
        announce(url)
        if beside is not None:
            task = asyncio.get_running_loop().create_task(beside(url))
            task.add_done_callback(stop_if_failed)
            started.append(task)

    bound = system.settings.server
    try:
        app: ASGIApp = build_app(system, routes())
        if token := system.settings.engine.token.get_secret_value():
            app = EngineDoor(app, system, token)  # for gateways on other hosts
        await serve(system, app, bound.host, bound.port, announced)
    except asyncio.CancelledError:
        for task in started:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error from None
        raise
    finally:
        for task in started:
            task.cancel()
        await asyncio.gather(*started, return_exceptions=True)
