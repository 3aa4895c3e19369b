"""Settings become a running system, all in one process.

Everything is opened in the order in which it is needed and closed in the reverse.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from ragstone.assembly.background import in_background
from ragstone.assembly.caches import keep_swept
from ragstone.assembly.ledger import open_ledger
from ragstone.assembly.models import open_embedder
from ragstone.assembly.question_path import open_services
from ragstone.domain.clock import SystemClock
from ragstone.domain.principal import Principal
from ragstone.domain.query import SearchRequest
from ragstone.domain.usage import NANODOLLARS
from ragstone.governance.prices import nanodollars
from ragstone.governance.quotas import SharedBuckets
from ragstone.home import Home, open_home
from ragstone.index.qdrant_edge import QdrantEdgeIndex
from ragstone.ingest.chunk import ChunkSettings
from ragstone.ingest.funds import Cost, Funds
from ragstone.ingest.parse.limits import ParseLimits
from ragstone.ingest.parser_process import ParserPool
from ragstone.ingest.service import Ingestion, IngestionSettings
from ragstone.models.llms.connection import open_session
from ragstone.observe.ingestion import IngestMetrics
from ragstone.observe.loop_lag import watch_process
from ragstone.observe.metrics import Metrics
from ragstone.pipeline.services import Services
from ragstone.ports import BudgetRecords, Clock, Embedder, Index, Records
from ragstone.records.cached import CachedRecords
from ragstone.records.engine import sqlite_url
from ragstone.records.sql_records import SqlRecords
from ragstone.settings import Settings
from ragstone.system import Stores, System

_WARMING_QUERY: Final = "warm up"


@asynccontextmanager
async def open_system(
    settings: Settings,
    *,
    on_build: Callable[[], None] | None = None,
    local_token: str | None = None,
    behind_gateways: bool = False,
    buckets: SharedBuckets | None = None,
) -> AsyncIterator[System]:
    """A system that runs until the context ends. Raises `StartupError`s.

    `on_build` is called when the embedding model must be built first, which takes seconds.
    `local_token` is what commands of this machine show instead of a key; else one is made.
    `behind_gateways`: other processes of this server answer the questions; `buckets` are those of
    quotas that it shares with them.
    """
    async with AsyncExitStack() as stack:
        clock = SystemClock()
        metrics = Metrics()
        home = stack.enter_context(open_home(settings.home))
        records, budgets = await _open_records(settings, home, clock, stack)
        session = await open_session(max_connections=settings.llm.max_connections)
        await stack.enter_async_context(session)
        embedder = await open_embedder(settings, session, on_build)
        stack.push_async_callback(embedder.close)
        index = QdrantEdgeIndex(home.index)
        stack.push_async_callback(index.close)
        ledger = open_ledger(
            settings,
            budgets,
            clock,
            metrics,
            stack,
            processes=(settings.server.workers or 0) + 1,
            has_records=True,
        )
        services = open_services(
            settings,
            records=records,
            embedder=embedder,
            index=index,
            ledger=ledger,
            session=session,
            clock=clock,
            metrics=metrics,
            installation=home.installation,
            buckets=buckets,
            behind_gateways=behind_gateways,
        )
        stack.push_async_callback(services.refreshes.close)
        ingestion = await _open_ingestion(settings, services, records, index, stack)
        metrics.follow(metrics.ingest_queue_depth, lambda: ingestion.queue_depth)
        system = System(
            settings=settings,
            services=services,
            stores=Stores(
                home=home,
                records=records,
                budgets=budgets,
                index=index,
                embedder=embedder,
                ingestion=ingestion,
            ),
            clock=clock,
            warm=lambda: _warm(records, embedder, index),
            local_token=local_token or secrets.token_urlsafe(32),
        )
        keep_swept(stack, settings, services, has_records=True)
        in_background(stack, system.warm_up())
        in_background(stack, watch_process(metrics, services.ladder.observe_lag))
        yield system


async def _open_records(
    settings: Settings, home: Home, clock: Clock, stack: AsyncExitStack
) -> tuple[Records, BudgetRecords]:
    url = settings.records.url or sqlite_url(home.records)
    sql = await asyncio.to_thread(SqlRecords.open, url, clock)
    stack.push_async_callback(sql.close)
    return CachedRecords(sql, clock), sql.budgets


async def _open_ingestion(
    settings: Settings,
    services: Services,
    records: Records,
    index: Index,
    stack: AsyncExitStack,
) -> Ingestion:
    chosen = settings.ingest
    parser = ParserPool(
        workers=chosen.parser_workers,
        timeout_seconds=chosen.parser_timeout_seconds,
        memory_bytes=chosen.parser_memory_bytes,
        limits=ParseLimits(
            max_file_bytes=chosen.max_file_bytes, max_document_chars=chosen.max_document_chars
        ),
    )
    stack.push_async_callback(parser.close)
    ingestion = Ingestion(
        records=records,
        index=index,
        embedder=services.embedder,
        parser=parser,
        clock=services.clock,
        settings=IngestionSettings(
            chunks=ChunkSettings(
                target_tokens=chosen.chunk_tokens, overlap_tokens=chosen.chunk_overlap_tokens
            ),
            max_source_bytes=chosen.max_file_bytes,
        ),
        funds=_funds(settings, services),
        observer=IngestMetrics(services.metrics),
    )
    await ingestion.start()
    stack.push_async_callback(ingestion.stop)
    return ingestion


def _funds(settings: Settings, services: Services) -> Funds | None:
    price, metrics = services.prices.embedder, services.metrics
    if price.free:
        return None

    def spent(model: str, cost: Cost) -> None:
        metrics.tokens.labels("embedding", model).inc(cost.tokens)
        metrics.cost.labels(model, "ingest").inc(cost.nanodollars / NANODOLLARS)

    return Funds(
        services.ledger,
        price,
        services.embedder.identity.name,
        most_nanodollars=nanodollars(settings.ingest.max_cost_dollars),
        on_spent=spent,
    )


async def _warm(records: Records, embedder: Embedder, index: Index) -> None:
    """Touch what the first question would wait for: the model, and every collection's shard."""
    vector = await embedder.embed_query(_WARMING_QUERY)
    for collection in await records.all_collections():
        if collection.embedder == embedder.identity:
            request = SearchRequest(
                collection=collection.name, vector=vector, text=_WARMING_QUERY, limit=1
            )
            await index.search(Principal(tenant=collection.tenant), request)
