"""A gateway before an engine that another server is: `engine.url`, here over loopback."""

import asyncio
import json
import signal
import subprocess
from pathlib import Path

import aiohttp

from tests.processes.conftest import START, Serve, environment, serving

TEXTS = {"returns": "You may return full-price items within 45 days."}
TOKEN = "a token for gateways"


def _fails(folder: Path, *command: str, **settings: str) -> dict[str, str]:
    done = subprocess.run(
        [*START, "--json", "--home", str(folder / "gateway"), *command],
        cwd=folder,
        env=environment(**settings),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    return dict(json.loads(done.stdout)["error"])


async def test_a_gateway_of_another_host_answers_as_its_engine(
    serve: Serve, tmp_path: Path
) -> None:
    engine = serve(0, ENGINE__TOKEN=TOKEN)
    there = {"ENGINE__URL": engine.url, "ENGINE__TOKEN": TOKEN}
    body = {"question": "How long may I return items?", "collection": "help"}
    with serving(tmp_path / "gateway", 1, **there) as gateway:
        await asyncio.to_thread(gateway.until, lambda: gateway.url)
        await gateway.ingest(TEXTS)  # handed on
        status, answer = await gateway.ask("POST", "/v1/answers", body)
        assert (status, "45 days" in answer["answer"]) == (200, True)
        await engine.ingest({"returns": TEXTS["returns"].replace("45", "30")})
        _, answer = await gateway.ask("POST", "/v1/answers", body)
        assert "30 days" in answer["answer"]  # at once, though an answer was kept
        journals = tmp_path / "gateway" / "ledger"  # of what it spends, and nothing else
        assert list(journals.parent.iterdir()) == [journals]

        wrong = await asyncio.to_thread(_fails, tmp_path, "serve", "--port", "0", **{
            **there, "ENGINE__TOKEN": "wrong",
        })  # fmt: skip
        assert "token" in wrong["message"]
        bare = await asyncio.to_thread(_fails, tmp_path, "serve", "--host", "0.0.0.0", **there)
        assert bare["code"] == "insecure_bind"
        command = await asyncio.to_thread(_fails, tmp_path, "ask", "How long?", **there)
        assert (command["code"], engine.url in command["message"]) == ("invalid_settings", True)


async def test_a_second_signal_ends_at_once(serve: Serve, slow_model) -> None:  # type: ignore[no-untyped-def]
    url = await slow_model(asyncio.Semaphore(1), 4)
    served = serve(2, LLM__BASE_URL=url, LLM__MODEL="slow", SERVER__SHUTDOWN_SECONDS="600")
    await served.ingest(TEXTS)
    async with aiohttp.ClientSession() as http:
        body = {"question": "May I return it?", "collection": "help", "stream": True}
        response = await http.post(f"{served.url}/v1/answers", json=body)
        async for line in response.content:
            if b"word0" in line:
                break
        served.process.send_signal(signal.SIGTERM)
        await served.until_refusing()  # two that come together are one to the system
        served.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(served.status) == 0
        response.close()
    assert served.everyone() == []
