"""A run's report as an HTML page."""

from collections.abc import Sequence
from typing import Final

from ragstone.lab.load.report import Group, LoadReport, Percentiles
from ragstone.lab.report.axes import Axes
from ragstone.lab.report.page import Page
from ragstone.lab.report.plots import Series, histogram_plot, line_plot, stacked_plot

_SHOWN: Final = ("p50", "p90", "p99", "p99.9", "max")
_COLOURS: Final = {
    "ok": 2,
    "degraded": 6,
    "abstained": 0,
    "refused_429": 5,
    "refused_503": 1,
    "timeout": 4,
    "error": 3,
    "broken": 8,
    "left": 7,
    "unsent": 9,
}


def page_of(report: LoadReport) -> str:
    """The whole page; it needs nothing from elsewhere."""
    page = Page(f"Load on {report.target}", f"{report.load}; {_kind(report)}")
    if report.valid:
        page.note("Valid: the generator kept to the schedule.", "good")
    else:
        page.note(f"Not valid. {' '.join(report.reasons)}", "bad")
    page.table(("", "requests/s", "share"), _rates(report))
    page.heading("Over time")
    _course(page, report)
    page.heading("Times")
    page.table(("seconds", *_SHOWN), [_times(name, of) for name, of in percentile_rows(report)])
    if report.bars.edges:
        edges = report.bars.edges
        axes = Axes("latency, seconds", "answers", log_x=True)
        page.figure(histogram_plot(edges, report.bars.counts, axes), "Latency of answers")
    page.heading("Outcomes")
    page.table(("outcome", "requests"), [(n, f"{c:,}") for n, c in report.outcomes.items() if c])
    _counts(page, "Errors and refusals by code", report.codes)
    _counts(page, "Answers by what was left out", report.rungs)
    later = [report.later_turns] if report.later_turns else []
    _groups(page, "By key", report.by_key)
    _groups(page, "By priority", report.by_priority)
    _groups(page, "Later turns of conversations (a closed loop)", later)
    return page.html(footer="Times count from the scheduled moment of each request.")


def percentile_rows(report: LoadReport) -> list[tuple[str, Percentiles]]:
    """The distributions that a report shows, by name; those without values are left out."""
    named = [
        ("latency", report.latency),
        ("first token", report.first_token),
        ("gaps", report.gaps),
        ("refusals", report.refusals),
        ("sending late", report.lateness),
    ]
    return [(name, of) for name, of in named if of]


def _kind(report: LoadReport) -> str:
    how = "streamed" if report.streamed else "whole"
    return (
        f"{report.endpoint}, {how}, deadline {report.deadline:g} s, good within {report.within:g} s"
    )


def _rates(report: LoadReport) -> list[tuple[str, str, str]]:
    return [
        ("offered", f"{report.offered:,.2f}", ""),
        ("answered", f"{report.throughput:,.2f}", ""),
        ("good", f"{report.goodput:,.2f}", f"{report.good_share:.1%}"),
        ("degraded, of the answers", "", f"{report.degraded_share:.1%}"),
        ("from the cache, of the answers", "", f"{report.cached_share:.1%}"),
        ("output tokens", f"{report.output_tokens_per_second:,.0f}", ""),
    ]


def _course(page: Page, report: LoadReport) -> None:
    course = report.course
    xs = [number * course.width for number in range(len(course.offered))]
    rates = [Series("offered", course.offered, dashed=True, colour=7), Series("good", course.good)]
    page.figure(line_plot(xs, rates, Axes("seconds", "requests/s")), "Goodput and offered load")
    times = [
        Series("latency p50", _gapped(course.latency_p50)),
        Series("latency p99", _gapped(course.latency_p99)),
        Series("first token p50", _gapped(course.first_token_p50)),
        Series("first token p99", _gapped(course.first_token_p99)),
    ]
    seconds = Axes("seconds", "seconds", log_y=True)
    page.figure(line_plot(xs, times, seconds), "Times of the requests scheduled then")
    layers = [
        Series(name, values, colour=_COLOURS[name])
        for name, values in course.outcomes.items()
        if any(values)
    ]
    page.figure(stacked_plot(xs, layers, Axes("seconds", "requests/s")), "Outcomes")


def _gapped(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def _times(name: str, of: Percentiles) -> tuple[str, ...]:
    return (name, *(f"{of[percentile]:.4f}" for percentile in _SHOWN))


def _counts(page: Page, title: str, counts: dict[str, int]) -> None:
    if counts:
        ordered = sorted(counts.items(), key=lambda item: -item[1])
        page.heading(title)
        page.table(("", "requests"), [(name, f"{count:,}") for name, count in ordered])


def _groups(page: Page, title: str, groups: Sequence[Group]) -> None:
    if groups:
        page.heading(title)
        page.table(GROUP_COLUMNS, [group_cells(group) for group in groups])


GROUP_COLUMNS: Final = ("", "requests", "good", "refused", "failed", "p50", "p99", "first p99")


def group_cells(group: Group) -> tuple[str, ...]:
    """One row under `GROUP_COLUMNS`."""
    said = group.outcomes
    failed = said["timeout"] + said["error"] + said["broken"]
    return (
        group.name,
        f"{group.requests:,}",
        f"{group.good_share:.1%}",
        f"{said['refused_429'] + said['refused_503']:,}",
        f"{failed:,}",
        _seconds(group.latency, "p50"),
        _seconds(group.latency, "p99"),
        _seconds(group.first_token, "p99"),
    )


def _seconds(of: Percentiles, percentile: str) -> str:
    return f"{of[percentile]:.3f} s" if of else ""
