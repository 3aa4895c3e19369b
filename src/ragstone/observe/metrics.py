"""The Prometheus metrics: names and labels are a contract (see docs/metrics.md).

No tenant, user, document or question is ever a label.

Where several processes serve, each keeps its numbers in files of a shared folder, and any of
them renders the sum (prometheus_client's multiprocess mode). The client decides so when it is
first imported, so the folder's name must be in the environment of a process before that.
"""

import os
from collections.abc import Callable
from functools import cache
from typing import Final, Literal, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector

from ragstone.observe.metrics_folder import FOLDER_VARIABLE

_Metric = TypeVar("_Metric", Counter, Gauge, Histogram)

LATENCY_BUCKETS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0),
)
"""Seconds. Overload must not vanish in the last bucket."""

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

_Joined = Literal["livesum", "livemax"]
"""How the gauges of the living processes become one."""


class Metrics:
    """All metrics of one server in a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._followed: list[tuple[Gauge, Callable[[], float]]] = []

        def counter(name: str, text: str, *labels: str) -> Counter:
            return _remembering(Counter(name, text, labels, registry=registry))

        def gauge(name: str, text: str, *labels: str, joined: _Joined = "livesum") -> Gauge:
            return _remembering(
                Gauge(name, text, labels, registry=registry, multiprocess_mode=joined)
            )

        def seconds(name: str, text: str, *labels: str) -> Histogram:
            return _remembering(
                Histogram(name, text, labels, registry=registry, buckets=LATENCY_BUCKETS)
            )

        self.requests = counter(
            "rag_requests_total", "Requests by outcome.", "route", "app", "outcome"
        )
        self.request_duration = seconds(
            "rag_request_duration_seconds", "Whole requests.", "route", "app", "outcome"
        )
        self.stage_duration = seconds(
            "rag_stage_duration_seconds", "Stages of the question path.", "stage"
        )
        self.first_token = seconds(
            "rag_time_to_first_token_seconds", "Request to first answer text.", "app", "model"
        )
        self.inter_token = seconds(
            "rag_inter_token_seconds", "Between two pieces of answer text.", "model"
        )
        self.queue_wait = seconds("rag_queue_wait_seconds", "Waiting for admission.", "class")
        self.in_flight = gauge("rag_in_flight", "Requests running now.", "dependency")
        self.concurrency_limit = gauge(
            "rag_concurrency_limit", "Requests that may run at once.", "dependency"
        )
        self.rejections = counter(
            "rag_admission_rejections_total", "Requests refused.", "reason", "class"
        )
        self.degraded = counter("rag_degraded_total", "Rungs of the ladder taken.", "rung")
        self.dependency_requests = counter(
            "rag_dependency_requests_total", "Calls out.", "dependency", "outcome"
        )
        self.breaker_state = gauge(
            "rag_breaker_state", "0 closed, 1 half open, 2 open.", "dependency", joined="livemax"
        )
        self.retries = counter("rag_retries_total", "Calls repeated.", "dependency", "outcome")
        self.hedges = counter("rag_hedges_total", "Second calls.", "dependency", "outcome")
        self.ladder_rung = gauge(
            "rag_ladder_rung",
            "Rungs that load has taken from standard requests, 0 is none.",
            joined="livemax",
        )
        self.cache_requests = counter(
            "rag_cache_requests_total", "Look-ups in caches.", "cache", "outcome"
        )
        self.cache_entries = gauge("rag_cache_entries", "Entries that processes keep.", "cache")
        self.cache_bytes = gauge("rag_cache_bytes", "Their bytes.", "cache")
        self.cache_limit = gauge("rag_cache_limit_bytes", "The bound on those.", "cache")
        self.cache_false_hits = counter(
            "rag_cache_false_hits_total", "Kept answers that a fresh one contradicts.", "cache"
        )
        self.semantic_off = gauge(
            "rag_cache_semantic_off", "Processes whose semantic tier has switched itself off."
        )
        self.retrieval_results = Histogram(
            "rag_retrieval_results",
            "Passages found for a question.",
            ["retriever"],
            registry=registry,
            buckets=(0, 1, 2, 3, 5, 8, 10, 20, 50, 100),
        )
        self.retrieval_top_score = Histogram(
            "rag_retrieval_top_score",
            "Cosine of the best passage.",
            ["retriever", "embedder"],
            registry=registry,
            buckets=tuple(step / 20 for step in range(21)),
        )
        self.retrieval_empty = counter(
            "rag_retrieval_empty_total", "Questions for which nothing was found.", "cause"
        )
        self.index_freshness = seconds(
            "rag_index_freshness_seconds", "Document acknowledged to visible."
        )
        self.tokens = counter("rag_tokens_total", "Tokens consumed.", "kind", "model")
        self.cost = counter("rag_cost_dollars_total", "Dollars spent.", "model", "stage")
        self.cost_saved = counter("rag_cost_saved_dollars_total", "Dollars not spent.", "by")
        self.budget_refusals = counter(
            "rag_budget_refusals_total", "Calls that a budget did not allow.", "scope"
        )
        self.budget_overruns = counter(
            "rag_budget_overruns_total", "Calls that cost more than was reserved for them."
        )
        self.prompt_tokens = Histogram(
            "rag_prompt_tokens",
            "Estimated tokens of a question's prompt.",
            registry=registry,
            buckets=(100, 200, 400, 600, 800, 1_000, 1_500, 2_000, 3_000, 5_000, 10_000, 50_000),
        )
        self.ingest_documents = counter(
            "rag_ingest_documents_total", "Documents ingested.", "outcome"
        )
        self.ingest_chunks = counter("rag_ingest_chunks_total", "Chunks published.", "outcome")
        self.ingest_queue_depth = gauge("rag_ingest_queue_depth", "Jobs not yet ended.")
        self.event_loop_lag = seconds(
            "rag_event_loop_lag_seconds", "How late the event loop wakes."
        )
        self.event_loop_tasks = gauge("rag_event_loop_tasks", "Tasks that have not ended.")
        self.open_reservations = gauge("rag_open_reservations", "Reservations not yet settled.")

    def follow(self, gauge: Gauge, value: Callable[[], float]) -> None:
        """`gauge` shows `value` as it is when the metrics are read."""
        self._followed.append((gauge, value))

    def measure(self) -> None:
        """Bring the gauges up to date; with several processes each has to do so by itself."""
        for gauge, value in self._followed:
            gauge.set(value())

    def render(self) -> bytes:
        """The exposition format that Prometheus scrapes, summed over all processes."""
        return generate_latest(self._of_all_processes())

    def values(self, name: str) -> list[tuple[dict[str, str], float]]:
        """Labels and values of the samples with this name, summed over all processes."""
        return [
            (sample.labels, sample.value)
            for family in self._of_all_processes().collect()
            for sample in family.samples
            if sample.name == name
        ]

    def _of_all_processes(self) -> CollectorRegistry:
        self.measure()
        folder = os.environ.get(FOLDER_VARIABLE)
        if folder is None:
            return self.registry
        joined = CollectorRegistry()
        MultiProcessCollector(joined, folder)  # type: ignore[no-untyped-call]
        return joined


def _remembering(metric: _Metric) -> _Metric:
    """Finds a child by its labels without a lock: a question looks up fifteen."""
    metric.labels = cache(metric.labels)  # type: ignore[method-assign]
    return metric
