"""The same load at several multiples of a rate: where goodput stops following what is offered."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from ragstone.domain.errors import InvalidExperiment
from ragstone.lab.load.plan import LoadPlan
from ragstone.lab.load.report import LoadReport, Prices, report_of
from ragstone.lab.load.runner import OnProgress, probe_target, run_load
from ragstone.lab.report.axes import Axes
from ragstone.lab.report.page import Mood, Page
from ragstone.lab.report.plots import Series, line_plot

PAUSE_SECONDS: Final = 3.0
"""Between two runs, so that one does not begin in the queues of the one before."""

SWEEP_COLUMNS: Final = ("multiple", "offered", "good", "of offered", "degraded", "latency p99",
                        "first p99", "refusals p99", "")  # fmt: skip


class Point(msgspec.Struct, frozen=True):
    """One run of a sweep."""

    multiple: float
    report: LoadReport


class Sweep(msgspec.Struct, frozen=True):
    """All runs of a sweep, in the order of their multiples."""

    points: list[Point]

    @property
    def valid(self) -> bool:
        return all(point.report.valid for point in self.points)


def multiples_in(text: str) -> list[float]:
    """`0.5,1,2` as numbers, ascending. Raises `InvalidExperiment`."""
    try:
        found = sorted({float(part) for part in text.split(",")})
    except ValueError:
        found = []
    if not found or not 0 < found[0] <= found[-1] < 1e6:
        raise InvalidExperiment(
            f"{text[:60]!r} are no multiples of a rate.", remedy="Write 0.5,1,2,5 for example."
        )
    return found


async def run_sweep(
    plans: Mapping[float, LoadPlan],
    *,
    prices: Prices | None = None,
    on_start: Callable[[float, LoadPlan], OnProgress | None] = lambda multiple, plan: None,
    pause: float = PAUSE_SECONDS,
) -> Sweep:
    """Run the plans one after another, each under its multiple. `on_start` is told of each, and
    gives who is told of its progress."""
    points: list[Point] = []
    for multiple, plan in plans.items():
        if points:
            await asyncio.sleep(pause)
        else:
            await probe_target(plan)
        result = await run_load(plan, on_progress=on_start(multiple, plan), probe=False)
        points.append(Point(multiple, report_of(result, prices=prices)))
    return Sweep(points)


def goodput_plot(curves: Mapping[str, Sequence[Point]]) -> str:
    """Goodput over the offered rate, a line for each curve, and the line where all is good."""
    lines = [
        Series(
            name,
            [point.report.goodput for point in points],
            xs=[point.report.offered for point in points],
        )
        for name, points in curves.items()
    ]
    best = max((value for line in lines for value in line.values), default=0.0) or 1.0
    offered = max((x for line in lines for x in line.xs or ()), default=1.0)
    end = min(offered, best * 1.2)
    everything = Series("all of it", [0.0, end], dashed=True, colour=7, xs=[0.0, end])
    axes = Axes("offered, requests/s", "good answers/s", top=best * 1.2)
    return line_plot([], [*lines, everything], axes, marks=True)


def sweep_rows(sweep: Sweep) -> list[tuple[str, ...]]:
    """Cells under `SWEEP_COLUMNS`."""
    return [_row(point.multiple, point.report) for point in sweep.points]


def sweep_page(sweep: Sweep) -> str:
    """The sweep as an HTML page."""
    report = sweep.points[0].report
    page = Page(f"Load on {report.target}", f"{report.load}, and multiples of it")
    if not sweep.valid:
        page.note("Not all runs are valid: see the last column.", "bad")
    page.figure(goodput_plot({"good": sweep.points}), "Goodput over the offered rate")
    moods: list[Mood] = ["plain" if point.report.valid else "bad" for point in sweep.points]
    page.table(SWEEP_COLUMNS, sweep_rows(sweep), moods=moods)
    return page.html(footer="Times count from the scheduled moment of each request.")


def _row(multiple: float, report: LoadReport) -> tuple[str, ...]:
    return (
        f"{multiple:g}x",
        f"{report.offered:,.1f}/s",
        f"{report.goodput:,.1f}/s",
        f"{report.goodput / report.offered:.1%}",
        f"{report.degraded_share:.1%}",
        *(
            f"{times['p99']:.3f} s" if times else ""
            for times in (report.latency, report.first_token, report.refusals)
        ),
        "valid" if report.valid else " ".join(report.reasons),
    )
