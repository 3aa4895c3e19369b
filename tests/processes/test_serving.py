"""Several processes serve as one does: the same answers, the same doors, one set of numbers."""

import asyncio
import re
import signal
from typing import Any

from tests.processes.conftest import Serve, Served

TEXTS = {
    "returns": "You may return full-price items within 45 days. Sale items within 21 days.",
    "care": "Wash wool coats by hand in cold water. Never tumble dry wool.",
    "stores": "The store in Leeds opens at nine and closes at six.",
}
QUESTIONS = ("How long may I return items?", "How do I wash wool coats?", "When does Leeds open?")
MANY = 24
"""New connections, so that each gateway gets some."""


def _timeless(answer: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in answer.items() if k not in ("trace_id", "timings_ms", "cache")}


async def _answers(served: Served) -> list[Any]:
    found = []
    for question in QUESTIONS:
        body = {"question": question, "collection": "help"}
        status, answer = await served.ask("POST", "/v1/answers", body)
        assert status == 200, answer
        search = {"query": question, "collection": "help"}
        status, passages = await served.ask("POST", "/v1/search", search)
        assert status == 200, passages
        found.append((_timeless(answer), passages["passages"]))
    return found


async def test_gateways_answer_as_one_process_does(serve: Serve) -> None:
    several = serve(2)
    await several.ingest(TEXTS)
    through_gateways = await _answers(several)
    several.process.send_signal(signal.SIGTERM)
    assert several.status() == 0
    assert several.everyone() == []
    alone = serve(0)
    assert await _answers(alone) == through_gateways


async def test_keys_open_and_close_every_gateway(serve: Serve) -> None:
    served = serve(2)
    await served.ingest(TEXTS)
    assert (await served.ask("GET", "/v1/collections"))[0] == 200
    assert (await served.ask("GET", "/v1/collections", Host="evil.example"))[0] == 403
    assert (await served.ask("POST", "/v1/search", {"query": "x"}, Host="evil.example"))[0] == 403

    status, made = await served.ask("POST", "/v1/keys", {"scopes": ["admin"]})
    assert status == 201
    await asyncio.sleep(1.1)  # the second within which the others must have noticed
    search = {"query": "wool", "collection": "help"}
    for key, expected in ((None, 401), ("rgs_wrong", 401), (made["secret"], 200)):
        seen = {(await served.ask("POST", "/v1/search", search, key=key))[0] for _ in range(MANY)}
        assert seen == {expected}
        assert (await served.ask("GET", "/v1/documents?collection=help", key=key))[0] == expected
    elsewhere = {"X-Forwarded-For": "192.0.2.1"}
    assert (await served.ask("GET", "/metrics"))[0] == 200
    assert (await served.ask("GET", "/metrics", None, **elsewhere))[0] == 401

    admin = made["secret"]
    _, other = await served.ask("POST", "/v1/keys", {}, key=admin)
    assert (await served.ask("POST", "/v1/search", search, key=other["secret"]))[0] == 200
    path = f"/v1/keys/{other['key']['id']}"
    assert (await served.ask("DELETE", path, key=admin))[0] == 200
    await asyncio.sleep(1.1)
    for _ in range(MANY):
        assert (await served.ask("POST", "/v1/search", search, key=other["secret"]))[0] == 401


async def test_any_gateway_shows_the_metrics_of_all(serve: Serve) -> None:
    served = serve(2)
    await served.ingest(TEXTS)
    for _ in range(MANY):
        await served.ask("POST", "/v1/search", {"query": "wool", "collection": "help"})
    for _ in range(MANY):
        _, text = await served.ask("GET", "/metrics")
        found = re.findall(r'^rag_requests_total\{.*route="/v1/search".*\} (\S+)$', text, re.M)
        assert [float(value) for value in found] == [MANY]
        documents = re.findall(r'^rag_requests_total\{.*route="/v1/documents"\} (\S+)$', text, re.M)
        assert [float(value) for value in documents] == [1]


async def test_a_large_upload_and_a_refused_one_pass_through(serve: Serve) -> None:
    served = serve(1, INGEST__MAX_FILE_BYTES="1000000")
    await served.ingest({"long": "Granite kerb stones. " * 20_000})
    status, refused = await served.ask(
        "POST", "/v1/documents", {"documents": [{"id": "a", "text": "x" * 1_010_000}]}
    )
    assert (status, refused["error"]["code"]) == (413, "payload_too_large")
    status, found = await served.ask("POST", "/v1/search", {"query": "kerb", "collection": "help"})
    assert status == 200
    assert found["passages"]
