"""A whole server on loopback: real records and index, an embedder that needs no model."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ragstone.assembly import open_system
from ragstone.domain.job import TERMINAL_STATES
from ragstone.governance.quotas import MinuteLimits, MinuteQuotas, SharedBuckets
from ragstone.observe.logging import configure_logging
from ragstone.server.app import build_app
from ragstone.server.run import serve
from ragstone.settings import Settings
from ragstone.system import System
from tests.clock import VirtualClock

POLICY = (
    "You may return full-price items within 45 days of delivery. "
    "Sale items can be returned within 21 days. "
    "Return shipping is free for members of the loyalty programme."
)
CARE = "Wash wool coats by hand in cold water. Never tumble dry wool."


@dataclass(slots=True)
class Running:
    """A server under test and a client of it."""

    url: str
    system: System
    http: aiohttp.ClientSession
    serving: "asyncio.Task[None]"
    """Cancelled, the server stops in order, as upon SIGTERM."""

    async def json(
        self, method: str, path: str, body: object = None, *, key: str | None = None
    ) -> tuple[int, Any]:
        """Status and decoded body."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with self.http.request(method, path, json=body, headers=headers) as response:
            return response.status, await response.json()

    async def ingest(
        self,
        texts: dict[str, str],
        *,
        collection: str = "help",
        access: list[str] | None = None,
        key: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Documents given by id and text; returns when they can be found."""
        documents = [
            {"id": name, "title": name.title(), "text": text, "metadata": metadata or {}}
            for name, text in texts.items()
        ]
        body: dict[str, Any] = {"collection": collection, "documents": documents}
        if access is not None:
            body["access"] = access
        status, answer = await self.json("POST", "/v1/documents", body, key=key)
        assert status == 202, answer
        for job in answer["jobs"]:
            await self.finished(job["id"], key=key)

    async def finished(self, job_id: str, *, key: str | None = None) -> dict[str, Any]:
        """The job, once it has ended."""
        while True:
            status, job = await self.json("GET", f"/v1/jobs/{job_id}", key=key)
            assert status == 200, job
            if job["state"] in TERMINAL_STATES:
                return dict(job)
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def _plain_logs() -> None:
    configure_logging("warning", "text")


@pytest.fixture
def still_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the quotas of servers started from now on no time passes: else a busy machine is given
    back what it has used before it asks for more than there is."""

    def made(limits: MinuteLimits, clock: object, buckets: SharedBuckets | None) -> MinuteQuotas:
        return MinuteQuotas(limits, VirtualClock(), buckets)

    monkeypatch.setattr("ragstone.assembly.question_path.MinuteQuotas", made)


Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts servers; each is stopped after the test. Arguments are settings by group."""
    async with AsyncExitStack() as stack:
        count = 0

        async def begin(*, home: Path | None = None, **groups: dict[str, Any]) -> Running:
            nonlocal count
            count += 1
            values: dict[str, Any] = {
                "home": home or tmp_path / f"home{count}",
                "embedder": {"provider": "fake"},
                "ladder": {"enabled": False},  # the machine of the tests may be busy
                **groups,
                "admission": {"interval_seconds": 600, **groups.get("admission", {})},
            }
            system = await stack.enter_async_context(open_system(Settings.model_validate(values)))
            started: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(
                serve(system, build_app(system), "127.0.0.1", 0, started.set_result)
            )

            async def stop() -> None:
                if not task.cancelling():  # a second one would break off its stopping
                    task.cancel()
                await asyncio.gather(task, return_exceptions=True)

            stack.push_async_callback(stop)
            url = await started
            http = await stack.enter_async_context(aiohttp.ClientSession(url))
            return Running(url, system, http, task)

        yield begin


@pytest.fixture
async def server(start: Start) -> Running:
    """A server with one collection, `help`, of two documents."""
    running = await start()
    await running.ingest({"returns": POLICY, "care": CARE})
    return running


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
