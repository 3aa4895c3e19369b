"""The limits of a server hold over its gateways, and an engine does not refuse what they admit."""

import asyncio
import re
import time

from tests.processes.conftest import Model, Serve, Served

TEXTS = {"returns": "You may return full-price items within 45 days."}


async def _limit(served: Served, name: str) -> float:
    _, text = await served.ask("GET", "/metrics")
    (value,) = re.findall(rf'^{name}{{dependency="answers"}} (\S+)$', text, re.M)
    return float(value)


async def _question(served: Served, number: int) -> int:
    body = {"question": f"May I return item {number}?", "collection": "help"}
    return (await served.ask("POST", "/v1/answers", body))[0]


async def test_the_limit_of_two_gateways_is_one_and_shown_as_it_is(serve: Serve) -> None:
    served = serve(2, ADMISSION__CONCURRENCY="1", ADMISSION__QUEUE="64")
    await served.ingest(TEXTS)
    seen = [await asyncio.gather(*(_question(served, n + t) for n in range(8))) for t in (0, 50)]
    assert {status for statuses in seen for status in statuses} == {200}
    # Each gateway tells its own twice a second, and when it is asked for all.
    while await _limit(served, "rag_concurrency_limit") != 1:
        await asyncio.sleep(0.05)
    while await _limit(served, "rag_in_flight"):
        await asyncio.sleep(0.05)


async def test_the_places_of_all_gateways_are_as_many_as_set(
    serve: Serve, slow_model: Model
) -> None:
    more = asyncio.Semaphore(0)
    url = await slow_model(more, 1)
    served = serve(2, LLM__BASE_URL=url, LLM__MODEL="slow", ADMISSION__IN_FLIGHT="4")
    await served.ingest(TEXTS)
    asked = [asyncio.create_task(_question(served, number)) for number in range(24)]
    refused = 0
    while refused < 20:  # four are held, by whichever gateways have them
        done, _ = await asyncio.wait(asked, return_when="FIRST_COMPLETED", timeout=1)
        refused = len(done)
        if await _limit(served, "rag_in_flight") == 24 - refused <= 4:
            break
    for _ in range(24):
        more.release()
    statuses = [await one for one in asked]
    assert set(statuses) == {200, 503}
    assert 1 <= statuses.count(200) <= 4


async def test_a_quota_is_one_over_gateways_and_engine(serve: Serve) -> None:
    limit = 20
    served = serve(2, QUOTAS__TENANT_REQUESTS_PER_MINUTE=str(limit))
    began = time.monotonic()
    await served.ingest(TEXTS)  # the engine's
    search = {"query": "items", "collection": "help"}
    asked = [served.ask("POST", "/v1/search", search) for _ in range(30)]  # the gateways'
    statuses = [status for status, _ in await asyncio.gather(*asked)]
    empty = {"documents": []}
    statuses += [(await served.ask("POST", "/v1/documents", empty))[0] for _ in range(5)]
    within = limit * (1 + (time.monotonic() - began) / 60)
    let_in = 1 + sum(status != 429 for status in statuses)
    assert set(statuses) <= {200, 400, 429}
    assert limit <= let_in <= within
