"""What the server costs on top of embedding, searching and calling the model.

`POST /v1/answers` of a real `ragstone serve` against `bare_server.py`, which does nothing but
those three, over the same documents and the same instantly answering `model_server.py`. Every
question is new, so no cache helps. Both servers run on core 0, the model and the load on
core 1; they are measured in turn, several rounds for each number of clients.

    flock /tmp/bench.lock python benchmarks/answers.py --home /tmp/ragstone-bench

The home folder is made from the sample products (about two minutes) where it is not there.
"""

import argparse
import asyncio
import itertools
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

import aiohttp
import msgspec
import psutil
import uvloop

HERE: Final = Path(__file__).parent
RAGSTONE: Final = (sys.executable, "-m", "ragstone.cli")
SERVER_CORE: Final = 0
LOAD_CORE: Final = 1
COLLECTION: Final = "products"
CLIENTS: Final = (1, 8, 64)


_HEADING: Final = (
    "clients   ours req/s   bare req/s   ratio (min..max)   CPU ms: ours   bare   ours - bare"
)


class Measured(NamedTuple):
    """One round on one server."""

    per_second: float
    cpu_ms: float
    """Of the server process for each question, all of its threads."""


class Served(NamedTuple):
    """A running server."""

    url: str
    process: psutil.Process


def make_home(home: Path) -> None:
    """The sample products, ingested by the commands that a person would use."""
    from ragstone.sample import write_corpus

    with tempfile.TemporaryDirectory() as folder:
        write_corpus(Path(folder))
        products = str(Path(folder, COLLECTION))
        command = [*RAGSTONE, "--home", str(home), "ingest", products, "--collection", COLLECTION]
        subprocess.run(command, check=True)


@contextmanager
def running(
    command: list[str], core: int, *, log: Path | None = None, env: dict[str, str] | None = None
) -> Iterator["subprocess.Popen[str]"]:
    """A process on one core, ended with the context; standard error goes to `log`."""
    with open(log or os.devnull, "w") as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors if log else None,
            text=True,
            env={**os.environ, **(env or {})},
        )
    try:
        psutil.Process(process.pid).cpu_affinity([core])
        yield process
    finally:
        process.terminate()
        process.wait()


@contextmanager
def own_server(command: list[str], core: int) -> Iterator[Served]:
    """One of the servers beside this file, which print their port."""
    with running(command, core) as process:
        assert process.stdout is not None
        yield Served(
            f"http://127.0.0.1:{int(process.stdout.readline())}", psutil.Process(process.pid)
        )


@contextmanager
def ragstone_server(home: Path, model_url: str, log: Path) -> Iterator[Served]:
    """The product with its defaults; it writes one log line a request."""
    env = {"RAGSTONE_LLM__BASE_URL": f"{model_url}/v1", "RAGSTONE_LLM__MODEL": "instant"}
    command = [*RAGSTONE, "--home", str(home), "serve", "--port", "0"]
    with running(command, SERVER_CORE, log=log, env=env) as process:
        yield Served(_address(home, process), psutil.Process(process.pid))


def _address(home: Path, process: "subprocess.Popen[str]") -> str:
    from ragstone.home import read_server

    while process.poll() is None:
        info = read_server(home)
        if info is not None and info.pid == process.pid and info.url:
            return info.url
        time.sleep(0.05)
    raise SystemExit("the server did not start")


def new_questions() -> Iterator[str]:
    """Never twice the same: words of the products in the form of a shopper's question."""
    random = Random(11)
    colours = ["navy", "ivory", "rust", "sage", "charcoal", "rose", "mustard", "teal"]
    things = ["dress", "coat", "lamp", "rug", "jumper", "trousers", "cushion", "boots", "shirt"]
    needs = ["a garden party", "a cold office", "a small flat", "hiking in rain", "a wedding"]
    traits = ["not too floral", "easy to wash", "under 80 pounds", "made of wool", "striped"]
    for number in itertools.count():
        yield (
            f"Which {random.choice(colours)} {random.choice(things)} would suit "
            f"{random.choice(needs)} and is {random.choice(traits)}, for shopper {number}?"
        )


async def load(
    served: Served, path: str, questions: Iterator[str], clients: int, seconds: float
) -> Measured:
    """`clients` ask one question after another for `seconds`."""
    answered = 0
    ends = time.perf_counter() + seconds
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(served.url, connector=connector, headers=headers) as session:

        async def client() -> None:
            nonlocal answered
            while time.perf_counter() < ends:
                body = msgspec.json.encode({"question": next(questions), "collection": COLLECTION})
                async with session.post(path, data=body) as response:
                    reply = await response.read()
                    if response.status != 200:
                        raise SystemExit(f"{served.url} answered {response.status}: {reply!r}")
                answered += 1

        used, began = _cpu_seconds(served.process), time.perf_counter()
        await asyncio.gather(*(client() for _ in range(clients)))
        took = time.perf_counter() - began
        used = _cpu_seconds(served.process) - used
    return Measured(answered / took, used / answered * 1000)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def compare(ours: Served, bare: Served, rounds: int, seconds: float) -> None:
    """Prints a line for each number of clients: medians, and the median of the rounds' ratios."""
    questions = new_questions()

    def run(served: Served, clients: int, seconds: float) -> Measured:
        path = "/v1/answers" if served is ours else "/"
        return uvloop.run(load(served, path, questions, clients, seconds))

    for served in (ours, bare):
        run(served, 8, 2)
    print(_HEADING)
    for clients in CLIENTS:
        measured: dict[Served, list[Measured]] = {ours: [], bare: []}
        for number in range(rounds):
            # Each is first in turn, so that a trend on the machine favours nobody.
            for served in (ours, bare) if number % 2 else (bare, ours):
                measured[served].append(run(served, clients, seconds))
        _print_row(clients, measured[ours], measured[bare])


def _print_row(clients: int, mine: list[Measured], theirs: list[Measured]) -> None:
    ratios = [m.per_second / t.per_second for m, t in zip(mine, theirs, strict=True)]
    speed = [statistics.median(one.per_second for one in side) for side in (mine, theirs)]
    cpu = [statistics.median(one.cpu_ms for one in side) for side in (mine, theirs)]
    print(
        f"{clients:7d} {speed[0]:12.1f} {speed[1]:12.1f} {statistics.median(ratios):7.3f} "
        f"({min(ratios):.3f}..{max(ratios):.3f}) {cpu[0]:14.2f} {cpu[1]:6.2f} "
        f"{cpu[0] - cpu[1]:13.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="The server's own cost for each question")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--deltas", type=int, default=16)
    arguments = parser.parse_args()
    if not arguments.home.exists():
        make_home(arguments.home)
    os.sched_setaffinity(0, {LOAD_CORE})
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # One process at a time may open an index.
        copy = shutil.copytree(arguments.home / "index", folder / "index")
        python, deltas = sys.executable, str(arguments.deltas)
        model_command = [python, str(HERE / "model_server.py"), "--deltas", deltas]
        model = stack.enter_context(own_server(model_command, LOAD_CORE))
        bare_command = [python, str(HERE / "bare_server.py"), str(copy), f"{model.url}/v1"]
        bare = stack.enter_context(own_server(bare_command, SERVER_CORE))
        server = ragstone_server(arguments.home, model.url, folder / "log")
        ours = stack.enter_context(server)
        compare(ours, bare, arguments.rounds, arguments.seconds)


if __name__ == "__main__":
    main()
