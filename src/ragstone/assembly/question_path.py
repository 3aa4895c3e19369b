"""What a question passes through, the same in a whole server and in a gateway."""

from random import Random

import aiohttp

from ragstone.assembly.admission import open_admission
from ragstone.assembly.caches import open_answer_cache, open_embedding_cache
from ragstone.assembly.guards import Guards
from ragstone.assembly.models import open_model, open_reranker
from ragstone.assembly.prices import open_prices
from ragstone.caches.memory import MemoryCache
from ragstone.domain.query import FusionSettings
from ragstone.governance.ledger import LeasedLedger
from ragstone.governance.prices import Price
from ragstone.governance.quotas import MinuteLimits, MinuteQuotas, SharedBuckets
from ragstone.observe.metrics import Metrics
from ragstone.pipeline.flight import Flights
from ragstone.pipeline.keeping import Keeping
from ragstone.pipeline.refresh import Refreshes
from ragstone.pipeline.services import AtHand, Recipe, Services
from ragstone.pipeline.shadow import SemanticTier
from ragstone.ports import CacheStore, Clock, Embedder, Ledger, RecordsReader, Searcher
from ragstone.records.cached import CachedRecords
from ragstone.resilience.admission import GatedAdmission
from ragstone.resilience.board import Board
from ragstone.resilience.ladder import LadderPolicy, LoadLadder
from ragstone.settings import Settings


def open_services(
    settings: Settings,
    *,
    records: RecordsReader,
    embedder: Embedder,
    index: Searcher,
    ledger: Ledger,
    session: aiohttp.ClientSession,
    clock: Clock,
    metrics: Metrics,
    installation: str,
    board: Board | None = None,
    buckets: SharedBuckets | None = None,
    behind_gateways: bool = False,
    embedder_price: Price | None = None,
) -> Services:
    """The services over records, embedder and index, wherever those are.

    `embedder_price`: of an engine's embedder; None: as the settings say.
    `installation` is what its entries in a shared cache server are known by.
    With a `board` the limits of admission hold over all processes that share it, with `buckets`
    those of quotas. What is
    `behind_gateways` has slots of its own for what those hand on; theirs are the server's.
    """
    prices = open_prices(settings, clock, embedder=embedder_price)
    admission = open_admission(settings, clock, board)
    processes = 1 if board is None else board.processes
    if isinstance(admission, GatedAdmission) and not behind_gateways:
        gate = admission.gate
        metrics.follow(metrics.concurrency_limit.labels("answers"), lambda: gate.limit / processes)
    ladder = _ladder(settings, clock)
    metrics.follow(metrics.ladder_rung, lambda: ladder.level)
    guards = Guards(
        settings,
        clock,
        metrics,
        board=board,
        is_loaded=lambda: ladder.level > 0,
        own_lag=ladder.own_lag,
    )
    cache = open_answer_cache(settings, guards, clock, metrics, installation)
    return Services(
        records=records,
        admission=admission,
        ledger=ledger,
        prices=prices,
        embedder=open_embedding_cache(
            settings, guards.embedder(embedder, billed=not prices.embedder.free), clock, metrics
        ),
        index=guards.index(index),
        reranker=open_reranker(settings, session, guards, prices),
        model=open_model(settings, session, guards, ladder.joining_pause, prices),
        cache=cache,
        clock=clock,
        metrics=metrics,
        ladder=ladder,
        recipe=_recipe(settings),
        quotas=_quotas(settings, clock, buckets),
        keeping=_keeping(settings),
        flights=Flights() if settings.cache.single_flight else None,
        refreshes=Refreshes(),
        semantic=_semantic(settings, metrics),
        at_hand=_at_hand(records, cache, ledger),
        dependencies=guards.dependencies,
    )


def _at_hand(records: RecordsReader, cache: CacheStore | None, ledger: Ledger) -> AtHand | None:
    """Of the process that has the records, where it has the answers too."""
    if (
        isinstance(records, CachedRecords)
        and isinstance(cache, MemoryCache)
        and isinstance(ledger, LeasedLedger)
    ):
        return AtHand(
            key=records.key_at_once,
            collection=records.collection_at_once,
            kept=cache.get_at_once,
            standing=ledger.standing_at_once,
        )
    return None


def _ladder(settings: Settings, clock: Clock) -> LoadLadder:
    chosen = settings.ladder
    policy = LadderPolicy(
        enabled=chosen.enabled and settings.admission.enabled,
        last_rung=chosen.last_rung,
        wait_seconds=settings.admission.target_seconds,
        first_token_seconds=chosen.first_token_seconds,
        climb_seconds=chosen.climb_seconds,
        recover_seconds=chosen.recover_seconds,
    )
    return LoadLadder(policy, clock)


def _quotas(settings: Settings, clock: Clock, buckets: SharedBuckets | None) -> MinuteQuotas:
    chosen = settings.quotas
    limits = MinuteLimits(
        key_requests=chosen.key_requests_per_minute,
        key_tokens=chosen.key_tokens_per_minute,
        tenant_requests=chosen.tenant_requests_per_minute,
        tenant_tokens=chosen.tenant_tokens_per_minute,
    )
    return MinuteQuotas(limits, clock, buckets)


def _keeping(settings: Settings) -> Keeping:
    return Keeping(
        ttl_seconds=settings.cache.ttl_seconds,
        not_found_seconds=settings.cache.not_found_seconds,
        refresh_share=settings.cache.refresh_share,
        random=Random(),
    )


def _semantic(settings: Settings, metrics: Metrics) -> SemanticTier | None:
    chosen = settings.cache
    if not chosen.semantic:
        return None
    return SemanticTier(
        similarity=chosen.semantic_similarity,
        shadow_share=chosen.semantic_shadow_share,
        most_false=chosen.semantic_false_hits,
        metrics=metrics,
        random=Random(),
    )


def _recipe(settings: Settings) -> Recipe:
    return Recipe(
        candidates=settings.retrieval.candidates,
        fusion=FusionSettings(
            method=settings.retrieval.fusion, dense_weight=settings.retrieval.dense_weight
        ),
        context_tokens=settings.retrieval.context_tokens,
        compression=settings.retrieval.compression,
        conversation_tokens=settings.retrieval.conversation_tokens,
        max_tokens=settings.llm.max_tokens,
        temperature=settings.llm.temperature,
        model_seconds=settings.llm.timeout_seconds,
        rerank_seconds=settings.reranker.timeout_seconds,
        escalation=settings.routing.escalate,
    )
