"""What the client makes of every kind of response, over real sockets on loopback."""

import asyncio
import json
import sys
import time
from asyncio.subprocess import PIPE

import pytest

from ragstone.domain.errors import InternalError
from ragstone.lab.load.client import LoadClient
from ragstone.lab.load.exchange import Exchange
from ragstone.lab.load.outcome import Outcome
from ragstone.lab.load.plan import LoadPlan, plan_load
from ragstone.lab.load.questions import Key, Question
from ragstone.lab.load.reading import AnswerEvents, ChatEvents, Heard
from ragstone.lab.load.recorder import Received
from ragstone.lab.load.report import report_of
from ragstone.lab.load.requests import RequestForm, RequestWriter
from ragstone.lab.load.runner import run_load
from ragstone.lab.load.schedule import Behaviour
from ragstone.lab.load.worker import Begin, Message, Ready, Task, frame, read_frame
from tests.lab.load_target import (
    ANSWER,
    Request,
    Script,
    event_bytes,
    scripted_server,
    stream_well,
)

QUESTIONS = (Question(question="How long?"), Question(question="How much?"))


def plan_of(url: str, *, requests: int = 1, **more: object) -> LoadPlan:
    settings = {
        "rate": requests / 0.05,
        "duration": 0.05,
        "shape": "constant",
        "questions": QUESTIONS,
        "behaviour": Behaviour(zipf=None),
        "processes": 0,
        "keep": True,
        **more,
    }
    return plan_load(url, **settings)  # type: ignore[arg-type]


async def met(script: Script, **more: object) -> Received:
    """What came of one request."""
    async with scripted_server(script) as server:
        result = await run_load(plan_of(server.url, **more), probe=False)
    (received,) = result.received
    return received


async def ok(request: Request) -> None:
    await stream_well(request)


async def degraded(request: Request) -> None:
    await stream_well(request, degraded=["lexical_only", "reranker_skipped"])


async def abstained(request: Request) -> None:
    await stream_well(request, words=0, answer_kind="not_found")


async def refused_429(request: Request) -> None:
    request.refuse(429, "too_many_requests")


async def refused_503(request: Request) -> None:
    request.refuse(503, "overloaded")


async def too_late(request: Request) -> None:
    request.refuse(504, "deadline_exceeded")


async def failed(request: Request) -> None:
    request.json(500, {"error": {"code": "internal_error"}})


async def failed_without_json(request: Request) -> None:
    request.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 5\r\n\r\nsorry")


async def hangs_up(request: Request) -> None:
    request.writer.transport.abort()


async def error_event(request: Request) -> None:
    request.begin_stream()
    request.event("delta", {"text": "Yes"})
    request.event("error", {"error": {"code": "model_timed_out"}})
    request.end_stream()


async def late_event(request: Request) -> None:
    request.begin_stream()
    request.event("error", {"error": {"code": "deadline_exceeded"}})
    request.end_stream()


async def no_terminal(request: Request) -> None:
    request.begin_stream()
    request.event("delta", {"text": "Yes"})
    request.end_stream()


async def two_terminals(request: Request) -> None:
    request.begin_stream()
    request.event("done", {"answer": ANSWER})
    request.event("error", {"error": {"code": "model_failed"}})
    request.end_stream()


async def late_and_done(request: Request) -> None:
    request.begin_stream()
    request.event("done", {"answer": ANSWER})
    request.event("error", {"error": {"code": "deadline_exceeded"}})
    request.end_stream()


async def words_after_the_end(request: Request) -> None:
    request.begin_stream()
    request.event("done", {"answer": ANSWER})
    request.event("delta", {"text": "and"})
    request.end_stream()


async def broken_off(request: Request) -> None:
    request.begin_stream()
    request.event("delta", {"text": "Yes"})
    await request.writer.drain()
    request.writer.close()


async def cut_event(request: Request) -> None:
    request.begin_stream()
    request.chunk(event_bytes("done", {"answer": ANSWER})[:-9])
    request.end_stream()


async def garbage_event(request: Request) -> None:
    request.begin_stream()
    request.chunk(b"event: delta\ndata: {oops\n\n")
    request.event("done", {"answer": ANSWER})
    request.end_stream()


async def not_http(request: Request) -> None:
    request.write(b"220 mail.example ESMTP\r\n")


async def whole_instead_of_events(request: Request) -> None:
    request.json(200, ANSWER)


