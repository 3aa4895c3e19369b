"""Ten minutes at 70 % load with clients that leave: does anything grow?

The server, model and documents of `overload.py`; 5 % of the clients leave in the middle. Memory
(unshared, all processes), sockets and the server's own gauges each half minute while it runs,
and once more after it, with nothing open.

    flock /tmp/bench.lock python benchmarks/soak.py --home /tmp/ragstone-load [--seconds 600]
"""

import argparse
import asyncio
from pathlib import Path

import uvloop
from overload import CAPACITY, MODEL
from running_site import Site, site

from ragstone.lab.load.plan import plan_load
from ragstone.lab.load.report import report_of
from ragstone.lab.load.requests import RequestForm
from ragstone.lab.load.runner import run_load
from ragstone.lab.load.schedule import Behaviour

STEP_SECONDS = 30.0


def look(served: Site) -> str:
    return (
        f"{served.resident_bytes() / 2**20:8.1f} MiB {served.sockets():6} sockets "
        f"{served.metric('rag_in_flight'):6.0f} in flight"
    )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=600.0)
    options = parser.parse_args()
    with site(options.home, behaviour=MODEL) as served:
        plan = plan_load(
            served.url, rate=0.7 * CAPACITY, duration=options.seconds, processes=1,
            form=RequestForm(deadline=10.0), behaviour=Behaviour(zipf=None, leave=0.05),
        )  # fmt: skip
        print(f"before {look(served)}", flush=True)
        running = asyncio.create_task(run_load(plan))
        elapsed = 0.0
        while not running.done():
            await asyncio.wait([running], timeout=STEP_SECONDS)
            elapsed += STEP_SECONDS
            print(f"{elapsed:5.0f}s {await asyncio.to_thread(look, served)}", flush=True)
        report = report_of(await running)
        await asyncio.sleep(20.0)  # idle connections are given up after 15 s
        print(f"after  {await asyncio.to_thread(look, served)}")
    print(f"outcomes {report.outcomes}, valid {report.valid}")


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(main())
