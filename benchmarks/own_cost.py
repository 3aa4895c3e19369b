"""CPU of our own code for each question: everything but embedding, index, model and sockets.

The whole ASGI application is called in this process; the embedder gives one vector, the index
the same passages and the model the same words, at once and for nothing. Tokens are counted by
the real tokenizer and the log line of each request is written, to the null device. What is
left is routing, authentication, all stages, caches, metrics, log and encoding.

    flock /tmp/bench.lock python benchmarks/own_cost.py [--questions 2000] [--profile]
"""

import argparse
import asyncio
import gc
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec
import uvloop
from model_server import answer_words

from ragstone.assembly import open_system
from ragstone.domain.collection import EmbedderIdentity
from ragstone.domain.passage import Passage, Scores, SearchResult
from ragstone.domain.principal import Principal
from ragstone.domain.query import SearchRequest
from ragstone.domain.usage import Usage
from ragstone.models.embedders.onnx_minilm import MiniLmEmbedder
from ragstone.observe.logging import configure_logging
from ragstone.ports import DocumentChunks, Finished, Prompt, TextDelta
from ragstone.server.app import build_app
from ragstone.settings import Settings
from ragstone.system import System

ROUNDS: Final = 7
_WORDS: Final = "linen cotton summer dress navy floral loose fit machine wash sleeve".split()


class FreeEmbedder:
    """One vector for everything; counts tokens as the real one does."""

    def __init__(self, real: MiniLmEmbedder) -> None:
        self._real = real
        self.count_tokens = real.count_tokens
        self._vector = [0.05] * 384

    @property
    def identity(self) -> EmbedderIdentity:
        return self._real.identity

    async def embed_query(self, text: str) -> list[float]:
        return self._vector

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        return [self._vector for _ in texts]

    async def close(self) -> None:
        await self._real.close()


class FreeIndex:
    """The best of 2,000 fixed passages, differently chosen for each question."""

    def __init__(self) -> None:
        random = Random(3)
        self._passages = [_passage(number, random) for number in range(2000)]
        self._next = itertools.count()

    async def search(self, principal: Principal, request: SearchRequest) -> SearchResult:
        start = next(self._next) * 13 % (len(self._passages) - request.limit)
        return SearchResult(passages=self._passages[start : start + request.limit])

    async def replace(
        self, tenant: str, collection: str, documents: Sequence[DocumentChunks]
    ) -> None:
        raise NotImplementedError

    async def delete(self, tenant: str, collection: str, document_ids: Sequence[str]) -> None:
        raise NotImplementedError

    async def optimize(self, tenant: str, collection: str) -> None:
        raise NotImplementedError

    async def drop(self, tenant: str, collection: str) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        return None


class FreeModel:
    """The same answer at once."""

    name = "free"

    def __init__(self, deltas: int) -> None:
        self._events = [TextDelta(word) for word in answer_words(deltas)]
        self._end = Finished(usage=Usage(input_tokens=900, output_tokens=deltas), reason="stop")

    async def stream(
        self, prompt: Prompt, *, deadline: float
    ) -> AsyncGenerator[TextDelta | Finished, None]:
        for event in self._events:
            yield event
        yield self._end

    async def close(self) -> None:
        return None


def _passage(number: int, random: Random) -> Passage:
    text = ". ".join(" ".join(random.choices(_WORDS, k=12)).capitalize() for _ in range(8)) + "."
    return Passage(
        chunk_id=f"00000000-0000-5000-8000-{number:012d}",
        document_id=f"document-{number}",
        external_id=f"item-{number}",
        version=1,
        ordinal=0,
        title=f"Item {number}",
        text=f"{text} Number {number}.",
        start=0,
        end=len(text),
        metadata={"category": "dresses", "price": 49.5, "stock": ["Leeds", "York"]},
        scores=Scores(fused=0.7, dense=0.6, lexical=9.0),
    )


async def ask(app: Any, body: bytes) -> int:
    """One request through the application, as uvicorn would make it; how many sends it took."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8080),
        "client": ("127.0.0.1", 40000),
        "scheme": "http",
        "method": "POST",
        "root_path": "",
        "path": "/v1/answers",
        "raw_path": b"/v1/answers",
        "query_string": b"",
        "headers": [
            (b"host", b"127.0.0.1:8080"),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ],
    }
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    sends = 0

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        nonlocal sends
        sends += 1
        assert message.get("status", 200) == 200, message

    await app(scope, receive, send)
    return sends


async def _cost(app: Any, bodies: list[bytes]) -> float:
    """CPU microseconds for each body."""
    began = time.process_time()
    for body in bodies:
        await ask(app, body)
    return (time.process_time() - began) / len(bodies) * 1e6


def _bodies(prefix: str, count: int, **fields: object) -> list[bytes]:
    return [
        msgspec.json.encode({"question": f"Which dress is right for {prefix} {number}?", **fields})
        for number in range(count)
    ]


async def measure(count: int, deltas: int, *, profile: bool) -> None:
    # The passages' documents are in no records: a sweep would take their answers for orphans.
    # All answers fit: what is asked again is a hit.
    cache = {"sweep_seconds": 3600, "max_bytes": 1_000_000_000}
    settings = Settings.model_validate({"embedder": {"provider": "fake"}, "cache": cache})
    with tempfile.TemporaryDirectory() as folder:
        async with open_system(settings.model_copy(update={"home": Path(folder)})) as system:
            embedder = FreeEmbedder(MiniLmEmbedder())
            system.use_model(FreeModel(deltas))
            system.services = replace(system.services, embedder=embedder, index=FreeIndex())
            await system.records.ensure_collection("default", "default", embedder.identity)
            await _report(system, count, profile=profile)


async def _report(system: System, count: int, *, profile: bool) -> None:
    app = build_app(system)
    await _cost(app, _bodies("warming", 200))
    gc.collect()
    gc.freeze()  # as a server does when it starts
    if profile:
        from pyinstrument import Profiler

        with Profiler(async_mode="disabled", interval=0.0002) as profiler:
            await _cost(app, _bodies("a profile", 4 * count))
        profiler.print(show_all=True, timeline=False)
        return
    figures: dict[str, list[float]] = {}
    for number in range(ROUNDS):
        new = _bodies(f"round {number}", count)
        for what, bodies in (
            ("new question", new),
            ("same question again", new),
            ("new question, streamed", _bodies(f"stream {number}", count, stream=True)),
        ):
            figures.setdefault(what, []).append(await _cost(app, bodies))
    for what, values in figures.items():
        print(f"{what:26} {statistics.median(values):7.0f} us (best {min(values):.0f})")


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU of our own code for each question")
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--deltas", type=int, default=16)
    parser.add_argument("--profile", action="store_true", help="where it goes (pyinstrument)")
    arguments = parser.parse_args()
    nowhere = open(os.devnull, "w")  # noqa: SIM115 - for the whole run
    with redirect_stderr(nowhere):
        configure_logging("info", "json")  # it keeps the stream that is there now
    uvloop.run(measure(arguments.questions, arguments.deltas, profile=arguments.profile))


if __name__ == "__main__":
    main()
