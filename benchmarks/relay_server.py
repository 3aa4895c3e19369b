"""CPU of relaying one streamed chunk through the whole server.

Many clients stream answers from a real `ragstone serve` (adapter, pipeline, citation filter,
metrics, server-sent events, uvicorn); `model_server.py` gives each answer at `--rate` chunks a
second. Once every stream flows, and until the first ends, the CPU time of the server is taken
over the chunks that clients received: nothing but relaying happens in between. The server runs
on core 0, the model and the clients on core 1. `relay_chunk.py` has the floor.

    flock /tmp/bench.lock python benchmarks/relay_server.py --home /tmp/ragstone-bench
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

import aiohttp
import msgspec
import uvloop
from answers import COLLECTION, HERE, LOAD_CORE, Served, make_home, own_server, ragstone_server

_SETTLING_SECONDS: Final = 1.5
_DELTA: Final = b"event: delta"


class Clients:
    """Streams that count what they receive."""

    def __init__(self, served: Served, path: str) -> None:
        self._served = served
        self._path = path
        self.chunks = 0
        self.flowing = 0
        self.ended = 0

    async def stream(self, session: aiohttp.ClientSession, number: int) -> None:
        question = f"Which dress suits shopper {number} of {time.time_ns()}?"
        body = {"question": question, "collection": COLLECTION, "stream": True}
        async with session.post(self._path, data=msgspec.json.encode(body)) as response:
            begun = False
            while data := await response.content.readany():
                deltas = data.count(_DELTA)
                self.chunks += deltas
                if deltas and not begun:
                    begun = True
                    self.flowing += 1
        self.ended += 1


class Relayed(NamedTuple):
    """One round: CPU microseconds a chunk, in our process and in the kernel for it."""

    user: float
    system: float
    per_second: float


async def relay(served: Served, streams: int) -> Relayed:
    """Streams once; what the server spent while all of them flowed."""
    clients = Clients(served, "/v1/answers")
    async with aiohttp.ClientSession(
        served.url,
        connector=aiohttp.TCPConnector(limit=0),
        headers={"Content-Type": "application/json"},
    ) as session:
        tasks = [asyncio.create_task(clients.stream(session, n)) for n in range(streams)]
        while clients.flowing < streams:
            await asyncio.sleep(0.05)
            if clients.ended:
                raise SystemExit("a stream ended before all had begun: raise --tokens")
        await asyncio.sleep(_SETTLING_SECONDS)
        used, chunks, began = served.process.cpu_times(), clients.chunks, time.perf_counter()
        while not clients.ended:
            after, received = served.process.cpu_times(), clients.chunks
            took = time.perf_counter() - began
            await asyncio.sleep(0.1)
        await asyncio.gather(*tasks)
    relayed = received - chunks
    return Relayed(
        (after.user - used.user) / relayed * 1e6,
        (after.system - used.system) / relayed * 1e6,
        relayed / took,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU of relaying one streamed chunk")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("--rate", type=float, default=50.0, help="chunks a second and stream")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if not arguments.home.exists():
        make_home(arguments.home)
    os.sched_setaffinity(0, {LOAD_CORE})
    os.environ["RAGSTONE_ADMISSION__CONCURRENCY"] = str(2 * arguments.streams)
    os.environ["RAGSTONE_RESILIENCE__INITIAL_CONCURRENCY"] = str(2 * arguments.streams)
    command = [sys.executable, str(HERE / "model_server.py"), "--deltas", str(arguments.tokens)]
    command += ["--rate", str(arguments.rate)]
    with (
        tempfile.TemporaryDirectory() as folder,
        own_server(command, LOAD_CORE) as model,
        ragstone_server(arguments.home, model.url, Path(folder, "log")) as served,
    ):
        rounds = [uvloop.run(relay(served, arguments.streams)) for _ in range(arguments.rounds)]
    costs = [one.user + one.system for one in rounds]
    print(
        f"{statistics.median(costs):.1f} us of CPU a chunk ({min(costs):.1f}..{max(costs):.1f}), "
        f"of it {statistics.median(one.system for one in rounds):.1f} us in the kernel; "
        f"{arguments.streams} streams, "
        f"{statistics.median(one.per_second for one in rounds):,.0f} chunks a second"
    )


if __name__ == "__main__":
    main()
