"""What happens at the dependencies is told under the names of the contract."""

from ragstone.observe.dependencies import DependencyMetrics
from ragstone.observe.metrics import Metrics


def test_each_event_has_its_metric() -> None:
    metrics = Metrics()
    observer = DependencyMetrics(metrics)
    observer.called("model", "timeout")
    observer.breaker("model", "open")
    observer.retried("model_2", "ok")
    observer.hedged("reranker", "won")
    value = metrics.registry.get_sample_value
    assert (
        value("rag_dependency_requests_total", {"dependency": "model", "outcome": "timeout"}) == 1
    )
    assert value("rag_breaker_state", {"dependency": "model"}) == 2
    assert value("rag_retries_total", {"dependency": "model_2", "outcome": "ok"}) == 1
    assert value("rag_hedges_total", {"dependency": "reranker", "outcome": "won"}) == 1
    observer.breaker("model", "half_open")
    assert value("rag_breaker_state", {"dependency": "model"}) == 1


def test_limits_are_shown_as_they_are_when_read() -> None:
    metrics = Metrics()
    observer = DependencyMetrics(metrics)
    value = metrics.registry.get_sample_value
    for limit, in_flight in ((32, 1), (48, 7)):
        observer.limit("model", limit, in_flight)
        metrics.measure()
        assert value("rag_concurrency_limit", {"dependency": "model"}) == limit
        assert value("rag_in_flight", {"dependency": "model"}) == in_flight


def test_what_has_no_limit_shows_none() -> None:
    metrics = Metrics()
    DependencyMetrics(metrics).limit("index", 0, 3)
    metrics.measure()
    value = metrics.registry.get_sample_value
    assert value("rag_in_flight", {"dependency": "index"}) == 3
    assert value("rag_concurrency_limit", {"dependency": "index"}) is None
