"""Requests as nobody should send them get an answer that says what is wrong, never a 500."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from yarl import URL

from ragstone.domain.errors import RecordsUnavailable
from ragstone.server import call
from tests.server.conftest import Running

ASK: dict[str, Any] = {"question": "How many days?"}


@pytest.mark.parametrize(
    "headers", [{"Host": "["}, {"Host": "[::1"}, {"Origin": "http://["}, {"Host": "a]b"}]
)
async def test_addresses_that_are_none_are_refused(
    server: Running, headers: dict[str, str]
) -> None:
    async with server.http.get("/v1/collections", headers=headers) as response:
        assert response.status == 403


@pytest.mark.parametrize("limit", ["9" * 5_000, "0", "-1", "²", "1e3", "1001"])
async def test_a_limit_that_is_none_is_refused(server: Running, limit: str) -> None:
    status, answer = await server.json("GET", f"/v1/documents?limit={limit}")
    assert (status, answer["error"]["param"]) == (400, "limit")


@pytest.mark.parametrize("path", ["/v1/documents/{document_id}", "/v1/models/{model:path}"])
async def test_the_pattern_of_a_path_is_a_path_like_others(server: Running, path: str) -> None:
    async with server.http.get(URL(server.url + path, encoded=True)) as response:
        assert response.status == 404


@pytest.mark.parametrize("path", ["/v1/documents", "/v1/documents%0A"])
async def test_a_form_that_cannot_be_read_is_refused_however_it_was_routed(
    server: Running, path: str
) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    address = URL(server.url + path, encoded=True)
    async with server.http.post(address, data=b"junk", headers=headers) as response:
        assert response.status == 400


_DEEP = b"[" * 100_000 + b"]" * 100_000
_CHAT = b'{"model": "help", "messages": [{"role": "user", "content": %s}], "x": %s}'


@pytest.mark.parametrize(
    ("path", "raw", "word"),
    [
        ("/v1/chat/completions", _CHAT % (b'"x"', _DEEP), "deeply"),
        ("/v1/chat/completions", _CHAT % (b'[{"type": %s}]' % _DEEP, b"1"), "deeply"),
        ("/v1/answers", b'{"question": "\\ud800"}', "surrogate"),
        ("/v1/answers", b'{"question": "\\ud800 and so on"}', "surrogate"),
        ("/v1/answers", b'{"question": "\\udc00"}', "surrogate"),
        ("/v1/answers", b'{"question": "x"} x', "JSON is malformed"),
        ("/v1/answers", b'{"question": 1}', "expected"),
        ("/v1/answers", b'{"question": "x", "top_k": %s}' % (b"9" * 5_000), "range"),
    ],
)
async def test_json_that_cannot_be_read_is_refused_with_the_reason(
    server: Running, path: str, raw: bytes, word: str
) -> None:
    async with server.http.post(path, data=raw) as response:
        answer = await response.json()
        assert response.status == 400, answer
    assert word in answer["error"]["message"]


async def test_a_pair_of_surrogates_is_a_character(server: Running) -> None:
    async with server.http.post(
        "/v1/answers", data=b'{"question": "\\ud83e\\udd8a \\\\ud800"}'
    ) as response:
        assert response.status == 200


@pytest.mark.parametrize("number", [2**63, 2**64, -(2**70), 10**400])
async def test_numbers_beyond_64_bits_are_refused(server: Running, number: int) -> None:
    document = {"id": "a", "text": "x", "metadata": {"n": number}}
    nested = {"id": "a", "text": "x", "metadata": {"n": [number]}}
    for path, body in (
        ("/v1/documents", {"documents": [document]}),
        ("/v1/documents", {"documents": [nested]}),
        ("/v1/embeddings", {"model": "fake", "input": "x", "dimensions": number}),
        ("/v1/search", {"query": "x", "top_k": number}),
    ):
        async with server.http.post(path, data=_json(body)) as response:
            assert response.status == 400, await response.text()


def _json(body: Any) -> aiohttp.BytesPayload:
    return aiohttp.BytesPayload(json.dumps(body).encode(), content_type="application/json")


async def test_one_path_is_suggested_once(server: Running) -> None:
    _, answer = await server.json("GET", "/zzz")
    listed = answer["error"]["remedy"].removeprefix("Known paths: ").split(" and ")[0].split(", ")
    assert len(listed) == len(set(listed)) > 1


async def test_json_is_never_sniffed(server: Running) -> None:
    for path in ("/v1/collections", "/v1/nothing", "/openapi.json", "/metrics"):
        async with server.http.get(path) as response:
            assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data; boundary=x"])
async def test_a_body_that_does_not_come_is_not_waited_for(
    server: Running, monkeypatch: pytest.MonkeyPatch, content_type: str
) -> None:
    monkeypatch.setattr(call, "_BODY_SECONDS", 0.01)
    host, _, port = server.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"POST /v1/documents HTTP/1.1\r\nHost: {host}:{port}\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: 50\r\n\r\n--x"
    )
    writer.write(head.encode())
    answer = await reader.read()  # the connection is closed after it
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"request_timeout" in answer


async def test_after_an_accepted_job_a_failure_is_told_and_takes_nothing_away(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = type(server.system.ingestion).submit

    async def failing(self: Any, principal: Any, source: Any) -> Any:
        if source.name == "second.txt":
            raise RecordsUnavailable("The records do not answer.")
        return await submit(self, principal, source)

    monkeypatch.setattr(type(server.system.ingestion), "submit", failing)
    for names, status in ((("first.txt", "second.txt"), 202), (("second.txt", "first.txt"), 503)):
        form = aiohttp.FormData()
        for name in names:
            form.add_field("file", b"Text.", filename=name)
        async with server.http.post("/v1/documents", data=form) as response:
            answer = await response.json()
            assert response.status == status
        if status == 202:
            assert len(answer["jobs"]) == 1
            assert answer["errors"][0]["code"] == "records_unavailable"


@pytest.mark.parametrize("length", [993, 994, 1_000])
async def test_an_id_may_be_as_long_as_it_is_said(server: Running, length: int) -> None:
    await server.ingest({"i" * length: "A text with a long name."})
    _, page = await server.json("GET", "/v1/documents?collection=help")
    assert "i" * length in {document["external_id"] for document in page["documents"]}


async def test_a_large_body_is_read_like_a_small_one(server: Running) -> None:
    await server.ingest({"long": "Some words. " * 40_000})
    _, page = await server.json("GET", "/v1/documents?collection=help")
    assert "long" in {document["external_id"] for document in page["documents"]}
