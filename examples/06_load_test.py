"""Load a running server with ever more questions, and look at what it did.

    python examples/06_load_test.py --rate 10 --seconds 20

The same from the command line, with a table and plots:
`ragstone load http://127.0.0.1:8080 --shape ramp --rate 10 --duration 20 --html load.html`.
"""

import argparse
import asyncio

from ragstone.lab.load.plan import plan_load
from ragstone.lab.load.report import LoadReport, report_of
from ragstone.lab.load.requests import RequestForm
from ragstone.lab.load.runner import run_load


async def measure(url: str, collection: str | None, rate: float, seconds: float) -> LoadReport:
    plan = plan_load(
        url,
        rate=rate,
        duration=seconds,
        shape="ramp:start=0.2,end=1.8",
        form=RequestForm(collection=collection, deadline=10),
        within=5,
    )
    return report_of(await run_load(plan))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--collection")
    parser.add_argument("--rate", type=float, default=10, help="mean requests a second")
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    report = asyncio.run(measure(**vars(options)))
    print(f"offered {report.offered:.1f} requests/s, good within 5 s {report.goodput:.1f}/s")
    print(", ".join(f"{name} {count}" for name, count in report.outcomes.items() if count))
    if report.latency:
        print(f"latency p50 {report.latency['p50']:.3f} s, p99 {report.latency['p99']:.3f} s")
    if not report.valid:
        print("The run does not count:", *report.reasons)


if __name__ == "__main__":
    main()
