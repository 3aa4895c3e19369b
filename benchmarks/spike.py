"""Critical questions during a 12x spike of sheddable ones.

The server, model and documents of `overload.py`. Critical questions come at a quarter of the
capacity all the time; sheddable ones at half of it, and at twelve times that for a third of the
run. Each class has its key. Good: complete within five seconds.

    flock /tmp/bench.lock python benchmarks/spike.py --home /tmp/ragstone-load [--seconds 60]
"""

import argparse
import asyncio
import json
import subprocess
from pathlib import Path

import uvloop
from overload import CAPACITY, MODEL, WITHIN
from running_site import RAGSTONE, site

from ragstone.lab.load.plan import plan_load
from ragstone.lab.load.questions import Key
from ragstone.lab.load.report import LoadReport, report_of
from ragstone.lab.load.requests import RequestForm
from ragstone.lab.load.runner import run_load
from ragstone.lab.load.schedule import Behaviour


def make_key(home: Path, priority: str) -> Key:
    command = [*RAGSTONE, "--json", "--home", str(home), "keys", "create"]
    made = subprocess.run(
        [*command, "--scope", "ask", "--priority", priority],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return Key(key=json.loads(made.stdout)["secret"], name=priority)


async def ask(url: str, key: Key, rate: float, shape: str, seconds: float) -> LoadReport:
    plan = plan_load(
        url, rate=rate, duration=seconds, shape=shape, keys=(key,), within=WITHIN, processes=1,
        form=RequestForm(deadline=10.0), behaviour=Behaviour(zipf=None),
    )  # fmt: skip
    return report_of(await run_load(plan))


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    with site(options.home, behaviour=MODEL) as served:
        keys = [make_key(options.home, priority) for priority in ("critical", "sheddable")]
        reports = await asyncio.gather(
            ask(served.url, keys[0], CAPACITY / 4, "poisson", options.seconds),
            ask(served.url, keys[1], CAPACITY / 2, "spike:start=0.33,end=0.66", options.seconds),
        )
    print("class      asked  good share  outcomes; first token p50/p95/p99 ms  valid")
    for key, report in zip(keys, reports, strict=True):
        first = [round(report.first_token.get(name, 0) * 1000) for name in ("p50", "p95", "p99")]
        outcomes = {name: count for name, count in report.outcomes.items() if count}
        print(
            f"{key.name:9}{report.requests:7}{report.good_share:12.4f}  {outcomes}; "
            f"{first}  {report.valid}"
        )


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(main())
