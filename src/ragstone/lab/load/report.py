"""A run in figures: what was offered, what came of it, and whether the run counts.

The figures are of the open part, the first questions of conversations. Later turns wait for the
answers before them, so they are a closed loop; they are told apart, in `later_turns`.
"""

import math
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from ragstone.domain.principal import PRIORITIES
from ragstone.domain.usage import NANODOLLARS
from ragstone.lab.load.distribution import Distribution
from ragstone.lab.load.outcome import ANSWERED, REFUSED, Outcome
from ragstone.lab.load.runner import LoadResult

MOST_LATENESS: Final = 0.010
"""Seconds of median lateness beyond which a run does not count."""

LEAST_SENT: Final = 0.99
"""Share of the offered requests that must have been sent in the run's time."""

_GRACE: Final = 0.05
_MOST_POINTS: Final = 600
_BARS: Final = 40

Percentiles = dict[str, float]
"""Seconds by `p50`, `p90`, `p95`, `p99`, `p99.9` and `max`; empty where nothing was measured."""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """The requests of one key, of one priority, or of later turns."""

    name: str
    requests: int
    good: int
    good_share: float
    outcomes: dict[str, int]
    latency: Percentiles
    first_token: Percentiles


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """The run over time. Each request counts where it was scheduled, whenever it ended."""

    width: float
    """Seconds of one point."""
    offered: list[float]
    """Requests a second; so is `good`."""
    good: list[float]
    outcomes: dict[str, list[float]]
    """Requests a second, by outcome."""
    latency_p50: list[float | None]
    latency_p99: list[float | None]
    first_token_p50: list[float | None]
    first_token_p99: list[float | None]


class Bars(msgspec.Struct, frozen=True):
    """The distribution of latency: edges in seconds, one more than counts."""

    edges: list[float]
    counts: list[int]


class LoadReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` writes. Rates are per second, times in seconds."""

    format: int = 1
    target: str
    load: str
    endpoint: str
    streamed: bool
    duration: float
    deadline: float
    within: float
    processes: int
    generator_cpu: float
    """Share of a core that the busiest generator took."""
    valid: bool
    reasons: list[str]
    """Why the run does not count; empty when it does."""
    lateness: Percentiles
    """Of sending, behind the schedule."""
    sent_share: float
    requests: int
    offered: float
    throughput: float
    """Answers, good or late."""
    goodput: float
    """Answers that were complete within `within`, with exactly one terminal event."""
    good_share: float
    """Of those requests whose client stayed."""
    degraded_share: float
    """Of the answers."""
    outcomes: dict[str, int]
    codes: dict[str, int]
    rungs: dict[str, int]
    latency: Percentiles
    """Of answers, from the scheduled moment to the end."""
    first_token: Percentiles
    """Of all in which answer text came, from the scheduled moment."""
    gaps: Percentiles
    """Between arrivals of answer text within a stream."""
    refusals: Percentiles
    """How long it took to be refused."""
    cached_share: float
    input_tokens: int
    output_tokens: int
    output_tokens_per_second: float
    cost_dollars: float | None
    """At the prices given, else by the receipts; None where those say nothing."""
    by_key: list[Group]
    by_priority: list[Group]
    later_turns: Group | None
    course: Course
    bars: Bars


class Prices(msgspec.Struct, frozen=True):
    """Dollars for a million tokens."""

    input: float
    output: float


def report_of(result: LoadResult, *, prices: Prices | None = None) -> LoadReport:
    """The figures of a run."""
    plan, every = result.plan, result.rows
    rows, duration = every[every["turn"] == 0], plan.schedule.duration
    good, answered = _good(rows, plan.within), _is(rows, ANSWERED)
    sent = _sent(rows, duration)
    lateness = Distribution.of(np.maximum(rows["lateness"], 0.0)).percentiles()
    reasons = _reasons(lateness, sent)
    spent = every["input_tokens"].sum(), every["output_tokens"].sum()
    return LoadReport(
        target=plan.target.url,
        load=plan.description,
        endpoint=plan.form.endpoint,
        streamed=plan.form.streamed,
        duration=duration,
        deadline=plan.form.deadline,
        within=plan.within,
        processes=plan.processes,
        generator_cpu=max(result.cpu_seconds) / duration,
        valid=not reasons,
        reasons=reasons,
        lateness=lateness,
        sent_share=sent,
        requests=len(rows),
        offered=len(rows) / duration,
        throughput=int(answered.sum()) / duration,
        goodput=int(good.sum()) / duration,
        good_share=_good_share(rows, good),
        degraded_share=_share(_is(rows, (Outcome.DEGRADED,)).sum(), answered.sum()),
        outcomes=_outcomes(rows),
        codes=result.codes,
        rungs=result.rungs,
        latency=_percentiles(rows["latency"][answered]),
        first_token=_percentiles(rows["first"]),
        gaps=result.gaps.percentiles(),
        refusals=_percentiles(rows["latency"][_is(rows, REFUSED)]),
        cached_share=_share(rows["cached"].sum(), answered.sum()),
        input_tokens=int(spent[0]),
        output_tokens=int(spent[1]),
        output_tokens_per_second=int(spent[1]) / duration,
        cost_dollars=_cost(every, prices),
        by_key=_by_key(result, rows),
        by_priority=_by_priority(rows, plan.within),
        later_turns=_later(every, plan.within),
        course=_course(rows, good, duration),
        bars=_bars(rows["latency"][answered]),
    )


def _reasons(lateness: Percentiles, sent: float) -> list[str]:
    reasons = []
    if lateness and lateness["p50"] > MOST_LATENESS:
        reasons.append(
            f"The generator sent {lateness['p50'] * 1000:.0f} ms late in the median; "
            f"{MOST_LATENESS * 1000:.0f} ms are allowed."
        )
    if sent < LEAST_SENT:
        reasons.append(
            f"The generator sent {sent:.1%} of the offered requests in time; "
            f"{LEAST_SENT:.0%} are needed."
        )
    return reasons


def _sent(rows: NDArray[np.void], duration: float) -> float:
    in_time = rows["scheduled"] + rows["lateness"] <= duration + _GRACE
    return _share((in_time & ~_is(rows, (Outcome.UNSENT,))).sum(), len(rows))


def _good(rows: NDArray[np.void], within: float) -> NDArray[np.bool_]:
    return np.asarray(_is(rows, ANSWERED) & (rows["latency"] <= within))


def _good_share(rows: NDArray[np.void], good: NDArray[np.bool_]) -> float:
    return _share(good.sum(), (~_is(rows, (Outcome.LEFT,))).sum())


def _is(rows: NDArray[np.void], outcomes: tuple[Outcome, ...]) -> NDArray[np.bool_]:
    return np.isin(rows["outcome"], outcomes)


def _outcomes(rows: NDArray[np.void]) -> dict[str, int]:
    counts = np.bincount(rows["outcome"], minlength=len(Outcome))
    return {outcome.label: int(counts[outcome]) for outcome in Outcome}


def _percentiles(seconds: NDArray[np.float64]) -> Percentiles:
    return Distribution.of(seconds[np.isfinite(seconds)]).percentiles()


def _share(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole else 0.0


def _cost(rows: NDArray[np.void], prices: Prices | None) -> float | None:
    if prices is None:
        return int(rows["nanodollars"].sum()) / NANODOLLARS or None
    tokens = int(rows["input_tokens"].sum()), int(rows["output_tokens"].sum())
    return (tokens[0] * prices.input + tokens[1] * prices.output) / 1e6


def _group(name: str, rows: NDArray[np.void], within: float) -> Group:
    good = _good(rows, within)
    return Group(
        name=name,
        requests=len(rows),
        good=int(good.sum()),
        good_share=_good_share(rows, good),
        outcomes=_outcomes(rows),
        latency=_percentiles(rows["latency"][_is(rows, ANSWERED)]),
        first_token=_percentiles(rows["first"]),
    )


def _by_key(result: LoadResult, rows: NDArray[np.void]) -> list[Group]:
    keys = result.plan.keys
    if len(keys) < 2:
        return []
    return [
        _group(key.name, rows[rows["key"] == number], result.plan.within)
        for number, key in enumerate(keys)
    ]


def _by_priority(rows: NDArray[np.void], within: float) -> list[Group]:
    return [
        _group(name, rows[rows["priority"] == number], within)
        for number, name in enumerate(PRIORITIES)
        if (rows["priority"] == number).any()
    ]


def _later(every: NDArray[np.void], within: float) -> Group | None:
    later = every[every["turn"] > 0]
    return _group("later turns", later, within) if len(later) else None


def _course(rows: NDArray[np.void], good: NDArray[np.bool_], duration: float) -> Course:
    width = float(max(1, math.ceil(duration / _MOST_POINTS)))
    points = max(1, math.ceil(duration / width))
    # The last point may be shorter than the others.
    widths = np.full(points, width)
    widths[-1] = duration - (points - 1) * width
    place = np.minimum(rows["scheduled"] // width, points - 1).astype(np.int64)

    def rate(chosen: NDArray[np.bool_]) -> list[float]:
        return list((np.bincount(place[chosen], minlength=points) / widths).tolist())

    answered = _is(rows, ANSWERED)
    return Course(
        width=width,
        offered=rate(np.ones(len(rows), dtype=np.bool_)),
        good=rate(good),
        outcomes={one.label: rate(rows["outcome"] == one) for one in Outcome},
        latency_p50=_over_time(place[answered], rows["latency"][answered], points, 50),
        latency_p99=_over_time(place[answered], rows["latency"][answered], points, 99),
        first_token_p50=_over_time(place, rows["first"], points, 50),
        first_token_p99=_over_time(place, rows["first"], points, 99),
    )


def _over_time(
    place: NDArray[np.int64], values: NDArray[np.float64], points: int, percentile: float
) -> list[float | None]:
    """A percentile for each point; None where it has no values."""
    there = np.isfinite(values)
    place, values = place[there], values[there]
    order = np.argsort(place, kind="stable")
    parts = np.split(values[order], np.searchsorted(place[order], np.arange(1, points)))
    return [float(np.percentile(part, percentile)) if len(part) else None for part in parts]


def _bars(latencies: NDArray[np.float64]) -> Bars:
    if len(latencies) == 0:
        return Bars([], [])
    low, high = max(float(latencies.min()), 1e-6), max(float(latencies.max()), 2e-6)
    edges = np.geomspace(low, max(high, low * 1.01), _BARS + 1)
    counts, _ = np.histogram(np.clip(latencies, edges[0], edges[-1]), edges)
    return Bars(edges.tolist(), counts.tolist())
