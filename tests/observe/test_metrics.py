"""What is counted is shown, as prometheus_client would show it, whichever threads count."""

import math
import re
import threading
import time
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Counter as TheirCounter
from prometheus_client import Gauge as TheirGauge
from prometheus_client import Histogram as TheirHistogram

from ragstone.observe.cells import Key, OwnMemory, Store
from ragstone.observe.declared import (
    Declared,
    bind,
    counter,
    counters,
    gauge,
    gauges,
    histogram,
    histograms,
)
from ragstone.observe.exposition import Exposition
from ragstone.observe.instruments import Counter, Gauge, Histogram
from ragstone.observe.metrics import Metrics

BOUNDS = (0.0, 0.25, 1.0, 3.0)
SECONDS = (0.5, 1.0)


class Ours:
    """One of each kind, with labels and without."""

    calls = counters("calls_total", "Calls.", "who how")
    ends = counter("ends_total", "A \\ and\na line.")
    open = gauges("open", "Open.", "who")
    level = gauge("level", "Level.")
    lengths = histograms("lengths", "Lengths.", "who", bounds=BOUNDS)
    waits = histogram("waits_seconds", "Waits.", bounds=SECONDS)

    def __init__(self, store: Store) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(Exposition(bind(self, store, threading.get_ident()), store))


class Theirs:
    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.calls = TheirCounter("calls_total", "Calls.", ["who", "how"], registry=registry)
        self.ends = TheirCounter("ends_total", "A \\ and\na line.", registry=registry)
        self.open = TheirGauge("open", "Open.", ["who"], registry=registry)
        self.level = TheirGauge("level", "Level.", registry=registry)
        self.lengths = TheirHistogram(
            "lengths", "Lengths.", ["who"], registry=registry, buckets=BOUNDS
        )
        self.waits = TheirHistogram("waits_seconds", "Waits.", registry=registry, buckets=SECONDS)


METHODS = {
    "calls": ("inc",),
    "ends": ("inc",),
    "open": ("inc", "dec", "set"),
    "level": ("inc", "dec", "set"),
    "lengths": ("observe",),
    "waits": ("observe",),
}
LABELS = {"calls": 2, "open": 1, "lengths": 1}


@st.composite
def steps(draw: st.DrawFn) -> tuple[str, tuple[str, ...], str, float]:
    """Of which metric, which child, does what, with how much."""
    name = draw(st.sampled_from(sorted(METHODS)))
    method = draw(st.sampled_from(METHODS[name]))
    word = st.sampled_from(["a", "b", 'a "quoted" \\ \n ä', ""])
    labels = tuple(draw(word) for _ in range(LABELS.get(name, 0)))
    amounts = st.sampled_from((-1.0, *BOUNDS, *SECONDS)) | st.floats(-1e9, 1e9) | st.integers(-9, 9)
    amount = draw(amounts)
    return name, labels, method, abs(amount) if method == "inc" else amount


@given(st.lists(steps(), max_size=40))
def test_the_page_is_that_of_prometheus_client(
    done: list[tuple[str, tuple[str, ...], str, float]],
) -> None:
    with mock.patch.object(time, "time", return_value=1_700_000_000.5):
        ours, theirs = Ours(OwnMemory()), Theirs()
        for name, labels, method, amount in done:
            for side in (ours, theirs):
                metric = getattr(side, name)
                child = metric.labels(*labels) if labels else metric
                getattr(child, method)(amount)
    assert generate_latest(ours.registry) == generate_latest(theirs.registry)


def test_creation_is_not_told_to_those_who_switched_that_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert b"_created" in Metrics().render()
    monkeypatch.setenv("PROMETHEUS_DISABLE_CREATED_SERIES", "True")
    assert b"_created" not in Metrics().render()


class Interrupted(list[float]):
    """Lets other threads run between reading and writing a number."""

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        value = super().__getitem__(index)
        time.sleep(0)
        return value


class InterruptedMemory(OwnMemory):
    def add(self, key: Key, size: int, *, lives: bool) -> list[float]:
        cells = Interrupted([0.0] * size)
        self._kept.append((key, cells))
        return cells


def test_threads_lose_nothing() -> None:
    ours, each, threads = Ours(InterruptedMemory()), 200, 4

    def count() -> None:
        for number in range(each):
            ours.ends.inc()
            ours.calls.labels("a", str(number % 3)).inc(2)
            ours.level.inc(3)
            ours.level.dec()
            ours.lengths.labels("a").observe(0.25)

    others = [threading.Thread(target=count) for _ in range(threads)]
    for other in others:
        other.start()
    count()
    for other in others:
        other.join()
    total = each * (threads + 1)
    value = ours.registry.get_sample_value
    assert value("ends_total") == ours.ends.value == total
    assert sum(value("calls_total", {"who": "a", "how": how}) or 0 for how in "012") == 2 * total
    assert value("level") == ours.level.value == 2 * total
    assert value("lengths_bucket", {"who": "a", "le": "0.0"}) == 0
    assert value("lengths_bucket", {"who": "a", "le": "0.25"}) == total
    assert value("waits_seconds_sum") == 0


def test_a_gauge_is_what_it_was_last_set_to_whichever_thread_did() -> None:
    level = Ours(OwnMemory()).level

    def elsewhere(value: float) -> None:
        thread = threading.Thread(target=lambda: (level.set(value), level.inc()))
        thread.start()
        thread.join()

    for here, there in ((5, 3), (0, 7)):
        level.set(here)
        assert level.value == here
        elsewhere(there)
        assert level.value == there + 1
        level.inc()
        assert level.value == there + 2


def test_a_child_is_always_the_same_one() -> None:
    calls = Ours(OwnMemory()).calls
    kept = calls.labels("a", "b")
    kept.inc()
    assert calls.labels("a", "b") is kept
    assert calls.labels("b", "a") is not kept
    for wrong in ((), ("a",), ("a", "b", "c")):
        with pytest.raises(ValueError, match="2 labels"):
            calls.labels(*wrong)


def test_a_counter_does_not_fall() -> None:
    ends = Ours(OwnMemory()).ends
    with pytest.raises(ValueError, match="cannot fall"):
        ends.inc(-1)
    assert ends.value == 0


@pytest.mark.parametrize("bounds", [(), (-1.0, 1.0), (1.0, 1.0), (2.0, 1.0), (1.0, math.inf)])
def test_bounds_rise_and_are_neither_negative_nor_infinite(bounds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="bounds"):
        histogram("waits_seconds", "Waits.", bounds=bounds)


def test_types_and_labels_are_those_of_the_contract() -> None:
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    contract = {}
    for names, kind, labels in re.findall(r"^\| (`rag_[^|]+) \| (\w+) \| ([^|]*)\|", page, re.M):
        wanted = tuple(label for label in labels.strip().split(", ") if label not in ("", "none"))
        contract |= dict.fromkeys(re.findall(r"`(\w+)`", names), (kind, wanted))
    declared = [value.line for value in vars(Metrics).values() if isinstance(value, Declared)]
    assert {line.name: (line.kind, line.labels) for line in declared} == contract
    kinds = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}
    metrics = Metrics()
    for name, value in vars(Metrics).items():
        if isinstance(value, Declared) and not value.line.labels:
            assert type(getattr(metrics, name)) is kinds[value.line.kind]
