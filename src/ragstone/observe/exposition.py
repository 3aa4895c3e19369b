"""The numbers of all processes as families of prometheus_client, which writes them out."""

import operator
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client import Metric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from ragstone.observe.cells import Store
from ragstone.observe.declared import Line

_JOINED: Final[Mapping[str, Callable[[float, float], float]]] = {"sum": operator.add, "max": max}

_Children = dict[tuple[str, ...], list[float]]


class Exposition(Collector):
    """Reads the store whenever it is asked."""

    def __init__(self, lines: Sequence[Line], store: Store) -> None:
        self._lines = lines
        self._store = store
        # As prometheus_client has it for its own metrics.
        hidden = os.environ.get("PROMETHEUS_DISABLE_CREATED_SERIES", "").lower()
        self._shows_created = hidden not in ("true", "1", "t")

    def collect(self) -> Iterator[Metric]:
        children = self._joined()
        for line in self._lines:
            yield self._family(line, children[line.name])

    def _joined(self) -> dict[str, _Children]:
        joined = {line.name: _JOINED[line.joined] for line in self._lines}
        children: dict[str, _Children] = {name: {} for name in joined}
        for numbers in self._store.read():
            for (name, labels), cells in numbers.items():
                known = children[name].get(labels)
                children[name][labels] = (
                    cells if known is None else list(map(joined[name], known, cells))
                )
        return children

    def _family(self, line: Line, children: _Children) -> Metric:
        if line.kind == "gauge":
            gauges = GaugeMetricFamily(line.name, line.text, labels=line.labels)
            for labels, cells in children.items():
                gauges.add_metric(labels, cells[0])
            return gauges
        if line.kind == "counter":
            counters = CounterMetricFamily(line.name, line.text, labels=line.labels)
            for labels, cells in children.items():
                counters.add_metric(labels, cells[0], self._created(line, labels))
            return counters
        return self._histograms(line, children)

    def _histograms(self, line: Line, children: _Children) -> Metric:
        family = HistogramMetricFamily(line.name, line.text, labels=line.labels)
        bounds = [*map(floatToGoString, line.bounds), "+Inf"]
        for labels, (*counts, total) in children.items():
            family.add_metric(labels, list(zip(bounds, accumulate(counts), strict=True)), total)
            created = self._created(line, labels)
            if created is not None:
                named = dict(zip(line.labels, labels, strict=True))
                family.add_sample(f"{line.name}_created", named, created)
        return family

    def _created(self, line: Line, labels: tuple[str, ...]) -> float | None:
        return self._store.created.get((line.name, labels)) if self._shows_created else None
