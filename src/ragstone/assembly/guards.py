"""The limits of each dependency, as the settings say."""

from collections.abc import Callable
from random import Random
from typing import Final

from ragstone.observe.dependencies import DependencyMetrics
from ragstone.observe.metrics import Metrics
from ragstone.ports import CacheStore, Clock, Embedder, EmbeddingSearcher, Reranker, Searcher
from ragstone.resilience.board import PAUSES, Board
from ragstone.resilience.breaker import Breaker, BreakerSettings
from ragstone.resilience.dependency import Dependency
from ragstone.resilience.gate import Gate, GateSettings
from ragstone.resilience.guarded import (
    GuardedEmbedder,
    GuardedEmbeddingIndex,
    GuardedIndex,
    GuardedReranker,
)
from ragstone.resilience.guarded_cache import GuardedCache
from ragstone.resilience.hedge import Hedge
from ragstone.resilience.limiter import AdaptiveLimiter
from ragstone.resilience.own_lag import OwnLag
from ragstone.resilience.retry import RetrySettings
from ragstone.resilience.throttle import ClientThrottle
from ragstone.settings import Settings

_QUERY_SECONDS: Final = 2.0
"""Longest wait for the vector of one query from a server; then words alone have to do."""
_LOCAL_SECONDS: Final = 5.0
"""Longest wait for a query's vector that no server makes, and for a search. Both take
milliseconds; what is waited for is an engine that is started again."""
_WITHIN_STAGE: Final = 0.9
"""Share of `reranker.timeout_seconds` after which the guard gives up: before the stage does,
whose cancellation would say nothing about the reranker."""
_FAIR_SECONDS: Final = 5.0
"""See `resilience.dependency`; less where `llm.first_token_seconds` is."""
_CACHE_CALLS: Final = 3
"""Calls to a shared cache after which its breaker may open."""
_FAIR_SHARE: Final = 0.9
"""Of a guard's own time limit: a call that had this much of it had a fair chance."""


