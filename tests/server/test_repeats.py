"""A question that comes again is told at once what is kept, and nobody sees but by the time."""

import asyncio
import contextlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

import pytest
from starlette.types import Receive, Scope, Send

from ragstone.domain.clock import SystemClock
from ragstone.models.llms.fake import ScriptedModel
from ragstone.pipeline.answer import Begun, begin
from ragstone.pipeline.asked import Asked
from ragstone.pipeline.services import AtHand, Services
from ragstone.server import answers, repeats, repeats_connection, run
from ragstone.server.endpoint import Endpoint
from ragstone.server.repeats import Repeats
from ragstone.server.repeats_connection import RepeatsConnection
from ragstone.system import System
from tests.server.conftest import CARE, POLICY, Running, Start

ASK = {"question": "Within how many days may full-price items be returned?", "collection": "help"}
_OWN = {"timings_ms", "trace_id", "cache_age_seconds"}
"""Fields that differ from one answer to the next."""

Seen = list[str]


@pytest.fixture(autouse=True)
def _nothing_grows_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and collections are looked up anew, in the ordinary way, when half of their second is
    over: soon on a busy machine."""
    monkeypatch.setattr("ragstone.records.cached_reader.TTL_SECONDS", 600.0)


@pytest.fixture
def endpoints(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Of each question that went the ordinary way its path."""
    seen: Seen = []
    ordinary: Callable[..., Awaitable[None]] = Endpoint.__call__

    async def noted(self: Endpoint, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/v1/answers":
            seen.append(scope["path"])
        await ordinary(self, scope, receive, send)

    monkeypatch.setattr(Endpoint, "__call__", noted)
    return seen


async def new_key(server: Running, **own: Any) -> str:
    body = {"scopes": ["ask", "ingest"], **own}
    status, made = await server.json("POST", "/v1/keys", body, key=server.system.local_token)
    assert status == 201, made
    return str(made["secret"])


async def whole(
    server: Running, key: str, body: object = ASK, **headers: str
) -> tuple[int, Mapping[str, str], Any]:
    sent = {"Authorization": f"Bearer {key}", **headers}
    async with server.http.post("/v1/answers", json=body, headers=sent) as response:
        return response.status, response.headers, await response.json()


async def told(server: Running, key: str, body: object = ASK) -> str:
    """`hit at once`, or how the ordinary way ended."""
    status, _, answer = await whole(server, key, body)
    return str(answer["cache"] if status == 200 else answer["error"]["code"])


async def kept(server: Running, key: str, endpoints: Seen, body: object = ASK) -> None:
    """Until the answer is told at once."""
    while True:
        endpoints.clear()
        assert await told(server, key, body) in ("miss", "hit")
        if not endpoints:
            return


async def series(server: Running, name: str, *labels: str) -> float:
    async with server.http.get("/metrics") as response:
        text = await response.text()
    found = [
        line
        for line in text.splitlines()
        if line.startswith(name + "{") and all(label in line for label in labels)
    ]
    return sum(float(line.rpartition(" ")[2]) for line in found)


async def test_both_ways_say_the_same(start: Start, endpoints: Seen) -> None:
    server = await start(quotas={"key_requests_per_minute": 1000})
    await server.ingest({"returns": POLICY})
    server.system.use_model(ScriptedModel(["Forty-five days [1]."], clock=SystemClock()))
    key = await new_key(server)
    await kept(server, key, endpoints)
    trace = "0af7651916cd43dd8448eb211c80319c"
    one = {"X-Odd": "1", "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    status, headers, answer = await whole(server, key, **one)
    assert endpoints == []
    ordinary = await whole(server, key, **{**one, "X-Request-Deadline-Ms": "9000"})
    assert endpoints == ["/v1/answers"]
    assert (status, answer["cache"]) == (200, "hit") == (ordinary[0], ordinary[2]["cache"])
    assert {name: answer[name] for name in answer if name not in _OWN} == {
        name: ordinary[2][name] for name in ordinary[2] if name not in _OWN
    }
    assert answer["trace_id"] == headers["X-Trace-Id"] == trace
    assert set(answer["timings_ms"]) == {"recall", "total"}
    assert answer["receipt"]["saved_nanodollars"] == ordinary[2]["receipt"]["saved_nanodollars"]
    varying = {"date", "content-length", "x-ratelimit-remaining-requests"}
    varying |= {"x-ratelimit-reset-requests"}
    assert {
        name.lower(): value for name, value in headers.items() if name.lower() not in varying
    } == {n.lower(): value for n, value in ordinary[1].items() if n.lower() not in varying}
    left = [int(each["X-RateLimit-Remaining-Requests"]) for each in (headers, ordinary[1])]
    assert left[1] < left[0] < 1000


async def test_it_is_counted_billed_and_logged(
    start: Start, endpoints: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[dict[str, Any]] = []
    monkeypatch.setattr(repeats, "say", lambda log, event, line: lines.append(line))
    server = await start()
    await server.ingest({"returns": POLICY})
    key = await new_key(server)
    await kept(server, key, endpoints)

    async def counted() -> list[float]:
        label = 'route="/v1/answers"'
        return [
            await series(server, "rag_requests_total", label, 'outcome="ok"'),
            await series(server, "rag_request_duration_seconds_count", label),
            await series(server, "rag_cache_requests_total", 'cache="question"', 'outcome="hit"'),
            await series(server, "rag_stage_duration_seconds_count", 'stage="recall"'),
        ]

    async def asked() -> int:
        _, found = await server.json("GET", "/v1/usage?by=tenant", key=server.system.local_token)
        return sum(line["questions"] for line in found["lines"])

    before = await counted()
    endpoints.clear()
    lines.clear()
    for _ in range(5):
        assert await told(server, key) == "hit"
    assert endpoints == []
    assert [now - then for then, now in zip(before, await counted(), strict=True)] == [5] * 4
    assert [(line["route"], line["status"], line["cache"]) for line in lines] == [
        ("/v1/answers", 200, "hit")
    ] * 5
    all_asked = int(before[0]) + 5
    while await asked() < all_asked:
        await asyncio.sleep(0.01)
    assert await asked() == all_asked


async def test_what_is_not_as_it_was_goes_the_ordinary_way(
    server: Running, endpoints: Seen
) -> None:
    model = ScriptedModel(["Forty-five days [1]."], clock=SystemClock())
    server.system.use_model(model)
    key, other = await new_key(server), await new_key(server, groups=["staff"])
    admin = server.system.local_token

    await kept(server, key, endpoints)
    assert endpoints == []
    await told(server, other)  # who may read other documents
    assert endpoints == ["/v1/answers"]
    await server.ingest({"returns": POLICY.replace("45", "60")}, key=key)
    assert await told(server, key) == "miss"

    await kept(server, key, endpoints)
    _, _, answer = await whole(server, key)
    document = answer["passages"][0]["document_id"]
    assert (await server.json("DELETE", f"/v1/documents/{document}", key=key))[0] == 200
    assert await told(server, key) == "miss"

    await kept(server, key, endpoints)
    assert (await server.json("DELETE", "/v1/cache", key=admin))[0] == 200
    assert await told(server, key) == "miss"

    await kept(server, key, endpoints)
    server.system.use_model(ScriptedModel(["45 [1]."], clock=SystemClock()))
    await told(server, key)
    assert endpoints == ["/v1/answers"]

    await kept(server, key, endpoints)
    _, keys = await server.json("GET", "/v1/keys", key=admin)
    for known in keys["keys"]:
        await server.json("DELETE", f"/v1/keys/{known['id']}", key=admin)
    assert await told(server, key) == "unauthenticated"


@pytest.mark.usefixtures("still_minute")
async def test_quotas_hold(start: Start, endpoints: Seen) -> None:
    server = await start()
    await server.ingest({"returns": POLICY})
    key = await new_key(server, requests_per_minute=12)
    seen = [await told(server, key) for _ in range(14)]
    assert seen == ["miss", *["hit"] * 11, "rate_limited", "rate_limited"]
    assert len(endpoints) < 12


@pytest.mark.parametrize("name", [{}, {"collection": ""}, {"collection": None}])
async def test_a_default_collection_that_may_be_another_is_looked_up(
    start: Start, endpoints: Seen, name: dict[str, Any]
) -> None:
    """Without a name it is the only one there is, until there is another."""
    server = await start()
    await server.ingest({"returns": POLICY}, collection="only")
    key = await new_key(server)
    unnamed = {"question": ASK["question"], **name}
    assert [await told(server, key, unnamed) for _ in range(3)] == ["miss", "hit", "hit"]
    assert len(endpoints) == 3
    await server.ingest({"care": CARE}, collection="default", key=key)
    status, _, answer = await whole(server, key, unnamed)
    assert (status, answer["collection"]) == (200, "default")


async def test_what_began_with_another_model_is_not_told_again(
    server: Running, endpoints: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def use(name: str) -> None:
        server.system.use_model(ScriptedModel([f"By {name} [1]."], clock=SystemClock(), name=name))

    key, other = await new_key(server), await new_key(server)
    use("first")
    assert await told(server, key) == "miss"

    async def switched_meanwhile(asked: Asked, s: Services) -> Begun:
        begun = await begin(asked, s)
        monkeypatch.setattr(answers, "begin", begin)
        use("second")
        await told(server, other)
        return begun

    monkeypatch.setattr(answers, "begin", switched_meanwhile)
    assert (await whole(server, key))[2]["model"] == "first"
    assert (await whole(server, key))[2]["model"] == "second"


@pytest.fixture
def remembered(monkeypatch: pytest.MonkeyPatch) -> list[Repeats]:
    """What the servers that are started remember."""
    made: list[Repeats] = []

    def make(system: System, at_hand: AtHand) -> Repeats:
        made.append(Repeats(system, at_hand))
        return made[-1]

    monkeypatch.setattr(run, "Repeats", make)
    return made


async def test_of_a_key_that_was_revoked_nothing_is_left_once_it_is_shown(
    remembered: list[Repeats], server: Running, endpoints: Seen
) -> None:
    key = await new_key(server)
    await kept(server, key, endpoints)
    assert len(remembered[0]) == 1
    _, keys = await server.json("GET", "/v1/keys", key=server.system.local_token)
    await server.json("DELETE", f"/v1/keys/{keys['keys'][0]['id']}", key=server.system.local_token)
    assert await told(server, key) == "unauthenticated"
    assert len(remembered[0]) == 0


async def test_a_server_that_stops_tells_nobody_at_once(server: Running, endpoints: Seen) -> None:
    key = await new_key(server)
    await kept(server, key, endpoints, {**ASK, "question": QUESTIONS[0]})
    async with Raw(server, key) as raw:
        server.serving.cancel()
        for _ in range(3):  # the loop's turns until it stops
            await asyncio.sleep(0)
        await raw.send(raw.request(QUESTIONS[0]))
        with contextlib.suppress(asyncio.IncompleteReadError):  # closed by then
            assert (await raw.answer())[0] == 503


class Raw:
    """A client that sends bytes as it likes."""

    def __init__(self, server: Running, key: str) -> None:
        self._server = server
        self._key = key

    async def __aenter__(self) -> "Raw":
        host, _, port = self._server.url.removeprefix("http://").partition(":")
        self._reader, self._writer = await asyncio.open_connection(host, int(port))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    def request(self, question: str, *head: str, chunked: bool = False) -> bytes:
        body = json.dumps({**ASK, "question": question}).encode()
        length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
        lines = ["POST /v1/answers HTTP/1.1", "Host: here", f"Authorization: Bearer {self._key}"]
        start = "\r\n".join([*lines, *head, length, "", ""]).encode()
        return start + (b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body)

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self._writer.write(part)
            await asyncio.sleep(0.002)  # each a segment of its own

    async def answer(self) -> tuple[int, Any]:
        status, body = await self.response()
        return status, json.loads(body)

    async def response(self) -> tuple[int, bytes]:
        head = await self._reader.readuntil(b"\r\n\r\n")
        while head.startswith(b"HTTP/1.1 100"):
            head = await self._reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        assert length is not None
        return int(head[9:12]), await self._reader.readexactly(int(length[1]))

    async def ended(self) -> bool:
        return await self._reader.read() == b""


QUESTIONS = [f"May shoe number {number} be returned within 45 days?" for number in range(4)]


async def test_requests_in_any_pieces_are_answered_in_their_order(
    server: Running, endpoints: Seen
) -> None:
    key = await new_key(server)
    for number in range(0, 4, 2):  # the others go the ordinary way the first time
        await kept(server, key, endpoints, {**ASK, "question": QUESTIONS[number]})

    async with Raw(server, key) as raw:
        for size in (1_000_000, 900, 150, 37):
            stream = b"".join(
                raw.request(question, chunked=number == 3)
                for number, question in enumerate(QUESTIONS)
            )
            pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
            sending = asyncio.create_task(raw.send(*pieces))
            for _ in QUESTIONS:
                status, answer = await raw.answer()
                assert status == 200, answer
            await sending
        await raw.send(*[raw.request(question) for question in QUESTIONS])
        for _ in QUESTIONS:
            assert (await raw.answer())[0] == 200


async def test_a_body_that_comes_behind_its_head_is_waited_for(
    server: Running, endpoints: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many clients send the two apart."""
    key = await new_key(server)
    await kept(server, key, endpoints, {**ASK, "question": QUESTIONS[0]})
    monkeypatch.setattr(repeats_connection, "_BODY_SECONDS", 1000.0)
    async with Raw(server, key) as raw:
        for _ in range(3):
            head, _, body = raw.request(QUESTIONS[0]).partition(b"\r\n\r\n")
            await raw.send(head + b"\r\n\r\n", body[:20], body[20:])
            assert (await raw.answer())[1]["cache"] == "hit"
    assert endpoints == []


async def test_a_body_that_does_not_come_soon_goes_the_ordinary_way(
    server: Running, endpoints: Seen
) -> None:
    key = await new_key(server)
    await kept(server, key, endpoints, {**ASK, "question": QUESTIONS[0]})
    async with Raw(server, key) as raw:
        head, _, body = raw.request(QUESTIONS[0]).partition(b"\r\n\r\n")
        await raw.send(head + b"\r\n\r\n" + body[:20])
        while not endpoints:
            await asyncio.sleep(0.001)
        await raw.send(body[20:])
        assert (await raw.answer())[1]["cache"] == "hit"
    assert endpoints == ["/v1/answers"]


async def test_who_leaves_before_the_body_leaves_nothing(
    server: Running, endpoints: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = asyncio.Event()
    connection_lost = RepeatsConnection.connection_lost

    def noted(self: RepeatsConnection, exc: Exception | None) -> None:
        connection_lost(self, exc)
        assert self._wait is None
        lost.set()

    monkeypatch.setattr(RepeatsConnection, "connection_lost", noted)
    monkeypatch.setattr(repeats_connection, "_BODY_SECONDS", 1000.0)
    key = await new_key(server)
    await kept(server, key, endpoints, {**ASK, "question": QUESTIONS[0]})
    async with Raw(server, key) as raw:
        await raw.send(raw.request(QUESTIONS[0])[:-5])
    await lost.wait()
    assert endpoints == []


async def test_a_fault_of_ours_is_not_taken_for_one_of_the_client(
    server: Running, endpoints: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await new_key(server)
    await kept(server, key, endpoints)

    def broken(self: repeats.Repeats, repeat: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(repeats.Repeats, "_found", broken)
    assert await told(server, key) == "hit"
    assert endpoints == ["/v1/answers"]


async def test_of_one_piece_the_first_alone_is_told_at_once(
    server: Running, endpoints: Seen
) -> None:
    """Others would have to wait for all of them."""
    key = await new_key(server)
    await kept(server, key, endpoints, {**ASK, "question": QUESTIONS[0]})
    async with Raw(server, key) as raw:
        for _ in range(2):
            endpoints.clear()
            await raw.send(raw.request(QUESTIONS[0]) * 4)
            for _ in range(4):
                assert (await raw.answer())[1]["cache"] == "hit"
            assert len(endpoints) == 3


async def test_behind_a_repeat_a_connection_is_not_idle(
    server: Running, endpoints: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was closed after the seconds for which an idle one is kept, amid the next answer."""
    connections: list[RepeatsConnection] = []
    made = RepeatsConnection.connection_made

    def noted(self: RepeatsConnection, transport: asyncio.BaseTransport) -> None:
        made(self, cast(asyncio.Transport, transport))
        connections.append(self)

    key = await new_key(server)
    await kept(server, key, endpoints, {**ASK, "question": QUESTIONS[0]})
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(asked: Asked, s: Services) -> Begun:
        begun.set()
        await go_on.wait()
        return await begin(asked, s)

    monkeypatch.setattr(RepeatsConnection, "connection_made", noted)
    monkeypatch.setattr(answers, "begin", slow)
    async with Raw(server, key) as raw:
        await raw.send(raw.request(QUESTIONS[0]) + raw.request(QUESTIONS[1]))
        assert (await raw.answer())[0] == 200
        await begun.wait()
        (connection,) = connections
        assert connection.timeout_keep_alive_task is None
        go_on.set()
        assert (await raw.answer())[0] == 200
        assert connection.timeout_keep_alive_task is not None


async def test_a_client_of_http_1_0_is_told_until_the_connection_ends(
    server: Running, endpoints: Seen
) -> None:
    """It would wait for that, since nothing tells it that the connection stays open."""
    key = await new_key(server)
    await kept(server, key, endpoints, {**ASK, "question": QUESTIONS[0]})
    async with Raw(server, key) as raw:
        asked = raw.request(QUESTIONS[0], "Connection: keep-alive")
        await raw.send(asked.replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert (await raw.answer())[1]["cache"] == "hit"
        assert endpoints == ["/v1/answers"]
        assert await raw.ended()


@pytest.mark.parametrize("chunked", [False, True])
async def test_what_follows_and_is_no_http_ends_the_connection(
    server: Running, endpoints: Seen, chunked: bool
) -> None:
    key = await new_key(server)
    await kept(server, key, endpoints, {**ASK, "question": QUESTIONS[0]})
    async with Raw(server, key) as raw:
        asked = raw.request(QUESTIONS[0], chunked=chunked)
        damaged = raw.request(QUESTIONS[0], chunked=True).replace(b"\r\n0\r\n", b"\r\nno\r\n")
        await raw.send(asked + damaged)
        assert (await raw.answer())[1]["cache"] == "hit"
        assert (await raw.response())[0] == 400
        assert await raw.ended()
    endpoints.clear()
    async with Raw(server, key) as raw:
        await raw.send(damaged)
        assert (await raw.response())[0] == 400
        assert await raw.ended()
    assert endpoints == []
