"""What ingestion tells, as metrics."""

from ragstone.observe.metrics import Metrics


class IngestMetrics:
    """Implements `ingest.publish.IngestObserver`."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def documents(self, outcome: str, count: int) -> None:
        self._metrics.ingest_documents.labels(outcome).inc(count)

    def chunks(self, count: int) -> None:
        self._metrics.ingest_chunks.labels("published").inc(count)

    def visible(self, seconds: float) -> None:
        self._metrics.index_freshness.observe(seconds)