@pytest.mark.parametrize(
    ("script", "outcome", "code"),
    [
        (ok, Outcome.OK, None),
        (degraded, Outcome.DEGRADED, None),
        (abstained, Outcome.ABSTAINED, None),
        (refused_429, Outcome.REFUSED_429, "too_many_requests"),
        (refused_503, Outcome.REFUSED_503, "overloaded"),
        (too_late, Outcome.TIMEOUT, "deadline_exceeded"),
        (late_event, Outcome.TIMEOUT, "deadline_exceeded"),
        (failed, Outcome.ERROR, "internal_error"),
        (failed_without_json, Outcome.ERROR, None),
        (hangs_up, Outcome.ERROR, "connection_lost"),
        (error_event, Outcome.ERROR, "model_timed_out"),
        (no_terminal, Outcome.BROKEN, None),
        (two_terminals, Outcome.BROKEN, "model_failed"),
        (late_and_done, Outcome.BROKEN, "deadline_exceeded"),
        (words_after_the_end, Outcome.BROKEN, None),
        (broken_off, Outcome.BROKEN, None),
        (cut_event, Outcome.BROKEN, None),
        (garbage_event, Outcome.BROKEN, None),
        (whole_instead_of_events, Outcome.BROKEN, None),
    ],
)
async def test_each_response_has_its_outcome(
    script: Script, outcome: Outcome, code: str | None
) -> None:
    received = await met(script)
    assert (received.outcome, received.code) == (outcome.label, code)


async def test_what_is_not_http_is_no_answer() -> None:
    received = await met(not_http)
    assert received.outcome == "error"


async def test_a_silent_server_is_a_timeout() -> None:
    never = asyncio.Event()

    async def silent(request: Request) -> None:
        await never.wait()

    received = await met(silent, form=RequestForm(deadline=0.05))
    assert received.outcome == "timeout"
    assert received.ended - received.scheduled >= 0.05


async def test_nobody_there_is_an_error_of_each_request() -> None:
    async with scripted_server(ok) as server:
        pass
    result = await run_load(plan_of(server.url, requests=3), probe=False)
    assert [(r.outcome, r.code) for r in result.received] == [("error", "connect_failed")] * 3


async def test_the_text_and_the_usage_are_those_of_the_answer() -> None:
    async with scripted_server(ok) as server:
        result = await run_load(plan_of(server.url), probe=False)
    assert result.received[0].text == "word0 word1 word2 "
    assert result.rows["input_tokens"].tolist() == [900]
    assert result.rows["output_tokens"].tolist() == [12]
    assert result.rows["nanodollars"].tolist() == [300_000]
    assert report_of(result).cost_dollars == 0.0003


async def test_requests_say_deadline_key_collection_and_conversation() -> None:
    question = Question(
        question="And then?",
        conversation=json.loads('[{"role": "user", "content": "First?"}]'),
        collection="help",
    )
    async with scripted_server(ok) as server:
        plan = plan_of(
            server.url,
            questions=(question,),
            keys=(Key(key="secret"),),
            form=RequestForm(deadline=7.5),
        )
        await run_load(plan, probe=False)
    (request,) = server.requests
    assert request.path == "/v1/answers"
    assert request.headers["x-request-deadline-ms"] == "7500"
    assert request.headers["authorization"] == "Bearer secret"
    assert request.body["collection"] == "help"
    assert [turn["content"] for turn in request.body["conversation"]] == ["First?"]


async def test_there_are_as_many_connections_as_requests_at_once() -> None:
    together = asyncio.Barrier(8)

    async def waits_for_all(request: Request) -> None:
        await together.wait()
        await stream_well(request)

    async with scripted_server(waits_for_all) as server:
        result = await run_load(plan_of(server.url, requests=8), probe=False)
        assert server.connections == 8
    assert set(result.rows["outcome"]) == {Outcome.OK}


async def test_a_connection_is_kept_for_a_while() -> None:
    now = 0.0
    async with scripted_server(ok) as server:
        plan = plan_of(server.url)
        writer = RequestWriter(plan.target, plan.form, plan.questions, plan.keys)
        client = LoadClient(
            plan.target, chat=False, streamed=True, now=lambda: now, on_gap=lambda gap: None
        )
        opened = []
        for now in (0.0, 1.0, 2.0, 60.0):
            ended = asyncio.get_running_loop().create_future()
            exchange = Exchange(index=0, question=0, key=-1, scheduled=now, launched=now)
            exchange.on_end = ended.set_result
            client.start(exchange, writer.write(0, -1))
            await ended
            opened.append(server.connections)
        await client.close()
        assert client.open_connections == 0
    assert opened == [1, 1, 1, 2]


async def test_a_client_that_leaves_closes_its_connection() -> None:
    gone = asyncio.Event()

    async def endless(request: Request) -> None:
        request.begin_stream()
        try:
            while True:
                request.event("delta", {"text": "on "})
                await request.writer.drain()
                await asyncio.sleep(0)
        except ConnectionError:
            gone.set()
            raise

    async with scripted_server(endless) as server:
        plan = plan_of(server.url, behaviour=Behaviour(leave=1.0))
        result = await run_load(plan, probe=False)
        await gone.wait()
    assert [r.outcome for r in result.received] == ["left"]
    assert result.received[0].contents >= 1


async def test_clients_leave_whole_answers_too() -> None:
    never = asyncio.Event()

    async def silent(request: Request) -> None:
        await never.wait()

    received = await met(silent, form=RequestForm(stream=False), behaviour=Behaviour(leave=1.0))
    assert received.outcome == "left"


