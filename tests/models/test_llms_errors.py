"""Every way in which a model server fails is told apart, and the key is never told."""

import asyncio
import ssl

import aiohttp
import pytest

from ragstone.domain.errors import (
    InvalidSettings,
    ModelAuthentication,
    ModelFailed,
    ModelNotFound,
    ModelProtocolError,
    ModelQuotaExhausted,
    ModelRateLimited,
    ModelRejectedRequest,
    ModelUnreachable,
)
from ragstone.models.llms.openai_chat import OpenAIChat
from ragstone.ports import TextDelta
from tests.clock import VirtualClock
from tests.conftest import Logged
from tests.models.model_server import (
    cut_off_after,
    json_reply,
    raw_server,
    stream_of,
)
from tests.models.wires import (
    CLOCK,
    DELTAS,
    KEY,
    PROMPT,
    SAID,
    failure,
    said,
    soon,
    text_of,
    untimed,
)


async def test_a_server_that_refuses_connections_is_unreachable(wire, session) -> None:
    async with raw_server(b"") as url:
        pass
    error = await failure(wire.model(session, url))
    assert isinstance(error, ModelUnreachable)
    assert "127.0.0.1:" in str(error)
    assert "RAGSTONE_LLM__BASE_URL" in str(error)
    assert error.retriable


async def test_a_name_that_does_not_resolve_is_unreachable(wire, session) -> None:
    error = await failure(wire.model(session, "http://no-such-host.invalid/v1"))
    assert isinstance(error, ModelUnreachable)
    assert "no-such-host.invalid" in str(error)


async def test_a_server_without_tls_on_an_https_address_is_unreachable(wire, session) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        error = await failure(wire.model(session, f"https://127.0.0.1:{port}/v1"))
    assert isinstance(error, ModelUnreachable)
    assert "TLS" in str(error)
    assert isinstance(error.__cause__.__cause__ or error.__cause__, ssl.SSLError | OSError)


async def test_hanging_up_without_an_answer_is_unreachable(wire, session) -> None:
    async with raw_server(b"") as url:
        error = await failure(wire.model(session, url))
    assert isinstance(error, ModelUnreachable)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_names_the_setting_and_not_the_key(
    wire, session, server, status
) -> None:
    server.reply = json_reply({"error": {"message": f"bad key {KEY}"}}, status=status)
    error = await failure(wire.model(session, server.url))
    assert isinstance(error, ModelAuthentication)
    assert "RAGSTONE_LLM__API_KEY" in str(error)
    assert not error.retriable


async def test_an_unknown_model_names_the_nearest_that_the_server_lists(
    wire, session, server
) -> None:
    async def reply(request):
        if request.path.endswith("/models"):
            return aiohttp.web.json_response({"data": [{"id": "test-model-2"}, {"id": "other"}]})
        return aiohttp.web.json_response({"error": {"message": "no such model"}}, status=404)

    server.reply = reply
    model = wire.model(session, server.url)
    error = await failure(model)
    assert isinstance(error, ModelNotFound)
    assert "'test-model'" in str(error)
    assert "Did you mean 'test-model-2'?" in str(error)
    assert "RAGSTONE_LLM__MODEL" in str(error)
    await failure(model)
    assert [request.method for request in server.requests] == ["POST", "GET", "POST"]


async def test_a_list_of_models_that_cannot_be_read_is_noted_and_no_other_error(
    wire, session, server, logged: Logged
) -> None:
    async def reply(request):
        if request.path.endswith("/models"):
            return aiohttp.web.Response(text="<html>", content_type="text/html")
        return aiohttp.web.json_response({"error": {"message": "no such model"}}, status=404)

    server.reply = reply
    lines = logged("ragstone.models.llms.exchange._log")
    error = await failure(wire.model(session, server.url))
    assert isinstance(error, ModelNotFound)
    assert "Did you mean" not in str(error)
    assert [(line["log_level"], line["model"], line["reason"]) for line in lines] == [
        ("debug", "test-model", "DecodeError")
    ]


async def test_an_unknown_path_is_told_without_a_list_of_models(wire, session, server) -> None:
    server.reply = json_reply({"detail": "Not Found"}, status=404)
    error = await failure(wire.model(session, server.url))
    assert isinstance(error, ModelNotFound)
    assert "RAGSTONE_LLM__BASE_URL" in str(error)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "20"}, 20.0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "Retry-After": "1"}, 0.25),
        ({"Retry-After": "Thu, 01 Jan 2026 00:00:42 GMT"}, 42.0),
        ({"Retry-After": "Wed, 31 Dec 2025 23:00:00 GMT"}, 0.0),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
        ({}, None),
    ],
)
async def test_a_rate_limit_says_how_long_to_wait(wire, session, server, headers, seconds) -> None:
    clock = VirtualClock()
    server.reply = json_reply({"error": {"message": "slow"}}, status=429, headers=headers)
    error = await failure(wire.model(session, server.url, clock=clock), deadline=soon(clock))
    assert isinstance(error, ModelRateLimited)
    assert error.retriable
    assert error.retry_after == (seconds if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (429, {"type": "insufficient_quota", "code": "insufficient_quota"}),
        (402, {"type": "billing_error"}),
    ],
)
async def test_an_exhausted_quota_is_not_a_rate_limit(
    wire, session, server, status, problem
) -> None:
    server.reply = json_reply({"error": problem}, status=status, headers={"Retry-After": "1"})
    error = await failure(wire.model(session, server.url))
    assert isinstance(error, ModelQuotaExhausted)
    assert not error.retriable
    assert error.retry_after is None


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_rejected_request_passes_on_the_providers_words(
    wire, session, server, status
) -> None:
    words = f"max_tokens is\n too large {KEY} " + "x" * 1000
    server.reply = json_reply({"error": {"message": words}}, status=status)
    error = await failure(wire.model(session, server.url))
    assert isinstance(error, ModelRejectedRequest)
    assert "max_tokens is too large ***" in error.message
    assert len(error.message) < 400
    assert not error.retriable


