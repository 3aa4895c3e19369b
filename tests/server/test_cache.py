"""How caches are used, and clearing them, over HTTP."""

from typing import Any

from ragstone.pipeline.sweep import Sweeper
from tests.redis_server import redis_server
from tests.server.conftest import CARE, Running, Start

ASK = {"question": "How do I wash wool coats?", "stream": False}


async def _answer(server: Running) -> dict[str, Any]:
    status, answer = await server.json("POST", "/v1/answers", ASK)
    assert status == 200
    return answer


async def _use(server: Running, name: str) -> dict[str, Any]:
    _, found = await server.json("GET", "/v1/cache")
    return next(use for use in found["caches"] if use["cache"] == name)


async def test_look_ups_and_stores_are_told(server: Running) -> None:
    assert (await _use(server, "question"))["hit_ratio"] is None
    await _answer(server)
    await _answer(server)
    question = await _use(server, "question")
    assert (question["hits"], question["misses"], question["hit_ratio"]) == (1, 1, 0.5)
    assert (await _use(server, "embedding"))["misses"] == 1
    _, found = await server.json("GET", "/v1/cache")
    stores = {store["holds"]: store for store in found["stores"]}
    assert stores["answers"]["store"] == "memory"
    assert stores["answers"]["entries"] >= 1
    assert 0 < stores["answers"]["bytes"] <= stores["answers"]["max_bytes"]


async def test_cleared_answers_are_made_afresh(server: Running) -> None:
    await _answer(server)
    status, cleared = await server.json("DELETE", "/v1/cache?collection=help")
    assert (status, cleared["collections"]) == (200, ["help"])
    assert cleared["removed"] >= 1
    await _answer(server)
    assert (await _use(server, "question"))["hits"] == 0
    await server.json("DELETE", "/v1/cache")
    await _answer(server)
    assert (await _use(server, "question"))["hits"] == 0


async def test_an_unknown_collection_is_named(server: Running) -> None:
    status, refused = await server.json("DELETE", "/v1/cache?collection=hlep")
    assert status == 404
    assert refused["error"]["remedy"] == "Did you mean 'help'?"


async def test_processes_share_what_a_cache_server_keeps(start: Start) -> None:
    with redis_server() as url:
        cache = {"url": url, "timeout_seconds": 5}
        first = await start(cache=cache)
        await first.ingest({"care": CARE})
        await _answer(first)
        await _answer(first)
        assert (await _use(first, "question"))["hits"] == 1
        _, found = await first.json("GET", "/v1/cache")
        [store] = [store for store in found["stores"] if store["holds"] == "answers"]
        assert (store["store"], store["available"]) == ("redis", True)
        assert store["entries"] >= 1
        _, cleared = await first.json("DELETE", "/v1/cache")
        assert cleared["removed"] >= 1


async def test_installations_that_share_a_cache_server_leave_one_another_alone(
    start: Start,
) -> None:
    with redis_server() as url:
        cache = {"url": url, "timeout_seconds": 5}
        first, second = await start(cache=cache), await start(cache=cache)
        for each in (first, second):
            await each.ingest({"care": CARE})
            await _answer(each)
        assert (await second.json("DELETE", "/v1/cache"))[1]["removed"] >= 1
        system = second.system
        assert system.services.cache is not None
        sweeper = Sweeper(
            system.services.cache, system.records, clock=system.clock, pause_seconds=5
        )
        assert await sweeper.sweep() == 0
        assert (await _answer(first))["cache"] == "hit"
        assert (await _answer(second))["cache"] == "miss"
        assert first.system.home.installation != second.system.home.installation
