"""Requests and tokens in a minute, as a client meets them."""

from typing import Any

import aiohttp
import openai
import pytest

from ragstone.domain.clock import SystemClock
from ragstone.domain.errors import BudgetExhausted
from ragstone.domain.usage import Usage
from ragstone.models.llms.fake import ScriptedModel
from ragstone.server.errors import rendered
from tests.server.conftest import POLICY, Running, Start

QUESTION = "Within how many days may full-price items be returned?"
ASK = {"question": QUESTION, "collection": "help"}
NAMES = ("limit", "remaining", "reset")
pytestmark = pytest.mark.usefixtures("still_minute")


async def _key(server: Running, **own: int) -> str:
    status, made = await server.json(
        "POST", "/v1/keys", {"scopes": ["ask", "ingest"], **own}, key=server.system.local_token
    )
    assert status == 201
    return str(made["secret"])


async def _post(
    server: Running, path: str, body: object, key: str
) -> tuple[aiohttp.ClientResponse, Any]:
    headers = {"Authorization": f"Bearer {key}"}
    async with server.http.post(path, json=body, headers=headers) as response:
        if response.content_type == "text/event-stream":
            return response, await response.text()
        return response, await response.json()


def _told(response: aiohttp.ClientResponse, unit: str) -> list[str | None]:
    return [response.headers.get(f"X-RateLimit-{name}-{unit}") for name in NAMES]


@pytest.fixture
async def modelled(start: Start) -> Running:
    """With a model that says what it used, and no cache."""
    server = await start(llm={"max_tokens": 100}, cache={"enabled": False})
    await server.ingest({"returns": POLICY})
    usage = Usage(input_tokens=11, output_tokens=5)
    server.system.use_model(
        ScriptedModel(["Forty-five days [1]."], clock=SystemClock(), usage=usage)
    )
    return server


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/answers", ASK),
        ("/v1/answers", {**ASK, "stream": True}),
        ("/v1/search", {"query": "returns", "collection": "help"}),
        ("/v1/chat/completions", {"model": "help", "messages": [{"role": "user", "content": "?"}]}),
        ("/v1/documents", {"collection": "more", "documents": [{"id": "a", "text": "A wool."}]}),
    ],
)
async def test_what_does_work_counts_and_the_next_one_is_refused(
    server: Running, path: str, body: object
) -> None:
    key = await _key(server, requests_per_minute=1)
    response, _ = await _post(server, path, body, key)
    assert response.status in (200, 202)
    limit, remaining, reset = _told(response, "Requests")
    assert (limit, remaining) == ("1", "0")
    assert (reset or "").endswith("s")
    assert _told(response, "Tokens") == [None] * 3
    response, refused = await _post(server, path, body, key)
    assert response.status == 429
    assert refused["error"]["code"] == "rate_limited"
    assert refused["error"]["type"] == "rate_limit_error"
    assert 0 < int(response.headers["Retry-After"]) <= 60
    assert _told(response, "Requests")[:2] == ["1", "0"]


async def test_a_flood_is_refused_cheaply_counted_and_harms_nobody_else(server: Running) -> None:
    flooding = await _key(server, requests_per_minute=5)
    calm = await _key(server)
    statuses = [(await _post(server, "/v1/answers", ASK, flooding))[0].status for _ in range(50)]
    assert statuses == [200] * 5 + [429] * 45
    assert (await _post(server, "/v1/answers", ASK, calm))[0].status == 200
    async with server.http.get("/metrics") as response:
        text = await response.text()
    (counted,) = (
        line
        for line in text.splitlines()
        if line.startswith("rag_admission_rejections_total") and 'reason="rate_limited"' in line
    )
    assert float(counted.rsplit(" ", 1)[1]) == 45


async def test_a_tenants_limit_holds_over_its_keys(start: Start) -> None:
    server = await start(quotas={"tenant_requests_per_minute": 3})
    keys = [await _key(server) for _ in range(2)]
    body = {"query": "returns", "collection": "help"}
    got = [(await _post(server, "/v1/search", body, keys[n % 2]))[0].status for n in range(4)]
    assert got[3] == 429
    assert 429 not in got[:3]


async def test_who_is_not_limited_is_told_nothing(server: Running) -> None:
    response, _ = await _post(server, "/v1/answers", ASK, await _key(server, requests_per_minute=0))
    assert response.status == 200
    assert not [name for name in response.headers if "ratelimit" in name.lower()]


async def test_reading_does_not_count(server: Running) -> None:
    key = await _key(server, requests_per_minute=1)
    for _ in range(5):
        assert (await server.json("GET", "/v1/collections", key=key))[0] == 200


async def test_tokens_are_charged_at_most_and_corrected_when_the_answer_is_there(
    modelled: Running,
) -> None:
    key = await _key(modelled, tokens_per_minute=2_000)
    response, answer = await _post(modelled, "/v1/answers", ASK, key)
    assert (response.status, answer["answer_kind"]) == (200, "generated")
    limit, remaining, _ = _told(response, "Tokens")
    assert limit == "2000"
    assert 2_000 - 16 <= int(remaining or 0) <= 2_000


async def test_tokens_beyond_the_limit_are_refused(modelled: Running) -> None:
    key = await _key(modelled, tokens_per_minute=16)
    assert (await _post(modelled, "/v1/answers", ASK, key))[0].status == 200
    response, refused = await _post(modelled, "/v1/answers", ASK, key)
    assert response.status == 429
    assert refused["error"]["code"] == "tokens_rate_limited"
    assert 0 < int(response.headers["Retry-After"]) <= 60
    response, events = await _post(modelled, "/v1/answers", {**ASK, "stream": True}, key)
    assert response.status in (200, 429)
    assert "tokens_rate_limited" in str(events)


async def test_openais_client_knows_the_refusals(modelled: Running) -> None:
    key = await _key(modelled, requests_per_minute=1)
    asked: Any = {"model": "help", "messages": [{"role": "user", "content": QUESTION}]}
    url = f"{modelled.url}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0) as client:
        raw = await client.chat.completions.with_raw_response.create(**asked)
        assert raw.headers["x-ratelimit-limit-requests"] == "1"
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(**asked)
    assert (caught.value.code, caught.value.type) == ("rate_limited", "rate_limit_error")


def test_a_spent_budget_is_429_until_its_period_ends() -> None:
    error = BudgetExhausted("The month's budget is spent.", retry_after=86_400.0)
    status, headers, body = rendered(error, "0" * 32)
    assert (status, headers["Retry-After"]) == (429, "86400")
    assert b'"budget_exhausted"' in body
    assert b'"insufficient_quota"' in body
