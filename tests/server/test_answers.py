"""Questions over HTTP: answers, streams, refusals, and what is said when something is missing."""

import asyncio
import json
from itertools import groupby
from typing import Any

import pytest

from ragstone.domain.clock import SystemClock
from ragstone.domain.errors import (
    ModelAuthentication,
    ModelFailed,
    ModelProtocolError,
    ModelUnreachable,
)
from ragstone.domain.usage import Usage
from ragstone.models.llms.fake import ScriptedModel
from ragstone.system import System
from tests.server.conftest import Running, Start

POLICY_TEXT = "You may return full-price items within 45 days of delivery."
QUESTION = "Within how many days may full-price items be returned?"


def _use(system: System, model: ScriptedModel) -> ScriptedModel:
    system.use_model(model)
    return model


def _model(*deltas: str, **options: Any) -> ScriptedModel:
    return ScriptedModel(deltas, clock=SystemClock(), **options)


async def _events(running: Running, path: str, body: dict[str, Any]) -> list[tuple[str, Any]]:
    async with running.http.post(path, json=body) as response:
        assert response.status == 200, await response.text()
        assert response.headers["Content-Type"].startswith("text/event-stream")
        raw = (await response.read()).decode()
    events = []
    for block in raw.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        events.append((fields["event"], json.loads(fields["data"])))
    return events


async def test_an_answer_without_a_model_is_taken_from_the_documents(server: Running) -> None:
    status, answer = await server.json("POST", "/v1/answers", {"question": QUESTION})
    assert status == 200
    assert answer["answer_kind"] == "extractive"
    assert "45 days" in answer["answer"]
    citation = answer["citations"][0]
    assert citation["external_id"] == "returns"
    _, shown = await server.json("GET", f"/v1/documents/{citation['document_id']}")
    span = citation["span"]
    assert shown["text"][span["start"] : span["end"]] == citation["text"]
    assert {"embed", "retrieve", "pack", "generate", "total"} <= set(answer["timings_ms"])
    assert answer["degraded"] == []
    assert len(answer["trace_id"]) == 32


async def test_a_question_that_the_documents_do_not_answer_is_not_answered(
    server: Running,
) -> None:
    status, answer = await server.json(
        "POST", "/v1/answers", {"question": "Who won the chess championship in Reykjavik?"}
    )
    assert status == 200
    assert answer["answer_kind"] == "not_found"
    assert "not found in the documents" in answer["answer"]
    assert answer["citations"] == []


async def test_a_model_writes_from_the_passages_and_cites_them(server: Running) -> None:
    model = _use(
        server.system,
        _model("Full-price items: 45 ", "days [", "1].", usage=Usage(input_tokens=9)),
    )
    _, answer = await server.json("POST", "/v1/answers", {"question": QUESTION})
    assert answer["answer_kind"] == "generated"
    assert answer["answer"] == "Full-price items: 45 days [1]."
    assert answer["citations"][0]["text"].startswith("You may return full-price items")
    assert answer["usage"]["input_tokens"] == 9
    assert "45 days" in model.prompts[0].messages[-1].content


async def test_a_stream_tells_passages_deltas_citations_done_in_this_order(
    server: Running,
) -> None:
    _use(server.system, _model("Forty-five days ", "[1]."))
    events = await _events(
        server, "/v1/answers", {"question": QUESTION, "stream": True, "collection": "help"}
    )
    names = [name for name, _ in groupby(name for name, _ in events)]  # some deltas are joined
    assert names == ["passages", "delta", "citations", "done"]
    assert (
        "".join(data["text"] for name, data in events if name == "delta") == "Forty-five days [1]."
    )
    assert events[-1][1]["answer"]["answer"] == "Forty-five days [1]."
    assert events[-1][1]["type"] == "done"


async def test_numbers_that_cite_nothing_are_removed_and_said(server: Running) -> None:
    _use(server.system, _model("Thirty days [7]."))
    _, answer = await server.json("POST", "/v1/answers", {"question": QUESTION})
    assert answer["answer"] == "Thirty days ."
    assert {"citations_removed", "uncited"} <= set(answer["degraded"])


