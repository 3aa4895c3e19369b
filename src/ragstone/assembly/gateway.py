"""Settings become a gateway: the question path over an engine in another process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import msgspec
import structlog

from ragstone.assembly.background import in_background
from ragstone.assembly.caches import keep_swept
from ragstone.assembly.ledger import open_ledger
from ragstone.assembly.question_path import open_services
from ragstone.domain.clock import SystemClock
from ragstone.domain.errors import DependencyError
from ragstone.governance.prices import Price
from ragstone.governance.quotas import SharedBuckets
from ragstone.hop.address import EngineAddress
from ragstone.hop.client import EngineClient
from ragstone.hop.exchange import MISMATCH, require_theirs
from ragstone.hop.messages import ABOUT, About
from ragstone.index.remote import RemoteIndex
from ragstone.models.embedders.remote import RemoteEmbedder
from ragstone.models.llms.connection import open_session
from ragstone.observe.loop_lag import watch_process
from ragstone.observe.metrics import Metrics
from ragstone.records.cached_reader import CachedReader
from ragstone.records.remote import RemoteRecords
from ragstone.records.remote_budgets import RemoteBudgets
from ragstone.resilience.board import Board
from ragstone.settings import Settings
from ragstone.system import System

_PAUSE_SECONDS: Final = 0.5
_log = structlog.get_logger("ragstone.gateway")
_ABOUT = msgspec.msgpack.Decoder(About)


@asynccontextmanager
async def open_gateway(
    settings: Settings,
    address: EngineAddress,
    *,
    token: str,
    local_token: str,
    board: Board | None = None,
    buckets: SharedBuckets | None = None,
) -> AsyncIterator[System]:
    """A gateway that runs until the context ends; waits for its engine as long as it takes.

    `token` is the engine's, `local_token` what commands of this machine show instead of a key.
    With a `board` the limits of admission hold over all gateways that share it, with `buckets`
    those of quotas.
    """
    async with AsyncExitStack() as stack:
        clock = SystemClock()
        metrics = Metrics()
        engine = EngineClient(address, token=token, timeout_seconds=settings.engine.timeout_seconds)
        stack.push_async_callback(engine.close)
        session = await open_session(max_connections=settings.llm.max_connections)
        await stack.enter_async_context(session)
        about = await _first_about(engine)
        ledger = open_ledger(
            settings,
            RemoteBudgets(engine),
            clock,
            metrics,
            stack,
            processes=1 + (1 if board is None else board.processes),
            has_records=False,
        )
        services = open_services(
            settings,
            records=CachedReader(RemoteRecords(engine), clock),
            embedder=RemoteEmbedder(engine, about.embedder),
            index=RemoteIndex(engine),
            ledger=ledger,
            session=session,
            clock=clock,
            metrics=metrics,
            installation=about.installation,
            board=board,
            buckets=buckets,
            embedder_price=msgspec.convert(about.embedder_price, Price),
        )
        stack.push_async_callback(services.refreshes.close)

        async def warm() -> None:
            await _about(engine)

        async def engine_parts() -> dict[str, bool]:
            try:
                return (await _about(engine)).parts
            except DependencyError:
                return {"engine": False}

        system = System(
            settings=settings,
            services=services,
            clock=clock,
            warm=warm,
            engine_parts=engine_parts,
            local_token=local_token,
        )
        keep_swept(stack, settings, services, has_records=False)
        in_background(stack, system.warm_up())
        in_background(stack, watch_process(metrics, services.ladder.observe_lag))
        yield system


async def _about(engine: EngineClient) -> About:
    about = await engine.ask(ABOUT, None, _ABOUT, DependencyError)
    require_theirs(about.exchange, about.version)
    return about


async def _first_about(engine: EngineClient) -> About:
    """An engine may be building its model first, which takes a minute."""
    told = False
    while True:
        try:
            return await _about(engine)
        except DependencyError as error:
            if error.field in ("engine.token", MISMATCH):  # waiting does not help
                raise
            if not told:
                _log.warning("waits for its engine", reason=error.message)
            told = True
            await asyncio.sleep(_PAUSE_SECONDS)
