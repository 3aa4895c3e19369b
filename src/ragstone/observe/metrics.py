"""The Prometheus metrics: names and labels are a contract (see docs/metrics.md).

No tenant, user, document or question is ever a label.

Where several processes serve, each keeps its numbers in files of a shared folder, and any of
them renders the sum.
"""

import os
from collections.abc import Callable
from pathlib import Path
from threading import get_ident
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from ragstone.observe.cells import OwnMemory, SharedFolder, Store
from ragstone.observe.declared import (
    bind,
    counter,
    counters,
    gauge,
    gauges,
    histogram,
    histograms,
)
from ragstone.observe.exposition import Exposition
from ragstone.observe.instruments import Gauge
from ragstone.observe.metrics_folder import FOLDER_VARIABLE

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST


class Metrics:
    """All metrics of one server.

    To be made in the thread that counts most, the event loop's; the others may count too.
    """

    requests = counters("rag_requests_total", "Requests by outcome.", "route app outcome")
    request_duration = histograms(
        "rag_request_duration_seconds", "Whole requests.", "route app outcome"
    )
    stage_duration = histograms(
        "rag_stage_duration_seconds", "Stages of the question path.", "stage"
    )
    first_token = histograms(
        "rag_time_to_first_token_seconds", "Request to first answer text.", "app model"
    )
    inter_token = histograms(
        "rag_inter_token_seconds", "Between two pieces of answer text.", "model"
    )
    queue_wait = histograms("rag_queue_wait_seconds", "Waiting for admission.", "class")
    in_flight = gauges("rag_in_flight", "Requests running now.", "dependency")
    concurrency_limit = gauges(
        "rag_concurrency_limit", "Requests that may run at once.", "dependency"
    )
    rejections = counters("rag_admission_rejections_total", "Requests refused.", "reason class")
    degraded = counters("rag_degraded_total", "Rungs of the ladder taken.", "rung")
    dependency_requests = counters(
        "rag_dependency_requests_total", "Calls out.", "dependency outcome"
    )
    breaker_state = gauges(
        "rag_breaker_state", "0 closed, 1 half open, 2 open.", "dependency", joined="max"
    )
    retries = counters("rag_retries_total", "Calls repeated.", "dependency outcome")
    hedges = counters("rag_hedges_total", "Second calls.", "dependency outcome")
    ladder_rung = gauge(
        "rag_ladder_rung",
        "Rungs that load has taken from standard requests, 0 is none.",
        joined="max",
    )
    cache_requests = counters("rag_cache_requests_total", "Look-ups in caches.", "cache outcome")
    cache_entries = gauges("rag_cache_entries", "Entries that processes keep.", "cache")
    cache_bytes = gauges("rag_cache_bytes", "Their bytes.", "cache")
    cache_limit = gauges("rag_cache_limit_bytes", "The bound on those.", "cache")
    cache_false_hits = counters(
        "rag_cache_false_hits_total", "Kept answers that a fresh one contradicts.", "cache"
    )
    semantic_off = gauge(
        "rag_cache_semantic_off", "Processes whose semantic tier has switched itself off."
    )
    retrieval_results = histograms(
        "rag_retrieval_results",
        "Passages found for a question.",
        "retriever",
        bounds=(0, 1, 2, 3, 5, 8, 10, 20, 50, 100),
    )
    retrieval_top_score = histograms(
        "rag_retrieval_top_score",
        "Cosine of the best passage.",
        "retriever embedder",
        bounds=tuple(step / 20 for step in range(21)),
    )
    retrieval_empty = counters(
        "rag_retrieval_empty_total", "Questions for which nothing was found.", "cause"
    )
    index_freshness = histogram("rag_index_freshness_seconds", "Document acknowledged to visible.")
    tokens = counters("rag_tokens_total", "Tokens consumed.", "kind model")
    cost = counters("rag_cost_dollars_total", "Dollars spent.", "model stage")
    cost_saved = counters("rag_cost_saved_dollars_total", "Dollars not spent.", "by")
    budget_refusals = counters(
        "rag_budget_refusals_total", "Calls that a budget did not allow.", "scope"
    )
    budget_overruns = counter(
        "rag_budget_overruns_total", "Calls that cost more than was reserved for them."
    )
    prompt_tokens = histogram(
        "rag_prompt_tokens",
        "Estimated tokens of a question's prompt.",
        bounds=(100, 200, 400, 600, 800, 1_000, 1_500, 2_000, 3_000, 5_000, 10_000, 50_000),
    )
    ingest_documents = counters("rag_ingest_documents_total", "Documents ingested.", "outcome")
    ingest_chunks = counters("rag_ingest_chunks_total", "Chunks published.", "outcome")
    ingest_queue_depth = gauge("rag_ingest_queue_depth", "Jobs not yet ended.")
    event_loop_lag = histogram("rag_event_loop_lag_seconds", "How late the event loop wakes.")
    event_loop_tasks = gauge("rag_event_loop_tasks", "Tasks that have not ended.")
    open_reservations = gauge("rag_open_reservations", "Reservations not yet settled.")

    def __init__(self) -> None:
        folder = os.environ.get(FOLDER_VARIABLE)
        store: Store = OwnMemory() if folder is None else SharedFolder(Path(folder))
        self.registry = CollectorRegistry()
        self.registry.register(Exposition(bind(self, store, get_ident()), store))
        self._followed: list[tuple[Gauge, Callable[[], float]]] = []

    def follow(self, gauge: Gauge, value: Callable[[], float]) -> None:
        """`gauge` shows `value` as it is when the metrics are read."""
        self._followed.append((gauge, value))

    def measure(self) -> None:
        """Bring the gauges up to date; with several processes each has to do so by itself."""
        for followed, value in self._followed:
            followed.set(value())

    def render(self) -> bytes:
        """The exposition format that Prometheus scrapes, summed over all processes."""
        self.measure()
        return generate_latest(self.registry)

    def values(self, name: str) -> list[tuple[dict[str, str], float]]:
        """Labels and values of the samples with this name, summed over all processes."""
        self.measure()
        return [
            (sample.labels, sample.value)
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == name
        ]
