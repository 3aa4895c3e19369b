"""A signal to stop ends the server in order: what was open is closed, what was left is gone."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ragstone.domain.clock import SystemClock
from ragstone.domain.errors import InsecureBind, StartupError
from ragstone.domain.principal import Principal
from ragstone.models.llms.fake import ScriptedModel
from ragstone.server.run import check_bind
from tests.server.conftest import POLICY, Running, Start

QUESTION = {"question": "Within how many days may full-price items be returned?"}
CHAT = {"model": "help", "messages": [{"role": "user", "content": QUESTION["question"]}]}
ASKING = [("/v1/answers", QUESTION), ("/v1/chat/completions", CHAT)]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAGSTONE_")}
    more = {"RAGSTONE_EMBEDDER__PROVIDER": "fake", "RAGSTONE_HOME": str(tmp_path / "home")}
    with subprocess.Popen(
        [sys.executable, "-m", "ragstone.cli", "serve", "--port", "0"],
        cwd=tmp_path,
        env={**kept, **more},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        url = ""
        while not url:
            line = process.stderr.readline()
            assert line, "the server ended before it served"
            found = re.search(r"serves (http://\S+)", line)
            url = found.group(1) if found else ""
        try:
            yield process, url
        finally:
            process.kill()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_the_server_in_order(
    served: tuple["subprocess.Popen[str]", str], tmp_path: Path, number: int, status: int
) -> None:
    process, url = served
    with urllib.request.urlopen(f"{url}/health/live") as response:
        assert response.status == 200
    assert (tmp_path / "home" / "server.json").exists()
    process.send_signal(number)
    assert process.wait() == status
    assert not (tmp_path / "home" / "server.json").exists()


@pytest.mark.parametrize("host", ["no such host", "x" * 70])
async def test_an_unknown_host_is_called_unknown_not_insecure(server: Running, host: str) -> None:
    with pytest.raises(StartupError, match="no host") as refused:
        await check_bind(server.system, host)
    assert not isinstance(refused.value, InsecureBind)


async def _stuck(
    start: Start, *, after: int, **settings: Any
) -> tuple[Running, ScriptedModel, asyncio.Event]:
    """A server whose model stops after some words, until the event is set."""
    running = await start(server={"shutdown_seconds": 0, **settings}, admission={"concurrency": 1})
    await running.ingest({"returns": POLICY})
    go_on = asyncio.Event()
    waits = iter(range(100))

    async def sleep(seconds: float) -> None:
        if next(waits) == after:
            await go_on.wait()

    model = ScriptedModel(
        ["Forty", "-five", " days [1]."],
        clock=SystemClock(),
        first_delay=1.0,
        delay=1.0,
        sleep=sleep,
    )
    running.system.use_model(model)
    return running, model, go_on


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Any]]:
    """Names and data, `chunk` where there is no name; ends with the connection's stream."""
    name = "chunk"
    async for line in response.content:
        if line.startswith(b"event: "):
            name = line[7:].decode().strip()
        elif line.startswith(b"data: [DONE]"):
            yield "[DONE]", None
        elif line.startswith(b"data: "):
            yield name, json.loads(line[6:])


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/answers", QUESTION), ("/v1/chat/completions", CHAT)]
)
async def test_an_open_stream_ends_with_one_event_that_says_why(
    start: Start, path: str, body: dict[str, Any]
) -> None:
    running, _, _ = await _stuck(start, after=1)
    ledger: Any = running.system.services.ledger
    rows: list[Any] = []
    settle = ledger.settle
    ledger.settle = lambda *settled: (rows.extend(settled[2]), settle(*settled))
    told: list[tuple[str, Any]] = []
    async with running.http.post(path, json={**body, "stream": True}) as response:
        async for name, data in _events(response):
            told.append((name, data))
            if "Forty" in str(data):
                running.serving.cancel()
    failures = [data["error"] for _, data in told if data and "error" in data]
    assert [failure["code"] for failure in failures] == ["shutting_down"]
    assert "error" in told[-1][1]
    assert failures[0]["retriable"]
    assert failures[0]["retry_after"] >= 1
    assert not {"done", "[DONE]"} & {name for name, _ in told}
    await asyncio.wait([running.serving])
    assert ledger.open_reservations == 0
    assert sum(row.usage.output_tokens for row in rows) > 0


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/answers", QUESTION), ("/v1/chat/completions", CHAT)]
)
async def test_a_whole_answer_that_is_cut_off_is_refused_with_when_to_come_back(
    start: Start, path: str, body: dict[str, Any]
) -> None:
    running, model, _ = await _stuck(start, after=1)
    asking = asyncio.create_task(running.http.post(path, json=body))
    while not model.open_streams:
        await asyncio.sleep(0.005)
    running.serving.cancel()
    async with await asking as response:
        assert response.status == 503
        assert int(response.headers["Retry-After"]) >= 1
        assert (await response.json())["error"]["code"] == "shutting_down"


async def test_a_stream_that_ends_within_the_bound_is_whole(start: Start) -> None:
    running, _, go_on = await _stuck(start, after=1, shutdown_seconds=60)
    names = []
    async with running.http.post("/v1/answers", json={**QUESTION, "stream": True}) as response:
        async for name, _ in _events(response):
            names.append(name)
            if name == "delta" and not go_on.is_set():
                running.serving.cancel()
                await asyncio.sleep(0)  # it has begun to stop
                go_on.set()
    assert names[-1] == "done"
    assert "error" not in names


async def test_who_waits_for_a_turn_is_sent_away_at_once_when_the_server_stops(
    start: Start,
) -> None:
    running = await start(server={"shutdown_seconds": 60}, admission={"concurrency": 1})
    await running.ingest({"returns": POLICY})
    admission: Any = running.system.services.admission
    soon = running.system.clock.monotonic() + 600
    me = Principal(tenant="default")
    async with admission.admit(me, priority="standard", weight=1, deadline=soon):
        asking = asyncio.create_task(running.json("POST", "/v1/answers", QUESTION))
        while not admission.waiting and not asking.done():
            await asyncio.sleep(0.005)
        running.serving.cancel()
        status, answer = await asking
    assert (status, answer["error"]["code"]) == (503, "shutting_down")
