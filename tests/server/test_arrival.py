"""What a request's head decides before its body is read: deadline, priority, room."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import openai
import pytest

from ragstone.domain.errors import (
    DeadlineExceeded,
    Overloaded,
    RagstoneError,
    ShuttingDown,
    TooManyRequests,
)
from ragstone.domain.principal import Principal, Priority
from ragstone.governance.keys import new_key
from ragstone.ports import Permit
from ragstone.server.refusals import RefusalLog
from tests.conftest import Logged
from tests.server.conftest import Running
from tests.virtual_loop import run

QUESTION = {"question": "Within how many days may full-price items be returned?"}
CHAT = {"model": "help", "messages": [{"role": "user", "content": QUESTION["question"]}]}
COSTLY: list[tuple[str, dict[str, Any]]] = [
    ("/v1/answers", QUESTION),
    ("/v1/search", {"query": "returns"}),
    ("/v1/chat/completions", CHAT),
    ("/v1/embeddings", {"input": "returns", "model": "fake"}),
]
OVERLOADED = Overloaded("The server has no room.", remedy="Try again later.", retry_after=2.4)
TOO_MANY = TooManyRequests("This tenant has its share.", remedy="Send fewer.", retry_after=1.0)


class _FreePermit:
    waited = 0.0

    def free_slot(self) -> None:
        """There is none."""

    def check_slot(self) -> None:
        """There is none."""

    async def take_slot(self) -> None:
        """There is none."""


@dataclass
class GateKeeper:
    """Implements `ports.Admission`: refuses what it is told to refuse, and writes down who came."""

    refusal: RagstoneError | None = None
    checked: list[dict[str, Any]] = field(default_factory=list)
    admitted: list[dict[str, Any]] = field(default_factory=list)
    in_flight: int = 0

    def check(
        self, principal: Principal, *, priority: Priority, weight: int, deadline: float
    ) -> None:
        self.checked.append({"priority": priority, "weight": weight, "deadline": deadline})
        if self.refusal is not None:
            raise self.refusal

    @asynccontextmanager
    async def admit(
        self,
        principal: Principal,
        *,
        priority: Priority,
        weight: int,
        deadline: float,
        slot: bool = True,
    ) -> AsyncIterator[Permit]:
        self.admitted.append({"priority": priority, "weight": weight, "deadline": deadline})
        yield _FreePermit()

    def close(self) -> None:
        self.refusal = ShuttingDown("The server stops.")


@pytest.fixture
def gate(server: Running) -> GateKeeper:
    keeper = GateKeeper()
    server.system.services = replace(server.system.services, admission=keeper)
    return keeper


async def _head_only(running: Running, path: str, *, length: int = 900_000) -> tuple[str, Any]:
    """The response to a request whose body never comes."""
    host, _, port = running.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {length}\r\n\r\n"
        writer.write(head.encode())
        got = (await reader.readuntil(b"\r\n\r\n")).decode()
        size = int(got.lower().partition("content-length: ")[2].partition("\r\n")[0])
        return got, json.loads(await reader.readexactly(size))
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("path", [path for path, _ in COSTLY])
@pytest.mark.parametrize(("refusal", "status"), [(OVERLOADED, 503), (TOO_MANY, 429)])
async def test_what_costs_is_refused_before_its_body_is_there(
    server: Running, gate: GateKeeper, path: str, refusal: RagstoneError, status: int
) -> None:
    gate.refusal = refusal
    head, body = await _head_only(server, path)
    assert head.startswith(f"HTTP/1.1 {status} ")
    assert f"retry-after: {3 if status == 503 else 1}\r\n" in head.lower()
    assert body["error"]["code"] == refusal.code
    assert body["error"]["retry_after"] == refusal.retry_after
    assert body["error"]["retriable"] is True
    assert gate.checked[0]["weight"] == 8
    assert not gate.admitted


async def test_what_costs_nothing_is_not_refused(server: Running, gate: GateKeeper) -> None:
    gate.refusal = OVERLOADED
    assert (await server.json("GET", "/v1/collections"))[0] == 200
    assert (await server.json("GET", "/health/ready"))[0] == 200
    assert not gate.checked


async def test_a_wrong_key_is_a_wrong_key_also_under_overload(
    server: Running, gate: GateKeeper
) -> None:
    await server.json("POST", "/v1/keys", {"scopes": ["ask"]})
    gate.refusal = OVERLOADED
    status, answer = await server.json("POST", "/v1/answers", QUESTION, key="rgs_wrong")
    assert (status, answer["error"]["code"]) == (401, "unauthenticated")
    assert not gate.checked


@pytest.mark.parametrize(("path", "body"), COSTLY)
@pytest.mark.parametrize("priority", ["critical", "sheddable", None])
async def test_the_keys_priority_and_one_deadline_reach_admission(
    server: Running, gate: GateKeeper, path: str, body: dict[str, Any], priority: Priority | None
) -> None:
    secret, key = new_key(
        tenant="default",
        user=None,
        groups=[],
        scopes=["ask"],
        label="",
        clock=server.system.clock,
        priority=priority,
    )
    await server.system.records.create_key(key)
    server.system.note_key_created()
    name = server.system.services.embedder.identity.name
    sent = {**body, "model": name} if "input" in body else body
    status, answer = await server.json("POST", path, sent, key=secret)
    assert status == 200, answer
    assert gate.checked == gate.admitted
    assert gate.checked[0]["priority"] == (priority or "standard")


@pytest.mark.parametrize(("path", "body"), COSTLY)
@pytest.mark.parametrize("header", ["0", "-5", "soon", "1e3", "", "٣", "9" * 400])
async def test_a_deadline_that_is_none_is_refused_by_its_name(
    server: Running, path: str, body: dict[str, Any], header: str
) -> None:
    headers = {"X-Request-Deadline-Ms": header}
    async with server.http.post(path, json=body, headers=headers) as response:
        error = (await response.json())["error"]
        assert (response.status, error["code"]) == (400, "invalid_request")
        assert error["param"] == "X-Request-Deadline-Ms"
        assert "X-Request-Deadline-Ms" in error["message"]


@pytest.mark.parametrize(("asked", "given"), [(None, 60.0), ("25000", 25.0), ("86400000", 60.0)])
async def test_the_shorter_of_the_clients_deadline_and_ours_holds(
    server: Running, gate: GateKeeper, asked: str | None, given: float
) -> None:
    before = server.system.clock.monotonic()
    headers = {"X-Request-Deadline-Ms": asked} if asked else {}
    async with server.http.post("/v1/answers", json=QUESTION, headers=headers) as response:
        assert response.status == 200
    [check] = gate.checked
    assert before + given <= check["deadline"] <= server.system.clock.monotonic() + given


async def test_the_deadline_runs_while_the_body_is_on_its_way(server: Running) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b'{"question":'
        await asyncio.Event().wait()

    headers = {"X-Request-Deadline-Ms": "20"}
    async with server.http.post("/v1/answers", data=slow(), headers=headers) as response:
        assert response.status == 504
        assert (await response.json())["error"]["code"] == "deadline_exceeded"


@pytest.mark.parametrize(
    ("refusal", "kind", "status"),
    [
        (OVERLOADED, openai.InternalServerError, 503),
        (TOO_MANY, openai.RateLimitError, 429),
        (DeadlineExceeded("Too late.", retry_after=1.5), openai.InternalServerError, 504),
    ],
)
async def test_openais_client_understands_a_refusal(
    server: Running,
    gate: GateKeeper,
    refusal: RagstoneError,
    kind: type[openai.APIStatusError],
    status: int,
) -> None:
    gate.refusal = refusal
    async with openai.AsyncOpenAI(
        base_url=f"{server.url}/v1", api_key="none", max_retries=0
    ) as client:
        with pytest.raises(kind) as caught:
            await client.chat.completions.create(
                model="help", messages=[{"role": "user", "content": "Returns?"}], stream=True
            )
    assert caught.value.status_code == status
    assert int(caught.value.response.headers["retry-after"]) >= 1
    assert caught.value.code == refusal.code
    assert len(gate.checked) == 1


@pytest.mark.parametrize(
    ("refusal", "tells"),
    [(OVERLOADED, True), (TOO_MANY, False), (DeadlineExceeded("Late."), False)],
)
async def test_only_a_lack_of_room_reaches_the_ladder(
    server: Running, gate: GateKeeper, refusal: RagstoneError, tells: bool
) -> None:
    gate.refusal = refusal
    seen: list[tuple[float, str]] = []
    ladder = server.system.services.ladder
    ladder.observe_wait = lambda *told: seen.append(told)  # type: ignore[method-assign]
    await server.json("POST", "/v1/answers", QUESTION)
    assert seen == ([(math.inf, "standard")] if tells else [])


@pytest.mark.parametrize(("path", "body"), COSTLY)
async def test_a_body_of_unknown_length_is_weighed_when_it_is_there(
    server: Running, gate: GateKeeper, path: str, body: dict[str, Any]
) -> None:
    async def padded() -> AsyncIterator[bytes]:
        name = server.system.services.embedder.identity.name
        yield json.dumps({**body, "model": name} if "input" in body else body).encode()
        yield b" " * 40_000

    async with server.http.post(path, data=padded()) as response:
        assert response.status == 200
    assert [check["weight"] for check in gate.checked] == [1]
    assert [visit["weight"] for visit in gate.admitted] == [3]


async def test_many_tiny_texts_weigh_by_their_number_and_are_embedded_in_turns(
    server: Running, gate: GateKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[str] = []
    monkeypatch.setattr(_FreePermit, "free_slot", lambda _: turns.append("free"))

    async def regain(_: _FreePermit) -> None:
        turns.append("regain")

    monkeypatch.setattr(_FreePermit, "take_slot", regain)
    texts = [f"text {number}" for number in range(150)]
    name = server.system.services.embedder.identity.name
    status, answer = await server.json("POST", "/v1/embeddings", {"input": texts, "model": name})
    assert status == 200
    assert [visit["weight"] for visit in gate.admitted] == [4]
    assert turns == ["free", "regain"] * 2
    assert [row["index"] for row in answer["data"]] == list(range(150))
    embedder = server.system.services.embedder
    assert answer["data"][149]["embedding"] == (await embedder.embed_documents(texts))[149]
    assert answer["usage"]["prompt_tokens"] == sum(map(embedder.count_tokens, texts))


async def test_refusals_are_counted_by_route(server: Running, gate: GateKeeper) -> None:
    gate.refusal = OVERLOADED
    for _ in range(3):
        assert (await server.json("POST", "/v1/answers", QUESTION))[0] == 503
    async with server.http.get("/metrics") as response:
        text = await response.text()
    labels = 'app="none",outcome="refused",route="/v1/answers"'
    assert f"rag_requests_total{{{labels}}} 3.0" in text
    assert 'rag_admission_rejections_total{class="standard",reason="overloaded"} 3.0' in text


def test_the_log_has_one_line_a_second_however_many_are_refused(logged: Logged) -> None:
    lines = logged("ragstone.server.refusals._log")

    async def scenario() -> None:
        log = RefusalLog()
        for _ in range(1000):
            log.count("overloaded")
        log.count("too_many_requests")
        await asyncio.sleep(1.5)
        log.count("overloaded")
        await asyncio.sleep(1.5)

    run(scenario())
    assert [(line["overloaded"], line.get("too_many_requests")) for line in lines] == [
        (1000, 1),
        (1, None),
    ]
