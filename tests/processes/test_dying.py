"""Any process may be killed at any time: the others serve, and what was acknowledged is there."""

import asyncio
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import aiohttp
import pytest

from ragstone.home import read_server
from tests.processes.conftest import START, Model, Serve, Served, environment, is_alive

TEXTS = {"returns": "You may return full-price items within 45 days.", "care": "Wash wool cold."}


_WAITED_FOR_SECONDS = 4.0
"""A restart that takes no longer is waited for by every question. On a busy machine it takes as
long as the index may, which is five seconds, or more: then questions may end with a reason."""


async def _gone(pids: list[int]) -> None:
    while any(is_alive(pid) for pid in pids):
        await asyncio.sleep(0.02)


async def _ask(served: Served, number: int) -> tuple[int, str]:
    body = {"question": f"May I return item {number}?", "collection": "help"}
    status, answer = await served.ask("POST", "/v1/answers", body)
    return status, str(answer.get("degraded", answer))


async def test_no_question_fails_while_the_engine_is_killed(serve: Serve) -> None:
    served = serve(2)
    await served.ingest(TEXTS)
    (engine,) = served.started("engine")
    seen: set[tuple[int, str]] = set()
    stop = asyncio.Event()

    async def visitor(first: int) -> None:
        number = first
        while not stop.is_set():
            seen.add(await _ask(served, number))
            number += 100

    visitors = [asyncio.create_task(visitor(number)) for number in range(6)]
    while (200, "[]") not in seen:
        await asyncio.sleep(0.02)
    began = time.monotonic()
    os.kill(engine, signal.SIGKILL)
    await served.ingest({"later": "Sent while the engine was being started again."})
    in_time = time.monotonic() - began < _WAITED_FOR_SECONDS
    await asyncio.to_thread(served.until, lambda: len(served.started("engine")) == 2)
    stop.set()
    await asyncio.gather(*visitors)
    # A restart that takes long leaves questions with their words alone, and says so.
    failed = [said for status, said in seen if status != 200]
    assert not failed if in_time else all("'retriable': True" in said for said in failed), failed
    _, documents = await served.ask("GET", "/v1/documents?collection=help")
    assert len(documents["documents"]) == 3
    while (info := read_server(served.home)) is None or info.engine == engine:
        await asyncio.sleep(0.02)  # it tells where it is found once it serves
    assert (info.pid, info.engine) == (served.process.pid, served.started("engine")[-1])


async def test_a_killed_gateway_is_started_again_and_the_others_serve(serve: Serve) -> None:
    served = serve(2)
    await served.ingest(TEXTS)
    (gateway,) = served.started("gateway 1")
    os.kill(gateway, signal.SIGKILL)
    await _gone([gateway])
    for number in range(20):
        assert await _ask(served, number) == (200, "[]")
    await asyncio.to_thread(served.until, lambda: len(served.started("gateway 1")) == 2)


async def _first_word(served: Served, http: aiohttp.ClientSession) -> aiohttp.ClientResponse:
    body = {"question": "May I return it?", "collection": "help", "stream": True}
    response = await http.post(f"{served.url}/v1/answers", json=body)
    assert response.status == 200
    async for line in response.content:
        if b"word0" in line:
            return response
    raise AssertionError


async def _events(response: aiohttp.ClientResponse) -> list[str]:
    text = (await response.read()).decode()
    return [line.removeprefix("event: ") for line in text.splitlines() if line[:7] == "event: "]


async def _streaming(serve: Serve, slow_model: Model, more: asyncio.Semaphore, **settings: str):
    url = await slow_model(more, 4)
    served = serve(2, LLM__BASE_URL=url, LLM__MODEL="slow", **settings)
    await served.ingest(TEXTS)
    return served


async def test_without_their_supervisor_gateways_finish_what_is_open_and_nobody_stays(
    serve: Serve, slow_model: Model
) -> None:
    more = asyncio.Semaphore(1)
    served = await _streaming(serve, slow_model, more)
    everyone = served.everyone()
    async with aiohttp.ClientSession() as http:
        response = await _first_word(served, http)
        served.process.kill()
        served.process.wait()
        await served.until_refusing()
        assert sum(is_alive(pid) for pid in everyone) >= 2  # the engine, and who has the stream
        for _ in range(3):
            more.release()
        assert (await _events(response))[-1] == "done"
    await _gone(everyone)
    assert read_server(served.home) is None
    again = serve(1)  # the folder is free
    assert await _ask(again, 1) == (200, "[]")


async def test_a_signal_lets_streams_finish(serve: Serve, slow_model: Model) -> None:
    more = asyncio.Semaphore(1)
    served = await _streaming(serve, slow_model, more)
    async with aiohttp.ClientSession() as http:
        response = await _first_word(served, http)
        served.process.send_signal(signal.SIGTERM)
        await served.until_refusing()
        for _ in range(3):
            more.release()
        assert (await _events(response))[-1] == "done"
    assert await asyncio.to_thread(served.status) == 0
    assert served.everyone() == []


async def test_a_stream_that_takes_too_long_ends_with_a_word(
    serve: Serve, slow_model: Model
) -> None:
    served = await _streaming(
        serve, slow_model, asyncio.Semaphore(1), SERVER__SHUTDOWN_SECONDS="0.3"
    )
    async with aiohttp.ClientSession() as http:
        response = await _first_word(served, http)
        served.process.send_signal(signal.SIGINT)
        text = (await response.read()).decode()
    assert "event: error" in text
    assert "shutting_down" in text
    assert await asyncio.to_thread(served.status) == 130
    assert served.everyone() == []


async def test_a_process_that_keeps_dying_ends_the_server(serve: Serve) -> None:
    served = serve(1, SERVER__RESTARTS="1")
    for turn in (1, 2):
        pids = served.until(lambda n=turn: (p := served.started("engine"))[n - 1 :] and p)
        os.kill(pids[-1], signal.SIGKILL)
    assert await asyncio.to_thread(served.status) == 1
    assert served.everyone() == []
    assert "again and again" in "".join(served.lines)


@pytest.mark.parametrize("workers", ["0", "2"])
async def test_why_the_engine_cannot_start_is_said_once(
    serve: Serve, tmp_path: Path, workers: str
) -> None:
    served = serve(1)
    taken = served.url.rpartition(":")[2]
    command = [*START, "--json", "--home", str(served.home), "serve", "--workers", workers]
    locked = await asyncio.to_thread(_run, [*command, "--port", "0"], tmp_path)
    assert locked["code"] == "home_locked"
    assert str(served.process.pid) in locked["message"]
    command[command.index(str(served.home))] = str(tmp_path / "other")
    in_use = await asyncio.to_thread(_run, [*command, "--port", taken], tmp_path)
    assert in_use["code"] == "port_in_use"
    insecure = await asyncio.to_thread(_run, [*command, "--host", "0.0.0.0"], tmp_path)
    assert insecure["code"] == "insecure_bind"


def _run(command: list[str], folder: Path) -> dict[str, str]:
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    error = json.loads(done.stdout)["error"]
    return dict(error)
