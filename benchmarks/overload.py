"""Useful answers a second against offered questions a second, with and without the overload layer.

A real `ragstone serve` on the sample help documents with its defaults, and a simulated model
that works on 16 requests at once, each for about a second, and lets the others wait: its
capacity is 16 answers a second. No question is asked twice, so that none shares a generation. Good:
complete within five seconds of the scheduled moment; clients give up after ten. The first ten
seconds of each load are left out. "Without" is the same server with
`admission.enabled = false`: no admission, no limits towards the model, no rungs for load.

    flock /tmp/bench.lock python benchmarks/overload.py --home /tmp/ragstone-load [--seconds 30]
        [--svg docs/goodput.svg]
"""

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import uvloop
from running_site import Site, different_questions, site

from ragstone.lab.load.plan import plan_load
from ragstone.lab.load.report import LoadReport, Percentiles, report_of
from ragstone.lab.load.requests import RequestForm
from ragstone.lab.load.runner import LoadResult, run_load
from ragstone.lab.load.schedule import Behaviour
from ragstone.lab.load.sweep import Point, goodput_plot
from ragstone.lab.report.page import standalone

PLACES: Final = 16
MODEL: Final = {
    "first_token_seconds": 0.25,
    "token_seconds": 0.025,
    "tokens": 31,
    "places": PLACES,
}
CAPACITY: Final = PLACES / (0.25 + 30 * 0.025)
MULTIPLES: Final = (0.5, 0.8, 1.0, 2.0, 3.0, 5.0, 10.0)
NORMAL: Final = 0.8
"""The load whose time to first token is the measure of the others."""
WITHIN: Final = 5.0
SETTLING: Final = 10.0


async def measure(served: Site, multiple: float, seconds: float) -> LoadReport:
    rate, duration = multiple * CAPACITY, SETTLING + seconds
    plan = plan_load(
        served.url,
        rate=rate,
        duration=duration,
        form=RequestForm(deadline=10.0),
        within=WITHIN,
        questions=different_questions(int(1.5 * rate * duration) + 100),
        behaviour=Behaviour(once=True),
        seed=int(10 * multiple),
    )
    return report_of(settled(await run_load(plan)))


def settled(result: LoadResult) -> LoadResult:
    """Without the first seconds, in which the server finds out what it is up against."""
    rows = result.rows[result.rows["scheduled"] >= SETTLING].copy()
    rows["scheduled"] -= SETTLING
    schedule = replace(result.plan.schedule, duration=result.plan.schedule.duration - SETTLING)
    return replace(result, rows=rows, plan=replace(result.plan, schedule=schedule))


async def sweep(
    home: Path, loads: Sequence[float], *, layer: bool, seconds: float
) -> dict[float, LoadReport]:
    """A fresh server for each multiple, so that none inherits the state of the one before."""
    reports = {}
    settings = {} if layer else {"ADMISSION__ENABLED": "false"}
    for multiple in loads:
        with site(home, behaviour=MODEL, settings=settings) as served:
            await measure(served, 0.5, 1.0)  # connections, first questions
            reports[multiple] = await measure(served, multiple, seconds)
        print(line(multiple, layer, reports[multiple], reports.get(NORMAL)), flush=True)
    return reports


HEADING: Final = (
    "layer  load  offered/s  good/s  of them full  degraded  refused  timeout  "
    "first token p50/p95 ms (p95 of 0.8x)  refused p99 ms  valid"
)


def line(multiple: float, layer: bool, report: LoadReport, normal: LoadReport | None) -> str:
    outcomes, seconds = report.outcomes, report.duration
    refused = outcomes["refused_503"] + outcomes["refused_429"]
    first, refusals = report.first_token, report.refusals
    return (
        f"{'with' if layer else 'without':7}{multiple:4.1f}x {report.offered:8.1f} "
        f"{report.goodput:8.1f} {(outcomes['ok'] + outcomes['abstained']) / seconds:12.1f} "
        f"{outcomes['degraded'] / seconds:9.1f} {refused / seconds:8.1f} "
        f"{(outcomes['timeout'] + outcomes['error'] + outcomes['broken']) / seconds:8.1f}   "
        f"{first.get('p50', 0) * 1000:8.0f} / {first.get('p95', 0) * 1000:6.0f} "
        f"({_times(first, normal):4})"
        f"{refusals.get('p99', 0) * 1000:12.0f}      {report.valid}"
    )


def _times(first: Percentiles, normal: LoadReport | None) -> str:
    if normal is None or "p95" not in first:
        return ""
    return f"{first['p95'] / normal.first_token['p95']:.1f}x"


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument(
        "--loads", type=float, nargs="+", default=MULTIPLES, help="Multiples of the capacity."
    )
    parser.add_argument("--only-with", action="store_true", help="Not without the layer.")
    parser.add_argument("--svg", type=Path, help="Where the plot goes.")
    options = parser.parse_args()
    print(HEADING)
    curves = {}
    for layer in (True,) if options.only_with else (True, False):
        reports = await sweep(options.home, options.loads, layer=layer, seconds=options.seconds)
        points = [Point(multiple, report) for multiple, report in reports.items()]
        curves["with the layer" if layer else "without"] = points
        if options.svg:
            options.svg.write_text(standalone(goodput_plot(curves)))


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(main())