async def test_figures_that_the_passages_lack_are_said(server: Running) -> None:
    _use(server.system, _model("You have 60 days [1]."))
    _, answer = await server.json("POST", "/v1/answers", {"question": QUESTION})
    assert answer["degraded"] == ["unverified_figures"]


@pytest.mark.parametrize(
    "error",
    [
        ModelUnreachable("It refuses connections."),
        ModelAuthentication("It answered 401."),
        ModelFailed("It answered 500."),
        ModelProtocolError("It sent garbage."),
    ],
)
async def test_a_model_that_fails_at_once_is_replaced_by_an_extract(
    server: Running, error: Exception
) -> None:
    _use(server.system, _model("never", error=error))
    status, answer = await server.json("POST", "/v1/answers", {"question": QUESTION})
    assert status == 200
    assert answer["answer_kind"] == "extractive"
    assert answer["degraded"] == ["extractive_answer"]
    assert answer["notices"] == [{"code": error.code, "message": error.message}]  # type: ignore[attr-defined]


async def test_a_model_that_fails_after_its_first_word_ends_the_stream_with_one_error(
    server: Running,
) -> None:
    model = _use(
        server.system, _model("Forty", "-five", error=ModelFailed("It broke."), error_after=1)
    )
    events = await _events(server, "/v1/answers", {"question": QUESTION, "stream": True})
    assert [name for name, _ in events] == ["passages", "delta", "error"]
    assert events[-1][1]["error"]["code"] == "model_failed"
    assert model.open_streams == 0


async def test_a_client_that_leaves_ends_the_work_and_settles_it(server: Running) -> None:
    forever = asyncio.Event()
    model = _use(
        server.system,
        _model("Forty", "-five", delay=1.0, sleep=lambda seconds: _once(seconds, forever)),
    )
    response = await server.http.post("/v1/answers", json={"question": QUESTION, "stream": True})
    async for line in response.content:
        if line.startswith(b"event: delta"):
            break
    response.close()
    ledger = server.system.services.ledger
    while model.open_streams or ledger.open_reservations:  # type: ignore[attr-defined]
        await asyncio.sleep(0.01)
    assert model.closed_early == 1 or forever.is_set() is False
    written = server.system.metrics.tokens.labels("output", model.name)
    assert written.value > 0
    assert server.system.services.admission.in_flight == 0  # type: ignore[attr-defined]


async def _once(seconds: float, forever: asyncio.Event) -> None:
    if seconds:
        await forever.wait()


async def test_the_same_question_again_is_served_from_the_cache_until_a_document_changes(
    server: Running,
) -> None:
    model = _use(server.system, _model("Forty-five days [1]."))
    outcomes = []
    for _ in range(2):
        _, answer = await server.json("POST", "/v1/answers", {"question": QUESTION})
        outcomes.append(answer["cache"])
    await server.ingest({"returns": "Full-price items may be returned within 60 days."})
    _, answer = await server.json("POST", "/v1/answers", {"question": QUESTION})
    outcomes.append(answer["cache"])
    assert outcomes == ["miss", "hit", "miss"]
    assert len(model.prompts) == 2


async def test_a_degraded_answer_is_not_kept(server: Running) -> None:
    model = _use(server.system, _model("never", error=ModelFailed("It broke.")))
    for _ in range(2):
        _, answer = await server.json("POST", "/v1/answers", {"question": QUESTION})
        assert answer["cache"] == "miss"
    assert len(model.prompts) == 2


