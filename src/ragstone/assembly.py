"""Settings become a running system: the only module that names concrete classes.

Everything is opened in the order in which it is needed and closed in the reverse.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final

import aiohttp

from ragstone.caches.memory import MemoryCache
from ragstone.domain.clock import SystemClock
from ragstone.domain.collection import EmbedderIdentity
from ragstone.domain.principal import Principal
from ragstone.domain.query import FusionSettings, SearchRequest
from ragstone.governance.ledger import UsageLedger
from ragstone.home import Home, open_home
from ragstone.index.qdrant_edge import QdrantEdgeIndex
from ragstone.ingest.chunk import ChunkSettings
from ragstone.ingest.parse.limits import ParseLimits
from ragstone.ingest.parser_process import ParserPool
from ragstone.ingest.service import Ingestion, IngestionSettings
from ragstone.models.embedders.fake import HashingEmbedder
from ragstone.models.embedders.openai_http import OpenAiEmbedder
from ragstone.models.llms.anthropic_messages import AnthropicMessages
from ragstone.models.llms.connection import open_session
from ragstone.models.llms.openai_chat import OpenAIChat
from ragstone.models.rerankers.http import HttpReranker
from ragstone.observe.ingestion import IngestMetrics
from ragstone.observe.loop_lag import watch_loop_lag
from ragstone.observe.metrics import Metrics
from ragstone.pipeline.services import Recipe, Services
from ragstone.ports import Clock, Embedder, Index, LanguageModel, Records, Reranker
from ragstone.records.cached import CachedRecords
from ragstone.records.engine import sqlite_url
from ragstone.records.sql_records import SqlRecords
from ragstone.resilience.admission import FixedAdmission
from ragstone.settings import Settings
from ragstone.system import System

_WARMING_QUERY: Final = "warm up"


@asynccontextmanager
async def open_system(
    settings: Settings, *, on_build: Callable[[], None] | None = None
) -> AsyncIterator[System]:
    """A system that runs until the context ends. Raises `StartupError`s.

    `on_build` is called when the embedding model must be built first, which takes seconds.
    """
    async with AsyncExitStack() as stack:
        clock = SystemClock()
        metrics = Metrics()
        home = stack.enter_context(open_home(settings.home))
        records = await _open_records(settings, home, clock, stack)
        session = await open_session(max_connections=settings.llm.max_connections)
        await stack.enter_async_context(session)
        embedder = await _open_embedder(settings, session, on_build)
        stack.push_async_callback(embedder.close)
        index = QdrantEdgeIndex(home.index)
        stack.push_async_callback(index.close)
        services = Services(
            records=records,
            admission=FixedAdmission(
                concurrency=settings.admission.concurrency,
                queue=settings.admission.queue,
                clock=clock,
            ),
            ledger=UsageLedger(),
            embedder=embedder,
            index=index,
            reranker=_reranker(settings, session, clock),
            model=_model(settings, session, clock),
            cache=_cache(settings, clock),
            clock=clock,
            metrics=metrics,
            recipe=_recipe(settings),
        )
        ingestion = await _open_ingestion(settings, services, stack)
        system = System(
            settings=settings,
            home=home,
            services=services,
            ingestion=ingestion,
            clock=clock,
            warm=lambda: _warm(records, embedder, index),
        )
        _in_background(stack, system.warm_up())
        _in_background(stack, watch_loop_lag(metrics))
        yield system


def prepare_embedder(
    settings: Settings, on_build: Callable[[], None] | None = None
) -> EmbedderIdentity:
    """Build the local model if need be. Blocks. Raises `ModelFilesMissing`."""
    if settings.embedder.provider == "local":
        return _local_embedder(settings, on_build).identity
    return EmbedderIdentity(
        name=settings.embedder.model or "fake", dimensions=settings.embedder.dimensions
    )


async def _open_records(
    settings: Settings, home: Home, clock: Clock, stack: AsyncExitStack
) -> Records:
    url = settings.records.url or sqlite_url(home.records)
    sql = await asyncio.to_thread(SqlRecords.open, url, clock)
    stack.push_async_callback(sql.close)
    return CachedRecords(sql, clock)


async def _open_embedder(
    settings: Settings, session: aiohttp.ClientSession, on_build: Callable[[], None] | None
) -> Embedder:
    chosen = settings.embedder
    if chosen.provider == "local":
        return await asyncio.to_thread(_local_embedder, settings, on_build)
    if chosen.provider == "fake":
        return HashingEmbedder(dimensions=chosen.dimensions)
    return OpenAiEmbedder(
        session=session,
        base_url=chosen.base_url,
        model=chosen.model,
        api_key=chosen.api_key.get_secret_value(),
        dimensions=chosen.dimensions,
        timeout_seconds=chosen.timeout_seconds,
    )


def _local_embedder(settings: Settings, on_build: Callable[[], None] | None) -> Embedder:
    # Its imports take a third of a second, which the other providers need not pay.
    from ragstone.models.embedders.onnx_minilm import MiniLmEmbedder

    chosen = settings.embedder
    return MiniLmEmbedder(
        cache_dir=chosen.cache_dir,
        weights_dir=chosen.weights_dir,
        threads=chosen.threads,
        on_build=on_build,
    )


def _model(
    settings: Settings, session: aiohttp.ClientSession, clock: Clock
) -> LanguageModel | None:
    chosen = settings.llm
    if not chosen.model:
        return None
    adapter = AnthropicMessages if chosen.provider == "anthropic" else OpenAIChat
    return adapter(
        session,
        model=chosen.model,
        clock=clock,
        base_url=chosen.base_url,
        api_key=chosen.api_key.get_secret_value(),
        connect_seconds=chosen.connect_seconds,
    )


def _reranker(settings: Settings, session: aiohttp.ClientSession, clock: Clock) -> Reranker | None:
    chosen = settings.reranker
    if not chosen.base_url:
        return None
    return HttpReranker(
        session,
        base_url=chosen.base_url,
        model=chosen.model,
        api_key=chosen.api_key.get_secret_value(),
        clock=clock,
    )


def _cache(settings: Settings, clock: Clock) -> MemoryCache | None:
    if not settings.cache.enabled:
        return None
    return MemoryCache(max_bytes=settings.cache.max_bytes, clock=clock)


def _recipe(settings: Settings) -> Recipe:
    return Recipe(
        candidates=settings.retrieval.candidates,
        fusion=FusionSettings(
            method=settings.retrieval.fusion, dense_weight=settings.retrieval.dense_weight
        ),
        context_tokens=settings.retrieval.context_tokens,
        max_tokens=settings.llm.max_tokens,
        temperature=settings.llm.temperature,
        model_seconds=settings.llm.timeout_seconds,
        rerank_seconds=settings.reranker.timeout_seconds,
        cache_ttl_seconds=settings.cache.ttl_seconds,
    )


async def _open_ingestion(
    settings: Settings, services: Services, stack: AsyncExitStack
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
        records=services.records,
        index=services.index,
        embedder=services.embedder,
        parser=parser,
        clock=services.clock,
        settings=IngestionSettings(
            chunks=ChunkSettings(
                target_tokens=chosen.chunk_tokens, overlap_tokens=chosen.chunk_overlap_tokens
            ),
            max_source_bytes=chosen.max_file_bytes,
        ),
        observer=IngestMetrics(services.metrics),
    )
    await ingestion.start()
    stack.push_async_callback(ingestion.stop)
    return ingestion


async def _warm(records: Records, embedder: Embedder, index: Index) -> None:
    """Touch what the first question would wait for: the model, and every collection's shard."""
    vector = await embedder.embed_query(_WARMING_QUERY)
    for collection in await records.all_collections():
        if collection.embedder == embedder.identity:
            request = SearchRequest(
                collection=collection.name, vector=vector, text=_WARMING_QUERY, limit=1
            )
            await index.search(Principal(tenant=collection.tenant), request)


def _in_background(stack: AsyncExitStack, work: Coroutine[object, object, None]) -> None:
    task = asyncio.create_task(work)

    async def end() -> None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    stack.push_async_callback(end)
