"""The engine process: data folder, index, embedder, records writer and ingestion."""

import asyncio
import contextlib
import os
import shutil
from pathlib import Path

from ragstone.assembly import open_system
from ragstone.domain.clock import SystemClock
from ragstone.domain.errors import RagstoneError
from ragstone.governance.quotas import SharedBuckets
from ragstone.home import ServerInfo
from ragstone.observe.logging import configure_logging
from ragstone.processes.link import Link
from ragstone.processes.messages import EngineTask
from ragstone.processes.patience import Patience, held_by_command, patiently
from ragstone.server.app import build_app
from ragstone.server.engine import EngineDoor
from ragstone.server.listening import listen_on_path
from ragstone.server.run import check_bind, serve_engine
from ragstone.settings import Settings
from ragstone.system import System


async def run_engine(task: EngineTask, link: Link) -> None:
    """Until told to stop, or until supervisor and gateways have gone. Raises `StartupError`s."""
    settings = Settings.model_validate(task.settings)
    configure_logging(settings.log.level, settings.log.format)
    async with contextlib.AsyncExitStack() as stack:
        buckets = SharedBuckets(Path(task.quotas), processes=task.processes, clock=SystemClock())
        stack.callback(buckets.close)

        async def attempt() -> System:
            return await stack.enter_async_context(
                open_system(
                    settings,
                    local_token=task.local_token,
                    behind_gateways=True,
                    buckets=buckets,
                )
            )

        def passing(error: RagstoneError) -> bool:
            return held_by_command(error, settings.home)

        system = await patiently(attempt, passing, Patience())
        await check_bind(system, settings.server.host)
        publishing = asyncio.create_task(_publish(task, system, link))
        stack.push_async_callback(_cancel, publishing)
        await serve_engine(
            system,
            EngineDoor(build_app(system), system, task.token),
            listen_on_path(task.socket),
            started=link.ready,
            orphaned=link.orphaned,
        )
    if link.orphaned.is_set():
        shutil.rmtree(task.folder, ignore_errors=True)


async def _publish(task: EngineTask, system: System, link: Link) -> None:
    """Let commands find the server once it can be found."""
    opened = await link.opened
    system.home.publish_server(
        ServerInfo(
            pid=task.supervisor,
            engine=os.getpid(),
            url=opened.url,
            token=system.local_token,
        )
    )


async def _cancel(publishing: "asyncio.Task[None]") -> None:
    publishing.cancel()
    await asyncio.gather(publishing, return_exceptions=True)
