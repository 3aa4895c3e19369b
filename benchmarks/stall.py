"""The model says nothing for a minute: what is answered meanwhile, and how soon all is well.

The server, model and documents of `overload.py` at 60 % of the capacity. Prints good answers a
second, whole (written by the model) and degraded, for each five seconds.

    flock /tmp/bench.lock python benchmarks/stall.py --home /tmp/ragstone-load [--stall 60]
"""

import argparse
import asyncio
from pathlib import Path

import numpy as np
import uvloop
from overload import CAPACITY, MODEL, WITHIN
from running_site import site

from ragstone.lab.load.outcome import Outcome
from ragstone.lab.load.plan import plan_load
from ragstone.lab.load.requests import RequestForm
from ragstone.lab.load.runner import run_load
from ragstone.lab.load.schedule import Behaviour

BEFORE, AFTER, WIDTH = 20.0, 60.0, 5.0


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--stall", type=float, default=60.0)
    options = parser.parse_args()
    seconds = BEFORE + options.stall + AFTER
    with site(options.home, behaviour=MODEL) as served:
        plan = plan_load(
            served.url, rate=0.6 * CAPACITY, duration=seconds, within=WITHIN,
            form=RequestForm(deadline=10.0), behaviour=Behaviour(zipf=None),
        )  # fmt: skip
        running = asyncio.create_task(run_load(plan))
        await asyncio.sleep(BEFORE)
        await asyncio.to_thread(served.behave, frozen_seconds=options.stall)
        rows = (await running).rows
    print("from s  good/s  of them whole/s")
    for start in np.arange(0.0, seconds, WIDTH):
        there = (rows["scheduled"] >= start) & (rows["scheduled"] < start + WIDTH)
        in_time = there & (rows["latency"] <= WITHIN)
        whole = in_time & np.isin(rows["outcome"], (Outcome.OK, Outcome.ABSTAINED))
        good = whole | (in_time & (rows["outcome"] == Outcome.DEGRADED))
        healed = "  <- healed" if 0 <= start - BEFORE - options.stall < WIDTH else ""
        print(f"{start:6.0f}{good.sum() / WIDTH:8.1f}{whole.sum() / WIDTH:10.1f}{healed}")


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(main())
