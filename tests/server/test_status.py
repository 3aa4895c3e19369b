"""`GET /v1/status`: what it says, to whom, and that it says nothing of anybody else."""

import asyncio
from math import inf

from ragstone.server.auth import LOCAL_OPERATOR
from tests.server.conftest import Running, Start

QUESTION = {"question": "Within how many days may full-price items be returned?"}


async def test_at_rest_no_rung_is_taken_and_every_breaker_is_closed(start: Start) -> None:
    running = await start(
        llm={
            "model": "a",
            "base_url": "http://127.0.0.1:9/v1",
            "fallbacks": [{"model": "b", "base_url": "http://127.0.0.1:9/v1"}],
        },
        reranker={"base_url": "http://127.0.0.1:9"},
    )
    status, told = await running.json("GET", "/v1/status")
    assert status == 200
    assert (told["rung"], told["level"], told["chunks_joined"]) == (None, 0, False)
    assert (told["in_flight"], told["waiting"], told["slots_in_use"]) == (0, 0, 0)
    assert {each["name"]: each["breaker"] for each in told["dependencies"]} == dict.fromkeys(
        ["model", "model_2", "embedder", "index", "reranker"], "closed"
    )


async def test_it_counts_what_runs_and_what_waits(start: Start) -> None:
    running = await start(admission={"concurrency": 1})
    admission = running.system.services.admission
    async with admission.admit(LOCAL_OPERATOR, priority="standard", weight=1, deadline=inf):
        body = {"input": "returns", "model": "fake"}
        asking = asyncio.create_task(running.json("POST", "/v1/embeddings", body))
        while not admission.waiting:
            await asyncio.sleep(0.005)
        _, told = await running.json("GET", "/v1/status")
        assert (told["in_flight"], told["waiting"], told["slots_in_use"]) == (1, 1, 1)
    await asking


async def test_load_shows_as_the_rung_that_it_has_taken(start: Start) -> None:
    running = await start(ladder={"climb_seconds": 0.001})
    ladder = running.system.services.ladder
    while ladder.level < 2:
        for _ in range(3):
            ladder.observe_wait(inf, "standard")
        await asyncio.sleep(0.002)
    _, told = await running.json("GET", "/v1/status")
    assert told["level"] >= 2
    assert told["rung"] == ladder.rung


async def test_it_needs_a_key_that_may_ask(server: Running) -> None:
    _, key = await server.json("POST", "/v1/keys", {"scopes": ["ask"]})
    admin = server.system.local_token
    _, other = await server.json("POST", "/v1/keys", {"scopes": ["ingest"]}, key=admin)
    assert (await server.json("GET", "/v1/status"))[0] == 401
    assert (await server.json("GET", "/v1/status", key=other["secret"]))[0] == 403
    assert (await server.json("GET", "/v1/status", key=key["secret"]))[0] == 200


async def test_it_is_told_also_when_nothing_else_is_let_in(server: Running) -> None:
    server.system.services.admission.close()
    assert (await server.json("POST", "/v1/answers", QUESTION))[0] == 503
    assert (await server.json("GET", "/v1/status"))[0] == 200
