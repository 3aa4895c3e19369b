"""Many streams at once: how late their pieces come, and what an open stream weighs.

A real `ragstone serve` and a simulated model without a limit of its own. `--streams` answers are
begun over `BEGIN_SECONDS` and then flow side by side. Each question is another, so that each answer
is a stream of the model's: equal ones would share a generation. The overhead of a gap is what it is
longer than the model's own pace.

    flock /tmp/bench.lock python benchmarks/streams.py --home /tmp/ragstone-load [--rate 10]
"""

import argparse
import asyncio
from pathlib import Path

import uvloop
from running_site import Site, different_questions, site

from ragstone.lab.load.plan import plan_load
from ragstone.lab.load.report import report_of
from ragstone.lab.load.requests import RequestForm
from ragstone.lab.load.runner import run_load
from ragstone.lab.load.schedule import Behaviour

BEGIN_SECONDS = 40.0
"""A thousand new questions in 15 s are an overload of their own: embedding them takes half a core
beside the streams, and chunks are joined until half a minute after."""
FLOW_SECONDS = 30.0


async def weigh(served: Site) -> tuple[int, float]:
    """While all streams are open: bytes that the server holds, and its cores in use."""
    await asyncio.sleep(BEGIN_SECONDS + FLOW_SECONDS / 4)
    size = await asyncio.to_thread(served.written_bytes)
    before = served.cpu_seconds()
    await asyncio.sleep(FLOW_SECONDS / 2)
    return size, (served.cpu_seconds() - before) / (FLOW_SECONDS / 2)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=10.0, help="Tokens a second of each.")
    options = parser.parse_args()
    tokens = round((BEGIN_SECONDS + FLOW_SECONDS) * options.rate)
    behaviour = {
        "first_token_seconds": 0.2,
        "token_seconds": 1 / options.rate,
        "tokens": tokens,
    }
    settings = {
        "LLM__MAX_TOKENS": 4 * tokens,
        "LLM__MAX_CONNECTIONS": 2 * options.streams,
        "LLM__TIMEOUT_SECONDS": 110,
        "ADMISSION__DEADLINE_SECONDS": 120,
        "RESILIENCE__INITIAL_CONCURRENCY": options.streams,
    }
    form = RequestForm(deadline=120.0)
    with site(options.home, behaviour=behaviour, settings=settings) as served:
        warm = plan_load(served.url, rate=20, duration=1, form=form, processes=1)
        served.behave(tokens=16, token_seconds=0)
        await run_load(warm)
        served.behave(**behaviour)
        before = served.written_bytes()
        plan = plan_load(
            served.url, rate=options.streams / BEGIN_SECONDS, duration=BEGIN_SECONDS,
            shape="constant", form=form, behaviour=Behaviour(once=True), processes=1,
            questions=different_questions(options.streams),
        )  # fmt: skip
        running = asyncio.create_task(run_load(plan, probe=False))
        size, cores = await weigh(served)
        result = await running
    report = report_of(result)
    written = report.outcomes["ok"] + report.outcomes["degraded"]
    held = written - report.rungs.get("extractive_answer", 0) - report.rungs.get("passages_only", 0)
    print(f"held {held}, outcomes {report.outcomes}, rungs {report.rungs}")
    for name in ("p50", "p95", "p99"):
        print(f"gap overhead {name}: {(report.gaps[name] - 1 / options.rate) * 1000:.1f} ms")
    print(f"bytes an open stream: {(size - before) / options.streams:,.0f}")
    tokens_a_second = options.streams * options.rate
    print(f"CPU: {cores:.2f} cores, {cores / tokens_a_second * 1e6:.1f} us a token")


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(main())
