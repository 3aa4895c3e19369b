"""A cached answer against a bare Starlette endpoint that returns the same bytes.

`ragstone serve` with a key, quotas, a budget, metrics and its log (to a file), asked for answers
that it keeps; beside it Starlette under the same uvicorn settings, which reads the body and sends
the bytes of such an answer. Both on core 0, the load on core 1, measured in turn. Then the latency
of ours at 70 % of its throughput, from the moment when each request was due.

    flock /tmp/bench.lock python benchmarks/cached_answers.py [--rounds 5] [--seconds 3]
"""

import argparse
import asyncio
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, cast
from urllib.parse import urlsplit

import uvloop
from answers import LOAD_CORE, RAGSTONE, SERVER_CORE, Served, _address, own_server, running
from psutil import Process

CONNECTIONS: Final = 32
QUESTIONS: Final = 50
_BARE: Final = "--bare"
_DOCUMENT: Final = (
    "Full-price items can be returned within 45 days of delivery. Sale items can be returned "
    "within 21 days. Refunds are paid within 5 working days after the parcel has arrived. "
) * 3


class Asker(asyncio.Protocol):
    """One connection that is kept; one request at a time."""

    def __init__(self) -> None:
        self.body = b""
        self.refused = 0
        self._buffer = bytearray()
        self._expected = -1
        self._answered: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def ask(self, request: bytes) -> "asyncio.Future[None]":
        self._transport.write(request)
        self._answered = asyncio.get_running_loop().create_future()
        return self._answered

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._expected < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._buffer[:end]).lower()
            self.refused += not head.startswith(b"http/1.1 200")
            length = head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]
            self._expected = end + 4 + int(length)
            self._head = end + 4
        if len(self._buffer) >= self._expected and self._answered is not None:
            self.body = bytes(self._buffer[self._head :])
            self._buffer.clear()
            self._expected = -1
            self._answered.set_result(None)