async def test_a_cancelled_run_leaves_no_connection_and_no_task() -> None:
    asked = asyncio.Event()

    async def silent(request: Request) -> None:
        asked.set()
        await request.writer.wait_closed()

    before = asyncio.all_tasks()
    async with scripted_server(silent) as server:
        run = asyncio.create_task(run_load(plan_of(server.url, requests=5), probe=False))
        await asked.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
    assert asyncio.all_tasks() == before


async def test_later_turns_carry_the_conversation_and_are_told_apart() -> None:
    async with scripted_server(ok) as server:
        plan = plan_of(
            server.url,
            duration=30.0,
            rate=1 / 30,
            behaviour=Behaviour(zipf=None, turns=3, think_seconds=0.001),
        )
        early = plan.schedule.times
        early[:] = 0.0
        result = await run_load(plan, probe=False)
    assert [r.turn for r in result.received] == [0, 1, 2]
    assert [r.body["question"] for r in server.requests] == ["How long?", "How much?", "How long?"]
    last = server.requests[-1].body["conversation"]
    assert [turn["role"] for turn in last] == ["user", "assistant", "user", "assistant"]
    assert last[1]["content"] == "word0 word1 word2 "
    assert result.received[1].scheduled >= result.received[0].ended


async def chat(request: Request) -> None:
    assert request.path == "/v1/chat/completions"
    if not request.body["stream"]:
        usage = {"prompt_tokens": 5, "completion_tokens": 2}
        request.json(200, {"choices": [{"message": {"content": "Yes"}}], "usage": usage})
        return
    request.begin_stream()
    for content in ("", "Yes", " indeed"):
        request.chunk(b"data: %b\n\n" % json.dumps(chunk(content)).encode())
    extension = {"answer_kind": "generated", "degraded": ["uncited"], "cache": "hit"}
    request.chunk(b"data: %b\n\n" % json.dumps({"choices": [], "ragstone": extension}).encode())
    request.chunk(b"data: [DONE]\n\n")
    request.end_stream()


def chunk(content: str) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": {"content": content}}]}


async def search(request: Request) -> None:
    assert request.path == "/v1/search"
    request.json(200, {"passages": [], "degraded": []})


@pytest.mark.parametrize(
    ("script", "form", "outcome", "contents"),
    [
        (chat, RequestForm(endpoint="chat"), "degraded", 2),
        (chat, RequestForm(endpoint="chat", stream=False), "ok", 1),
        (search, RequestForm(endpoint="search"), "ok", 0),
        (whole_instead_of_events, RequestForm(stream=False), "ok", 1),
    ],
)
async def test_other_endpoints_and_whole_answers(
    script: Script, form: RequestForm, outcome: str, contents: int
) -> None:
    received = await met(script, form=form)
    assert (received.outcome, received.contents) == (outcome, contents)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_events_are_read_in_any_pieces(size: int, ending: bytes) -> None:
    events = event_bytes("delta", {"text": "é"}) + b": ping\n\n" + event_bytes(
        "done", {"answer": ANSWER}
    )  # fmt: skip
    data = events.replace(b"\n", ending)
    heard = Heard(keep_text=True)
    reader = AnswerEvents(heard)
    for start in range(0, len(data), size):
        reader.feed(data[start : start + size])
    reader.close()
    assert (heard.contents, heard.ends, heard.malformed) == (1, 1, False)
    assert heard.text == ["é"]


def test_an_error_in_a_chat_stream_is_terminal() -> None:
    heard = Heard()
    ChatEvents(heard).feed(b'data: {"error": {"code": "model_failed"}}\n\n')
    assert (heard.errors, heard.ends, heard.code) == (1, 0, "model_failed")


async def test_generator_processes_send_the_whole_schedule() -> None:
    told: list[int] = []
    async with scripted_server(ok) as server:
        plan = plan_of(server.url, requests=60, duration=1.2, rate=50, processes=2)
        result = await run_load(plan, on_progress=lambda course: told.append(course.launched))
        probed = len(server.requests) - len(plan.schedule)
    assert probed == 1
    assert sorted(result.rows["index"].tolist()) == list(range(len(plan.schedule)))
    assert result.rows["scheduled"] == pytest.approx(plan.schedule.times)
    assert [r.index for r in result.received] == result.rows["index"].tolist()
    assert told
    assert told == sorted(told)


async def test_a_generator_ends_when_the_one_who_started_it_has_gone() -> None:
    async with scripted_server(ok) as server:
        plan = plan_of(server.url, duration=3600.0, rate=0.01)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ragstone.lab.load.worker", stdin=PIPE, stdout=PIPE
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(frame(Task.of(plan, 0, 1)))
        assert isinstance(await read_frame(process.stdout, Message), Ready)
        process.stdin.write(frame(Begin(time.monotonic())))
        await process.stdin.drain()
        process.stdin.close()
        assert await process.wait() == 0


async def test_a_generator_that_dies_ends_the_run_with_a_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/true")
    with pytest.raises(InternalError, match="ended before its time"):
        await run_load(plan_of("http://127.0.0.1:9", processes=1), probe=False)