@pytest.mark.parametrize(
    ("body", "status", "code", "word"),
    [
        ({}, 400, "invalid_request", "question"),
        ({"question": ""}, 400, "invalid_request", "empty"),
        ({"question": " \n"}, 400, "invalid_request", "empty"),
        ({"question": "x" * 100_000}, 413, "payload_too_large", "characters"),
        ({"question": "x", "top_k": 0}, 400, "invalid_request", "top_k"),
        ({"question": "x", "top_k": -3}, 400, "invalid_request", "top_k"),
        ({"question": "x", "top_k": 100_000}, 400, "invalid_request", "top_k"),
        ({"question": "x", "tenant": "other"}, 400, "invalid_request", "tenant"),
        ({"question": "x", "groups": ["boss"]}, 400, "invalid_request", "groups"),
        ({"question": "x", "collection": "hlep"}, 404, "unknown_collection", "'help'"),
        ({"question": "x", "mode": "magic"}, 400, "invalid_request", "mode"),
        ({"question": "x", "filters": [{"field": "colour", "any_of": ["red"]}]}, 400,
         "invalid_filter", "colour"),
    ],
)  # fmt: skip
async def test_a_wrong_question_is_refused_with_what_to_do(
    server: Running, body: dict[str, Any], status: int, code: str, word: str
) -> None:
    got, answer = await server.json("POST", "/v1/answers", body)
    assert (got, answer["error"]["code"]) == (status, code), answer
    text = f"{answer['error']['message']} {answer['error']['remedy']}"
    assert word in text
    assert answer["error"]["remedy"]
    assert len(answer["error"]["trace_id"]) == 32


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"question": "\xff"}', b"null", b"{} x"])
async def test_a_body_that_is_not_json_is_refused(server: Running, raw: bytes) -> None:
    async with server.http.post("/v1/answers", data=raw) as response:
        answer = await response.json()
        assert response.status == 400
        assert answer["error"]["code"] == "invalid_request"


async def test_a_body_beyond_the_limit_is_refused(start: Start) -> None:
    running = await start(server={"max_body_bytes": 2_000})
    status, answer = await running.json("POST", "/v1/answers", {"question": "x" * 3_000})
    assert (status, answer["error"]["code"]) == (413, "payload_too_large")


async def test_a_question_that_finds_no_place_is_refused_with_when_to_come_back(
    start: Start,
) -> None:
    running = await start(admission={"in_flight": 1})
    await running.ingest({"returns": POLICY_TEXT})
    release = asyncio.Event()
    _use(running.system, _model("Yes [1].", first_delay=1.0, sleep=lambda _: release.wait()))
    first = asyncio.create_task(running.json("POST", "/v1/answers", {"question": QUESTION}))
    while not running.system.services.admission.in_flight:
        await asyncio.sleep(0.005)
    async with running.http.post("/v1/answers", json={"question": QUESTION}) as response:
        assert response.status == 503
        assert int(response.headers["Retry-After"]) >= 1
        assert (await response.json())["error"]["code"] == "overloaded"
    release.set()
    assert (await first)[0] == 200


async def test_silence_is_filled_with_comments(start: Start) -> None:
    running = await start(server={"heartbeat_seconds": 0.02})
    await running.ingest({"returns": POLICY_TEXT})
    release = asyncio.Event()
    _use(running.system, _model("Yes [1].", first_delay=1.0, sleep=lambda _: release.wait()))
    async with running.http.post(
        "/v1/answers", json={"question": QUESTION, "stream": True}
    ) as response:
        comments = 0
        async for line in response.content:
            if line.startswith(b": "):
                comments += 1
                if comments == 2:
                    release.set()
        assert comments >= 2


async def test_unknown_paths_and_methods_are_answered_in_the_same_form(server: Running) -> None:
    status, answer = await server.json("GET", "/v1/answer")
    assert (status, answer["error"]["code"]) == (404, "not_found")
    assert "/v1/answers" in answer["error"]["remedy"]
    status, answer = await server.json("GET", "/v1/answers")
    assert (status, answer["error"]["code"]) == (405, "invalid_request")


async def test_the_callers_trace_id_is_kept(server: Running) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    async with server.http.post(
        "/v1/answers", json={"question": QUESTION}, headers=headers
    ) as response:
        assert (await response.json())["trace_id"] == trace
        assert response.headers["X-Trace-Id"] == trace


async def test_conversations_reach_the_model(server: Running) -> None:
    model = _use(server.system, _model("Forty-five days [1]."))
    body = {
        "question": "How long does that take?",
        "conversation": [
            {"role": "user", "content": "May full-price items be returned?"},
            {"role": "assistant", "content": "Yes [1]."},
        ],
    }
    await server.json("POST", "/v1/answers", body)
    assert [message.role for message in model.prompts[0].messages] == ["user", "assistant", "user"]


async def test_answers_that_were_cut_say_so(server: Running) -> None:
    _use(server.system, _model("Forty-five [1]", reason="length"))
    _, answer = await server.json("POST", "/v1/answers", {"question": QUESTION})
    assert "answer_cut_by_length" in answer["degraded"]
