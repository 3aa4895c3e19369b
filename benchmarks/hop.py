"""What it costs that index and embedder are in another process.

The same searches through `ports.Searcher` and the same embeddings through `ports.Embedder`, in
this process and over the hop to an engine process, one call at a time, in turn, on two copies
of the same data folder (the sample products; `benchmarks/answers.py` makes it).

    flock /tmp/bench.lock python benchmarks/hop.py --home /tmp/ragstone-bench [--calls 1000]
"""

import argparse
import asyncio
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import uvloop

from ragstone.assembly import open_system
from ragstone.domain.passage import SearchResult
from ragstone.domain.principal import Principal
from ragstone.domain.query import SearchRequest
from ragstone.hop.address import EngineAddress
from ragstone.hop.client import EngineClient
from ragstone.index.remote import RemoteIndex
from ragstone.models.embedders.remote import RemoteEmbedder
from ragstone.observe.logging import configure_logging
from ragstone.ports import Searcher
from ragstone.server.app import build_app
from ragstone.server.engine import EngineDoor
from ragstone.server.listening import listen_on_path
from ragstone.server.run import serve_engine
from ragstone.settings import Settings

TOKEN: Final = "benchmark"
ASKER: Final = Principal(tenant="default", user="shopper", groups=frozenset({"staff", "till"}))
COLLECTION: Final = "products"

QUESTIONS: Final = (
    "a navy linen dress for a garden party",
    "Which coat is warm enough for winter and can be washed?",
    "loose cotton shirt under 40 pounds",
    "comfortable shoes for standing all day",
    "Is the walnut desk in stock in Leeds?",
    "a present for somebody who cooks",
    "waterproof jacket with a hood",
    "floral summer skirt that isn't too short",
)

BLOCK: Final = 40

Call = Callable[[], Awaitable[Any]]


class TimedIndex:
    """The engine's index; tells how long the engine itself took for a search."""

    def __init__(self, inner: Searcher) -> None:
        self._inner = inner
        self.taken: dict[int, list[float]] = {}

    async def search(self, principal: Principal, request: SearchRequest) -> SearchResult:
        began = time.perf_counter()
        found = await self._inner.search(principal, request)
        self.taken.setdefault(request.limit, []).append((time.perf_counter() - began) * 1e6)
        return found

    async def close(self) -> None:
        await self._inner.close()


async def be_engine(home: Path, socket: str) -> None:
    configure_logging("error", "text")
    async with open_system(Settings(home=home)) as system:
        index: Any = TimedIndex(system.index)
        assert system.stores is not None
        system.stores = replace(system.stores, index=index)
        door = EngineDoor(build_app(system), system, TOKEN)
        listener = listen_on_path(socket)
        await serve_engine(system, door, listener, started=lambda: None, orphaned=asyncio.Event())
        for limit, taken in index.taken.items():
            own = statistics.median(taken)
            print(f"the engine's own search, {limit} passages: {own:.0f} us")


async def measure(home: Path, socket: str, calls: int) -> None:
    async with open_system(Settings(home=home)) as system:
        engine = EngineClient(EngineAddress(socket=socket), token=TOKEN, timeout_seconds=60)
        remote_index = RemoteIndex(engine)
        remote_embedder = RemoteEmbedder(engine, system.embedder.identity)
        vectors = [await system.embedder.embed_query(text) for text in QUESTIONS]
        for limit in (10, 20, 50):
            requests = [
                SearchRequest(collection=COLLECTION, vector=vector, text=text, limit=limit)
                for text, vector in zip(QUESTIONS, vectors, strict=True)
            ]
            await compare(
                f"search, {limit} passages",
                calls,
                [partial(system.index.search, ASKER, request) for request in requests],
                [partial(remote_index.search, ASKER, request) for request in requests],
            )
        await compare(
            "embed a query",
            calls,
            [partial(system.embedder.embed_query, text) for text in QUESTIONS],
            [partial(remote_embedder.embed_query, text) for text in QUESTIONS],
        )
        await engine.close()


async def compare(what: str, calls: int, here: list[Call], hop: list[Call]) -> None:
    """In turn, a block of each: single calls in turn would find the caches of a core cold."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(calls // BLOCK):
        for way, taken in zip((here, hop), times, strict=True):
            for number in range(BLOCK):
                taken.append(await _timed(way[number % len(way)]))
    a, b = (statistics.median(taken) for taken in times)
    print(f"{what:22} here {a:6.0f} us   over the hop {b:6.0f} us   the hop {b - a:5.0f} us")


async def _timed(call: Call) -> float:
    began = time.perf_counter()
    await call()
    return (time.perf_counter() - began) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description="What the hop to the engine costs")
    parser.add_argument("--home", type=Path, default=Path("/tmp/ragstone-bench"))
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--engine", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.engine:
        uvloop.run(be_engine(arguments.home, arguments.engine))
        return
    with tempfile.TemporaryDirectory() as folder:
        mine, theirs, socket = Path(folder, "mine"), Path(folder, "theirs"), f"{folder}/socket"
        for copy in (mine, theirs):
            shutil.copytree(arguments.home, copy)
        command = [sys.executable, __file__, "--home", str(theirs), "--engine", socket]
        with subprocess.Popen(command) as engine:
            try:
                uvloop.run(measure(mine, socket, arguments.calls))
            finally:
                engine.terminate()


if __name__ == "__main__":
    main()
