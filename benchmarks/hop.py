"""What it costs that index and embedder are in another process.

The same searches through `ports.Searcher` and the same embeddings through `ports.Embedder`, in
this process and over the hop to an engine process, one call at a time, in turn, on two copies
of the same data folder (the sample products; `benchmarks/answers.py` makes it). Both together are
what a new question asks: in two exchanges, or in one. An exchange after which nothing is brought,
from an engine that was busy for as long, is what two processes cost by themselves.

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

NOWHERE: Final = "nowhere"
BUSY_SECONDS: Final = 0.0015

BLOCK: Final = 40

Call = Callable[[], Awaitable[Any]]


class TimedIndex:
    """The engine's index; tells how long the engine itself took for a search. In `NOWHERE` it is
    busy for as long as is usual, and finds nothing: what an exchange costs by itself."""

    def __init__(self, inner: Searcher) -> None:
        self._inner = inner
        self.taken: dict[int, list[float]] = {}

    async def search(self, principal: Principal, request: SearchRequest) -> SearchResult:
        began = time.perf_counter()
        if request.collection == NOWHERE:
            while time.perf_counter() < began + BUSY_SECONDS:
                pass
            return SearchResult(passages=[])
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
        index = RemoteIndex(engine)
        embedder = RemoteEmbedder(engine, system.embedder.identity)
        vectors = [await system.embedder.embed_query(text) for text in QUESTIONS]

        async def here(text: str) -> None:
            vector = await system.embedder.embed_query(text)
            await system.index.search(ASKER, request_for(text, vector))

        async def two(text: str) -> None:
            vector = await embedder.embed_query(text)
            await index.search(ASKER, request_for(text, vector))

        async def one(text: str) -> None:
            await index.embed_and_search(ASKER, request_for(text), text, seconds=1.0)

        await compare(
            "vector and 10 passages",
            calls,
            here=[partial(here, text) for text in QUESTIONS],
            two=[partial(two, text) for text in QUESTIONS],
            one=[partial(one, text) for text in QUESTIONS],
        )
        for limit in (10, 50):
            requests = [
                request_for(text, vector, limit=limit)
                for text, vector in zip(QUESTIONS, vectors, strict=True)
            ]
            await compare(
                f"search, {limit} passages",
                calls,
                here=[partial(system.index.search, ASKER, request) for request in requests],
                hop=[partial(index.search, ASKER, request) for request in requests],
            )
        nothing = SearchRequest(collection=NOWHERE, vector=vectors[0], text=QUESTIONS[0])
        busy = TimedIndex(system.index)
        await compare(
            "nothing, after as long",
            calls,
            here=[partial(busy.search, ASKER, nothing)],
            hop=[partial(index.search, ASKER, nothing)],
        )
        await compare(
            "embed a query",
            calls,
            here=[partial(system.embedder.embed_query, text) for text in QUESTIONS],
            hop=[partial(embedder.embed_query, text) for text in QUESTIONS],
        )
        await engine.close()


def request_for(text: str, vector: list[float] | None = None, *, limit: int = 10) -> SearchRequest:
    return SearchRequest(collection=COLLECTION, vector=vector, text=text, limit=limit)


async def compare(what: str, calls: int, **ways: list[Call]) -> None:
    """In turn, a block of each: single calls in turn would find the caches of a core cold."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(calls // BLOCK):
        for name, way in ways.items():
            for number in range(BLOCK):
                times[name].append(await _timed(way[number % len(way)]))
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    least = medians["here"]
    said = (f"{name} {taken:5.0f} us (+{taken - least:4.0f})" for name, taken in medians.items())
    print(f"{what:24}", "   ".join(said))


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
