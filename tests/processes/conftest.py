"""Servers of several processes, as a person starts them."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conftest import UNHURRIED

START = [sys.executable, "-m", "ragstone.cli"]


class Served:
    """`ragstone serve`, what it logs, and a client that connects anew for each request."""

    def __init__(self, process: "subprocess.Popen[str]", home: Path) -> None:
        self.process = process
        self.home = home
        self.lines: list[str] = []
        self.url = ""
        self._news = threading.Condition()
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.lines.append(line)
                if found := re.search(r"serves (http://\S+)", line):
                    self.url = found.group(1)
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def read_to_the_end(self) -> None:
        """Returns once none of the processes can write any more, so that the pipe may be closed."""
        self._reading.join(300)

    def status(self) -> int:
        """How it ended, once it has and all that was logged is in `lines`."""
        status = self.process.wait()
        self.read_to_the_end()
        return status

    def until(self, there: Callable[[], Any]) -> Any:
        """What `there` gives once it gives something; looks whenever a line is logged."""
        with self._news:
            assert self._news.wait_for(lambda: there() or not self._reading.is_alive(), 300)
        found = there()
        assert found, "".join(self.lines[-20:])
        return found

    def started(self, name: str) -> list[int]:
        """The pids that a process of this name has had, the newest last."""
        events = [json.loads(line) for line in self.lines if line.startswith("{")]
        return [e["pid"] for e in events if e["event"] == "started" and e["process"] == name]

    async def ask(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, **headers: str
    ) -> tuple[int, Any]:
        """Over a connection of its own, so that any gateway may be the one that answers."""
        if key:
            headers["Authorization"] = f"Bearer {key}"
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http,
            http.request(method, self.url + path, json=body, headers=headers) as response,
        ):
            text = await response.text()
            is_json = response.content_type == "application/json"
            return response.status, json.loads(text) if is_json else text

    async def until_refusing(self) -> None:
        """Once nobody accepts a connection any more."""
        while True:
            try:
                await self.ask("GET", "/health/live")
            except aiohttp.ClientError:
                return
            await asyncio.sleep(0.02)

    async def ingest(self, texts: dict[str, str], *, key: str | None = None) -> None:
        """Returns when they can be found."""
        documents = [{"id": name, "text": text} for name, text in texts.items()]
        body = {"collection": "help", "documents": documents}
        status = 503  # an engine that dies leaves open what it has done; a repetition is harmless
        while status == 503:
            status, accepted = await self.ask("POST", "/v1/documents", body, key=key)
        assert status == 202, accepted
        for job in accepted["jobs"]:
            while True:
                status, now = await self.ask("GET", f"/v1/jobs/{job['id']}", key=key)
                assert status in (200, 503), now
                if now.get("state") == "done":
                    break
                await asyncio.sleep(0.02)

    def everyone(self) -> list[int]:
        """The living processes, the supervisor's own included."""
        names = ("engine", *(f"gateway {number}" for number in range(1, 10)))
        pids = [pid for name in names for pid in self.started(name)]
        return [pid for pid in (self.process.pid, *pids) if is_alive(pid)]


def is_alive(pid: int) -> bool:
    """A process that ended and was not waited for is not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def environment(**settings: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAGSTONE_")}
    more = {f"RAGSTONE_{name}": value for name, value in settings.items()}
    own = {"RAGSTONE_EMBEDDER__PROVIDER": "fake", "RAGSTONE_LOG__FORMAT": "json"}
    return {**kept, **UNHURRIED, **own, **more}


@contextmanager
def serving(home: Path, workers: int, **settings: str) -> Iterator[Served]:
    command = [*START, "--home", str(home), "serve", "--port", "0", "--workers", str(workers)]
    with subprocess.Popen(
        command, cwd=home.parent, env=environment(**settings), stderr=subprocess.PIPE, text=True
    ) as process:
        served = Served(process, home)
        try:
            yield served
        finally:
            for pid in served.everyone():
                os.kill(pid, signal.SIGKILL)
            process.kill()
            served.read_to_the_end()


Serve = Callable[..., Served]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts servers, each killed after the test; returns once they serve."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def begin(workers: int = 2, **settings: str) -> Served:
            served = stack.enter_context(serving(tmp_path / "home", workers, **settings))
            served.until(lambda: served.url)
            return served

        yield begin


Model = Callable[..., Awaitable[str]]


@pytest.fixture
async def slow_model() -> AsyncIterator[Model]:
    """Starts a language model that writes a word when its event says so; gives its address."""
    from aiohttp import web

    runners: list[web.AppRunner] = []

    async def begin(more: "asyncio.Semaphore", words: int) -> str:
        async def complete(request: web.Request) -> web.StreamResponse:
            await request.read()
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            for number in range(words):
                await more.acquire()
                delta = {"choices": [{"delta": {"content": f"word{number} "}}]}
                await response.write(b"data: %b\n\n" % json.dumps(delta).encode())
            end = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
            await response.write(b"data: %b\n\ndata: [DONE]\n\n" % json.dumps(end).encode())
            return response

        app = web.Application()
        app.router.add_post("/v1/chat/completions", complete)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}/v1"

    yield begin
    for runner in runners:
        await runner.cleanup()