def requests_for(path: str, key: str) -> list[bytes]:
    made = []
    for number in range(QUESTIONS):
        question = f"Within how many days can full-price items be returned? ({number})"
        body = json.dumps({"question": question, "collection": "help"}).encode()
        made.append(
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
    return made


async def connected(url: str, count: int) -> list[Asker]:
    loop, address = asyncio.get_running_loop(), urlsplit(url)
    return [
        (await loop.create_connection(Asker, address.hostname, address.port))[1]
        for _ in range(count)
    ]


async def throughput(url: str, requests: list[bytes], seconds: float) -> float:
    """Answers a second, each connection asking again as soon as it has one."""
    askers = await connected(url, CONNECTIONS)
    answered, ends = 0, time.perf_counter() + seconds

    async def one(asker: Asker, number: int) -> None:
        nonlocal answered
        while time.perf_counter() < ends:
            await asker.ask(requests[number % len(requests)])
            answered += 1
            number += 7

    began = time.perf_counter()
    await asyncio.gather(*(one(asker, number) for number, asker in enumerate(askers)))
    took = time.perf_counter() - began
    if sum(closed(asker) for asker in askers):
        raise SystemExit(f"{url} refused: {askers[0].body!r}")
    return answered / took


async def latencies(
    url: str, requests: list[bytes], rate: float, seconds: float
) -> tuple[list[float], int]:
    """Seconds from when each was due, at an even pace; and how many were refused."""
    free = deque(await connected(url, 4 * CONNECTIONS))
    taken: list[float] = []
    tasks: set[asyncio.Task[None]] = set()

    async def one(due: float, number: int) -> None:
        while not free:
            await asyncio.sleep(0.0005)
        asker = free.popleft()
        await asker.ask(requests[number % len(requests)])
        taken.append(time.perf_counter() - due)
        free.append(asker)

    began = time.perf_counter()
    for number in range(int(rate * seconds)):
        due = began + number / rate
        if (pause := due - time.perf_counter()) > 0:
            await asyncio.sleep(pause)
        task = asyncio.create_task(one(due, number))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    return sorted(taken), sum(closed(asker) for asker in free)


def closed(asker: Asker) -> int:
    """How many it was refused."""
    asker._transport.close()
    return asker.refused


async def whole_bodies(url: str, requests: list[bytes]) -> bytes:
    """Asks each question twice; the last answer."""
    [asker] = await connected(url, 1)
    for request in (*requests, *requests):
        await asker.ask(request)
    if closed(asker):
        raise SystemExit(f"{url} refused: {asker.body!r}")
    return asker.body


def command(home: Path, *words: str) -> str:
    return subprocess.run(
        [*RAGSTONE, "--home", str(home), *words], check=True, text=True, capture_output=True
    ).stdout


def prepared(home: Path, stack: ExitStack, log: Path) -> tuple[Served, str]:
    """A server with a document, a key, quotas and a budget."""
    env = {
        "RAGSTONE_EMBEDDER__PROVIDER": "fake",
        "RAGSTONE_QUOTAS__KEY_REQUESTS_PER_MINUTE": "100000000",
        "RAGSTONE_QUOTAS__TENANT_REQUESTS_PER_MINUTE": "100000000",
        "RAGSTONE_CACHE__REFRESH_SHARE": "0",
    }
    serve = [*RAGSTONE, "--home", str(home), "serve", "--port", "0"]
    process = stack.enter_context(running(serve, SERVER_CORE, log=log, env=env))
    url = _address(home, process)
    text = home.parent / "returns.md"
    text.write_text(f"# Returns\n\n{_DOCUMENT}\n")
    command(home, "ingest", str(text), "--collection", "help")
    command(home, "budgets", "set", "--limit", "1000")
    made = command(home, "keys", "create", "--label", "benchmark")
    key = next(word for word in made.split() if word.startswith("rgs_"))
    return Served(url, Process(process.pid)), key


def measure(rounds: int, seconds: float) -> None:
    os.sched_setaffinity(0, {LOAD_CORE})
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours, key = prepared(folder / "home", stack, folder / "log")
        asked = requests_for("/v1/answers", key)
        body = uvloop.run(whole_bodies(ours.url, asked))
        told = json.loads(body)
        assert told["cache"] == "hit", told["cache"]
        (folder / "body").write_bytes(body)
        bare_command = [sys.executable, __file__, _BARE, str(folder / "body")]
        bare = stack.enter_context(own_server(bare_command, SERVER_CORE))
        bare_asked = requests_for("/", key)
        speeds: dict[str, list[float]] = {"ours": [], "bare": []}
        cpu: list[float] = []
        for number in range(rounds + 1):
            for name in ("ours", "bare") if number % 2 else ("bare", "ours"):
                served, requests = (ours, asked) if name == "ours" else (bare, bare_asked)
                before = sum(served.process.cpu_times()[:2])
                speed = uvloop.run(throughput(served.url, requests, seconds))
                used = sum(served.process.cpu_times()[:2]) - before
                if number:  # the first is to warm up
                    speeds[name].append(speed)
                    if name == "ours":
                        cpu.append(used / (speed * seconds))
        ratios = [mine / theirs for mine, theirs in zip(*speeds.values(), strict=True)]
        mine = statistics.median(speeds["ours"])
        print(f"bytes of a body {len(body)}; connections {CONNECTIONS}")
        print(f"ours {mine:8.0f}/s   bare {statistics.median(speeds['bare']):8.0f}/s")
        print(
            f"ratio {statistics.median(ratios):.3f} ({min(ratios):.3f}..{max(ratios):.3f}); "
            f"CPU of ours {statistics.median(cpu) * 1e6:.0f} us an answer"
        )
        taken, refused = uvloop.run(latencies(ours.url, asked, 0.7 * mine, 2 * seconds))
        at = [taken[math.ceil(share * len(taken)) - 1] * 1000 for share in (0.5, 0.99, 0.999)]
        print(
            f"at 70 %: p50 {at[0]:.2f} ms, p99 {at[1]:.2f} ms, p99.9 {at[2]:.2f} ms, "
            f"refused {refused} of {len(taken)}"
        )


def serve_bare(body: bytes) -> None:
    """Starlette with one route, under the settings of `server/run.py`."""
    import socket

    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    async def endpoint(request: Request) -> Response:
        await request.body()
        return Response(body, media_type="application/json")

    app = Starlette(routes=[Route("/", endpoint, methods=["POST"])])
    config = uvicorn.Config(
        app, loop="none", http="httptools", lifespan="off", ws="none", log_config=None,
        access_log=False, server_header=False, proxy_headers=False, backlog=2048,
    )  # fmt: skip
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(listener.getsockname()[1], flush=True)
    uvloop.run(uvicorn.Server(config).serve(sockets=[listener]))


def main() -> None:
    parser = argparse.ArgumentParser(description="Cached answers against bare Starlette")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument(_BARE, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare is not None:
        with suppress(KeyboardInterrupt):
            serve_bare(arguments.bare.read_bytes())
    else:
        measure(arguments.rounds, arguments.seconds)


if __name__ == "__main__":
    main()
