"""A gateway process: the question path, and everything else handed on to its engine."""

import asyncio
import socket
from pathlib import Path

from ragstone.assembly import open_gateway
from ragstone.console import routes
from ragstone.domain.clock import SystemClock
from ragstone.governance.quotas import SharedBuckets
from ragstone.hop.address import EngineAddress, address_of
from ragstone.observe.logging import configure_logging
from ragstone.processes.link import Link
from ragstone.processes.messages import GatewayTask
from ragstone.resilience.board import Board
from ragstone.server.app import build_app
from ragstone.server.forward import Forward
from ragstone.server.run import check_bind, serve_gateway
from ragstone.settings import Settings


async def run_gateway(task: GatewayTask, link: Link) -> None:
    """Until told to stop, or until the supervisor has gone. Raises `RagstoneError`s."""
    settings = Settings.model_validate(task.settings)
    configure_logging(settings.log.level, settings.log.format)
    address = EngineAddress(socket=task.socket) if task.socket else address_of(settings.engine.url)
    clock = SystemClock()
    board = Board(Path(task.board), row=task.row, clock=clock)
    buckets = SharedBuckets(Path(task.quotas), processes=task.processes, clock=clock)
    beating = asyncio.create_task(board.keep_beating(), name="board")
    async with open_gateway(
        settings,
        address,
        token=task.token,
        local_token=task.local_token,
        board=board,
        buckets=buckets,
    ) as system:
        if task.socket is None:  # else the engine has looked
            await check_bind(system, settings.server.host)
        forward = Forward(
            address,
            token=task.token,
            metrics=system.metrics,
            timeout_seconds=settings.engine.timeout_seconds,
            answer_seconds=settings.engine.timeout_seconds + settings.admission.deadline_seconds,
        )
        try:
            await link.opened
            await serve_gateway(
                system,
                build_app(system, routes(), forward),
                socket.socket(fileno=task.listener),
                started=link.ready,
                orphaned=link.orphaned,
            )
        finally:
            await forward.close()
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)
    buckets.close()
    board.close()