@pytest.mark.parametrize("status", [408, 500, 502, 503, 529])
async def test_a_server_error_is_a_failed_model(wire, session, server, status) -> None:
    server.reply = json_reply(
        {"error": "out of memory"}, status=status, headers={"Retry-After": "7"}
    )
    error = await failure(wire.model(session, server.url))
    assert isinstance(error, ModelFailed)
    assert "out of memory" in str(error)
    assert error.retriable
    assert error.retry_after == 7


async def test_an_error_page_is_not_quoted(wire, session, server) -> None:
    async def reply(request):
        return aiohttp.web.Response(
            status=502, text="<html>secret</html>", content_type="text/html"
        )

    server.reply = reply
    error = await failure(wire.model(session, server.url))
    assert isinstance(error, ModelFailed)
    assert "secret" not in str(error)


async def test_a_redirect_is_not_followed(wire, session, server) -> None:
    server.reply = json_reply({}, status=307, headers={"Location": "http://127.0.0.1:1/"})
    error = await failure(wire.model(session, server.url))
    assert isinstance(error, ModelProtocolError)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [
        stream_of(b"<html>welcome</html>", content_type="text/html"),
        stream_of(b""),
        stream_of(b"data: {not json}\n\n"),
        stream_of(b'data: "text"\n\n'),
        stream_of(b"data: \xff\xfe\n\n"),
        stream_of(b'data: {"choices":[{"delta":{"content":"\xff"}}],"type":"\xff"}\n\n'),
        stream_of(b"x" * 3_000_000),
        json_reply({"hello": "world"}),
        json_reply("hello"),
    ],
    ids=[
        "html",
        "nothing",
        "no json",
        "no object",
        "binary",
        "no utf-8",
        "flood",
        "other json",
        "json text",
    ],
)
async def test_garbage_is_a_protocol_error(wire, session, server, reply) -> None:
    server.reply = reply
    error = await failure(wire.model(session, server.url))
    assert isinstance(error, ModelProtocolError)
    server.reply = stream_of(*wire.answer(DELTAS))
    assert text_of(await said(wire.model(session, server.url))) == SAID


@pytest.mark.parametrize(
    "answer",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 100\r\n\r\ndata",
    ],
    ids=["not http", "not chunked", "too short"],
)
async def test_broken_http_is_a_protocol_error(wire, session, answer) -> None:
    async with raw_server(answer) as url:
        error = await failure(wire.model(session, url))
    assert isinstance(error, ModelProtocolError)


async def test_a_truncated_answer_is_a_protocol_error(wire, session, server) -> None:
    model = wire.model(session, server.url)
    first = wire.answer(DELTAS)[:4]
    for reply in (stream_of(*first), cut_off_after(*first)):
        server.reply = reply
        assert isinstance(await failure(model), ModelProtocolError)


async def test_an_answer_whose_end_is_cut_after_its_reason_is_whole(wire, session, server) -> None:
    model = wire.model(session, server.url)
    for reply in (stream_of(*wire.answer(DELTAS)[:-1]), cut_off_after(*wire.answer(DELTAS)[:-1])):
        server.reply = reply
        events = await said(model)
        assert text_of(events) == SAID
        assert events[-1].reason == "stop"


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        ({"type": "overloaded_error", "message": "Overloaded"}, ModelFailed),
        ({"type": "server_error", "message": "broken"}, ModelFailed),
        ({"type": "rate_limit_error", "message": "slow"}, ModelRateLimited),
        ({"type": "authentication_error", "message": KEY}, ModelAuthentication),
        ({"type": "x", "code": 400, "message": "bad"}, ModelRejectedRequest),
        ({"code": "insufficient_quota"}, ModelQuotaExhausted),
        ({"code": "model_not_found"}, ModelNotFound),
        ({}, ModelFailed),
        ("broken", ModelFailed),
    ],
)
async def test_an_error_inside_the_stream_ends_it(wire, session, server, problem, kind) -> None:
    event = wire.event({"type": "error", "error": problem})
    server.reply = stream_of(wire.delta("first"), event, wire.delta("never"))
    stream = wire.model(session, server.url).stream(PROMPT, deadline=soon())
    assert untimed(await anext(stream)) == TextDelta("first")  # also when the error came with it
    with pytest.raises(kind) as caught:
        await anext(stream)
    assert KEY not in str(caught.value)
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


@pytest.mark.parametrize("url", ["localhost:11434", "ftp://host/v1", "http://", "http://[::1/v1"])
async def test_an_address_that_is_none_is_refused_at_once(wire, session, url) -> None:
    with pytest.raises(InvalidSettings, match="RAGSTONE_LLM__BASE_URL"):
        wire.model(session, url)


async def test_a_password_in_the_address_is_never_shown(session) -> None:
    async with raw_server(b"") as url:
        pass
    address = url.replace("http://", "http://me:hunter2@")
    error = await failure(OpenAIChat(session, model="m", clock=CLOCK, base_url=address))
    assert "hunter2" not in str(error)
    with pytest.raises(InvalidSettings) as caught:
        OpenAIChat(session, model="m", clock=CLOCK, base_url=address, api_key=KEY)
    assert "hunter2" not in str(caught.value)