class Guards:
    """Makes them; one for each process."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        metrics: Metrics,
        *,
        board: Board | None = None,
        is_loaded: Callable[[], bool] = lambda: False,
        own_lag: OwnLag | None = None,
        random: Random | None = None,
    ) -> None:
        """With a `board` a model's pause holds over all processes that share it; its other
        limits are each process's own. `is_loaded`: no second calls while it is true.
        `own_lag`: what a model's latencies owe to this process. `random` spreads retries and
        probes; seed it to repeat a run."""
        self.settings = settings
        self.clock = clock
        self._board = board
        self._is_loaded = is_loaded
        self._own_lag = own_lag
        self.random = random or Random()
        self.observer = DependencyMetrics(metrics)
        self.dependencies: list[Dependency] = []
        """Those that were made."""

    @property
    def retry(self) -> RetrySettings:
        chosen = self.settings.resilience
        return RetrySettings(
            budget=chosen.retry_budget,
            attempts=chosen.retry_attempts,
            base_seconds=chosen.retry_base_seconds,
        )

    def model(self, position: int) -> Dependency:
        """The language model at `position` of the route, 0 the first: everything there is.

        With `admission.enabled` off, nothing: it shows what happens without.
        """
        name = "model" if position == 0 else f"model_{position + 1}"
        if not self.settings.admission.enabled:
            dependency = Dependency(name, clock=self.clock, observer=self.observer)
            self.dependencies.append(dependency)
            return dependency
        limiter = self._limiter()
        pause = None
        if self._board is not None and position < PAUSES:
            pause = self._board.pause(position)
        dependency = Dependency(
            name,
            clock=self.clock,
            gate=self._gate(name, limiter),
            limiter=limiter,
            breaker=self._breaker(name),
            throttle=ClientThrottle(
                self.settings.resilience.throttle_ratio, clock=self.clock, random=self.random
            ),
            pause=pause,
            observer=self.observer,
            fair_seconds=min(_FAIR_SECONDS, self.settings.llm.first_token_seconds),
            own_lag=self._own_lag,
        )
        self.dependencies.append(dependency)
        return dependency

    def embedder(self, embedder: Embedder, *, billed: bool = False) -> GuardedEmbedder:
        """With second calls when it is a server, which may have replicas, but not when it is
        `billed`: each would be paid for, and one alone is reserved."""
        if self.settings.embedder.provider != "openai":
            return GuardedEmbedder(
                embedder,
                self._broken_only("embedder", fair_seconds=_FAIR_SHARE * _LOCAL_SECONDS),
                clock=self.clock,
                seconds=_LOCAL_SECONDS,
            )
        seconds = min(_QUERY_SECONDS, self.settings.embedder.timeout_seconds)
        return GuardedEmbedder(
            embedder,
            self._broken_only("embedder", fair_seconds=_FAIR_SHARE * seconds),
            clock=self.clock,
            seconds=seconds,
            hedge=None if billed else self._hedge("embedder"),
        )

    def index(self, index: Searcher) -> GuardedIndex:
        """It embeds too where it can, and where the embedder is no server, which needs limits of
        its own."""
        dependency = self._broken_only("index", fair_seconds=_FAIR_SHARE * _LOCAL_SECONDS)
        clock, seconds = self.clock, _LOCAL_SECONDS
        if self.settings.embedder.provider != "openai" and isinstance(index, EmbeddingSearcher):
            return GuardedEmbeddingIndex(index, dependency, clock=clock, seconds=seconds)
        return GuardedIndex(index, dependency, clock=clock, seconds=seconds)

    def reranker(self, reranker: Reranker, *, billed: bool = False) -> GuardedReranker:
        """Without second calls when it is `billed`, as the embedder."""
        seconds = _WITHIN_STAGE * self.settings.reranker.timeout_seconds
        return GuardedReranker(
            reranker,
            self._broken_only("reranker", fair_seconds=_FAIR_SHARE * seconds),
            clock=self.clock,
            seconds=seconds,
            hedge=None if billed else self._hedge("reranker"),
        )

    def cache(self, store: CacheStore) -> GuardedCache:
        """Its breaker opens after few failures: each costs a question `cache.timeout_seconds`, and
        the cache is there to save time."""
        seconds = self.settings.cache.timeout_seconds
        chosen = self.settings.resilience
        dependency = Dependency(
            "cache",
            clock=self.clock,
            breaker=self._breaker_of("cache", min(_CACHE_CALLS, chosen.breaker_calls)),
            observer=self.observer,
            fair_seconds=_FAIR_SHARE * seconds,
        )
        self.dependencies.append(dependency)
        return GuardedCache(store, dependency, clock=self.clock, seconds=seconds)

    def _broken_only(self, name: str, *, fair_seconds: float) -> Dependency:
        """Only a breaker: admission already bounds how many questions call it at once."""
        dependency = Dependency(
            name,
            clock=self.clock,
            breaker=self._breaker(name),
            observer=self.observer,
            fair_seconds=fair_seconds,
        )
        self.dependencies.append(dependency)
        return dependency

    def _hedge(self, name: str) -> Hedge:
        return Hedge(
            share=self.settings.resilience.hedge_share,
            clock=self.clock,
            is_loaded=self._is_loaded,
            hedged=lambda outcome: self.observer.hedged(name, outcome),
        )

    def _breaker(self, name: str) -> Breaker:
        return self._breaker_of(name, self.settings.resilience.breaker_calls)

    def _breaker_of(self, name: str, calls: int) -> Breaker:
        chosen = self.settings.resilience
        return Breaker(
            name,
            BreakerSettings(
                failures=chosen.breaker_failures,
                calls=calls,
                window_seconds=chosen.breaker_window_seconds,
                open_seconds=chosen.breaker_open_seconds,
            ),
            clock=self.clock,
            random=self.random,
            on_change=lambda state: self.observer.breaker(name, state),
        )

    def _limiter(self) -> AdaptiveLimiter:
        """What `llm.max_connections` allows wins over the other two settings."""
        chosen = self.settings.resilience
        most = self.settings.llm.max_connections
        least = min(chosen.min_concurrency, most)
        return AdaptiveLimiter(
            initial=min(max(chosen.initial_concurrency, least), most),
            minimum=least,
            maximum=most,
            clock=self.clock,
        )

    def _gate(self, name: str, limiter: AdaptiveLimiter) -> Gate:
        chosen = self.settings.admission
        return Gate(
            name,
            limit=lambda: limiter.limit,
            settings=GateSettings(
                queue=chosen.queue,
                target_seconds=chosen.target_seconds,
                interval_seconds=chosen.interval_seconds,
                tenant_share=chosen.tenant_share,
            ),
            clock=self.clock,
        )
