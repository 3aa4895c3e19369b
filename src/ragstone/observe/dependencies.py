"""What happens at the dependencies, as metrics.

The label `dependency` is a role, never an address or a model's name: `model`, `model_2` and
so on for fallbacks in their order, `embedder`, `index`, `reranker`.
"""

from typing import Final

from ragstone.observe.metrics import Metrics

_BREAKER_VALUES: Final = {"closed": 0, "half_open": 1, "open": 2}


class DependencyMetrics:
    """Implements `resilience.dependency_parts.DependencyObserver`."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._limits: dict[str, tuple[int, int]] = {}

    def called(self, dependency: str, outcome: str) -> None:
        """An attempt ended with one of `resilience.outcomes.CallOutcome`."""
        self._metrics.dependency_requests.labels(dependency, outcome).inc()

    def limit(self, dependency: str, limit: int, in_flight: int) -> None:
        """A limit of 0 is none, and not shown."""
        known = dependency in self._limits
        self._limits[dependency] = (limit, in_flight)
        if not known:
            self._show(dependency)

    def breaker(self, dependency: str, state: str) -> None:
        self._metrics.breaker_state.labels(dependency).set(_BREAKER_VALUES[state])

    def retried(self, dependency: str, outcome: str) -> None:
        """A second attempt ended: `ok` or `error`."""
        self._metrics.retries.labels(dependency, outcome).inc()

    def hedged(self, dependency: str, outcome: str) -> None:
        self._metrics.hedges.labels(dependency, outcome).inc()

    def _show(self, dependency: str) -> None:
        """Read only when the metrics are: both change with every call."""
        limits, metrics = self._limits, self._metrics
        metrics.follow(metrics.in_flight.labels(dependency), lambda: limits[dependency][1])
        if limits[dependency][0]:
            limit = metrics.concurrency_limit.labels(dependency)
            metrics.follow(limit, lambda: limits[dependency][0])
