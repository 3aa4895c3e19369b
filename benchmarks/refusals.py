"""CPU of the server for a request that it refuses for lack of room, and of one that costs nothing.

The real server over its own sockets, with a gate that refuses everything; the clients are in a
process of their own and keep their connections. The floor is the same HTTP server with an
application that answers at once with a response of the same size.

    flock /tmp/bench.lock python benchmarks/refusals.py [--requests 6000]
"""

import argparse
import asyncio
import multiprocessing
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NoReturn

import uvloop
from starlette.types import ASGIApp, Receive, Scope, Send

from ragstone.assembly import open_system
from ragstone.domain.errors import Overloaded
from ragstone.observe.logging import configure_logging
from ragstone.server.app import build_app
from ragstone.server.run import serve
from ragstone.settings import Settings
from ragstone.system import System

CONNECTIONS: Final = 20
ROUNDS: Final = 5
_BODY: Final = b'{"question":"' + b"x" * 300 + b'"}'


class FullAdmission:
    """Refuses whoever asks; the rest is the real one's."""

    def __init__(self, admission: Any) -> None:
        self._admission = admission

    def __getattr__(self, name: str) -> Any:
        return getattr(self._admission, name)

    def check(self, *args: object, **options: object) -> NoReturn:
        raise Overloaded("The server has no room now.", remedy="Try again.", retry_after=1.7)


async def floor(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"content-length", b"250"), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": b"x" * 250})


def ask(url: str, requests: int) -> None:
    uvloop.run(_ask(url, requests))


async def _ask(url: str, requests: int) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    head = f"POST /v1/answers HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(_BODY)}\r\n\r\n".encode() + _BODY

    async def one() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for _ in range(requests // CONNECTIONS):
            writer.write(request)
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert b" 503 " in answer[:20], answer
            await reader.readexactly(int(answer.partition(b"content-length: ")[2].split()[0]))
        writer.close()

    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))


async def microseconds(system: System, app: ASGIApp, requests: int) -> float:
    """CPU of this process for each request, the least of some rounds."""
    started: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(system, app, "127.0.0.1", 0, started.set_result))
    url, spent = await started, []
    for _ in range(ROUNDS):
        client = multiprocessing.get_context("spawn").Process(target=ask, args=(url, requests))
        before = time.process_time()
        client.start()
        while client.is_alive():
            await asyncio.sleep(0.05)
        spent.append((time.process_time() - before) / requests * 1e6)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    return min(spent)


async def main(requests: int) -> None:
    with tempfile.TemporaryDirectory() as home:
        settings = {"home": Path(home), "embedder": {"provider": "fake"}}
        async with open_system(Settings.model_validate(settings)) as system:
            services = system.services
            system.services = replace(services, admission=FullAdmission(services.admission))
            bare = await microseconds(system, floor, requests)
            whole = await microseconds(system, build_app(system), requests)
    print(f"a refusal {whole:.0f} us of CPU, of which the bare HTTP server takes {bare:.0f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=6000)
    options = parser.parse_args()
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - the log is written, to nowhere
    configure_logging("info", "json")
    uvloop.run(main(options.requests))
