"""Questions a second with all in one process, and with gateway processes before an engine.

`POST /v1/answers` of real servers (`ragstone serve --workers N`) over the sample products, with
extractive answers: new questions, and the same question again. The load comes from this
process, on the same machine.

    flock /tmp/bench.lock python benchmarks/workers.py --home /tmp/ragstone-bench
"""

import argparse
import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import aiohttp
import msgspec
import uvloop


@contextmanager
def served(home: Path, workers: int) -> Iterator[str]:
    command = [sys.executable, "-m", "ragstone.cli", "--home", str(home), "serve"]
    command += ["--port", "0", "--workers", str(workers)]
    environment = {**os.environ, "RAGSTONE_LOG__LEVEL": "warning"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"serves (http://\S+)", line):
                break
        else:
            raise SystemExit("the server did not start")
        try:
            yield found.group(1)
        finally:
            process.send_signal(signal.SIGTERM)


async def rate(url: str, clients: int, seconds: float, numbers: Iterator[int] | None) -> float:
    """Answers a second; `numbers` makes every question a new one."""
    end = time.perf_counter() + seconds
    answered = 0
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

        async def ask() -> None:
            nonlocal answered
            while time.perf_counter() < end:
                number = next(numbers) if numbers is not None else 0
                question = f"a navy linen dress for a garden party, number {number}"
                body = msgspec.json.encode({"question": question, "collection": "products"})
                async with http.post(f"{url}/v1/answers", data=body) as response:
                    await response.read()
                    answered += response.status == 200

        await asyncio.gather(*(ask() for _ in range(clients)))
    return answered / seconds


async def measure(url: str, clients: int, seconds: float) -> tuple[float, float]:
    numbers = count()
    await rate(url, clients, 1.0, numbers)
    return (
        await rate(url, clients, seconds, numbers),
        await rate(url, clients, seconds, None),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="One process against several")
    parser.add_argument("--home", type=Path, default=Path("/tmp/ragstone-bench"))
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    print("workers   new questions/s   cached questions/s")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "home")
        shutil.copytree(arguments.home, home)
        for _ in range(arguments.rounds):
            for workers in arguments.workers:
                with served(home, workers) as url:
                    new, cached = uvloop.run(measure(url, arguments.clients, arguments.seconds))
                print(f"{workers:7d}   {new:15.0f}   {cached:18.0f}", flush=True)


if __name__ == "__main__":
    main()
