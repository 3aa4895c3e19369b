"""What a remote embedding server may do wrong, and what its caller is told."""

import base64
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import formatdate
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ragstone.domain.errors import EmbedderError, EmbedderRejected
from ragstone.domain.meter import metered
from ragstone.models.embedders.openai_http import OpenAiEmbedder
from tests.clock import VirtualClock

KEY = "sk-very-secret"
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Upstream:
    """Answers as the test says, and keeps what it was sent."""

    def __init__(self) -> None:
        self.url = ""
        self.answer: Answer
        self.requests: list[tuple[dict[str, str], dict[str, Any]]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((dict(request.headers), await request.json()))
        return await self.answer(request)

    def says(
        self, body: object, *, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        text = body if isinstance(body, str) else json.dumps(body)

        async def answer(_: web.Request) -> web.StreamResponse:
            return web.Response(text=text, status=status, headers=headers)

        self.answer = answer

    def embeds(self, *embeddings: object) -> None:
        self.says({"data": [{"index": i, "embedding": e} for i, e in enumerate(embeddings)]})


@pytest.fixture
async def upstream() -> AsyncIterator[_Upstream]:
    made = _Upstream()
    application = web.Application()
    application.router.add_post("/v1/embeddings", made.handle)
    async with TestServer(application) as server:
        made.url = str(server.make_url("/v1"))
        yield made


@pytest.fixture
async def embedder(upstream: _Upstream, clock: VirtualClock) -> AsyncIterator[OpenAiEmbedder]:
    made = OpenAiEmbedder(
        base_url=upstream.url + "/", model="small", dimensions=2, api_key=KEY, clock=clock
    )
    yield made
    await made.close()


async def test_the_request_is_openais(upstream: _Upstream, embedder: OpenAiEmbedder) -> None:
    upstream.embeds([3, 4], [0.0, 2.0])
    assert await embedder.embed_documents(["a", "b"]) == [[0.6, 0.8], [0.0, 1.0]]
    ((headers, body),) = upstream.requests
    assert body == {"model": "small", "input": ["a", "b"], "encoding_format": "float"}
    assert headers["Authorization"] == f"Bearer {KEY}"


async def test_base64_vectors_are_read(upstream: _Upstream, embedder: OpenAiEmbedder) -> None:
    upstream.embeds(base64.b64encode(np.array([3, 4], "<f4").tobytes()).decode())
    assert await embedder.embed_query("a") == pytest.approx([0.6, 0.8])


async def test_vectors_are_put_in_the_order_of_their_index(
    upstream: _Upstream, embedder: OpenAiEmbedder
) -> None:
    upstream.says({"data": [{"index": 1, "embedding": [0, 1]}, {"index": 0, "embedding": [1, 0]}]})
    assert await embedder.embed_documents(["a", "b"]) == [[1, 0], [0, 1]]


async def test_documents_are_sent_in_batches(upstream: _Upstream) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        texts = (await request.json())["input"]
        data = [{"index": i, "embedding": [1, float(t)]} for i, t in enumerate(texts)]
        return web.json_response({"data": data})

    upstream.answer = answer
    embedder = OpenAiEmbedder(base_url=upstream.url, model="m", dimensions=2, batch_size=4)
    vectors = await embedder.embed_documents([str(n) for n in range(10)])
    await embedder.close()
    assert [round(y / x) for x, y in vectors] == list(range(10))
    assert sorted(len(body["input"]) for _, body in upstream.requests) == [2, 4, 4]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "refused the request"),
        (401, "API key"),
        (403, "API key"),
        (404, "no model 'small'"),
        (429, "slow down"),
        (500, "failed"),
        (503, "failed"),
        (307, "refused the request"),
    ],
)
async def test_a_refusal_names_its_cause_and_a_remedy_but_not_the_key(
    upstream: _Upstream, embedder: OpenAiEmbedder, status: int, words: str
) -> None:
    upstream.says({"error": {"message": f"no {KEY} here."}}, status=status)
    with pytest.raises(EmbedderError, match=words) as caught:
        await embedder.embed_query("a")
    assert str(status) in caught.value.message
    assert caught.value.remedy
    assert KEY not in str(caught.value)
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("status", "rejected"),
    [(400, True), (413, True), (422, True), (307, False), (404, False), (408, False), (429, False)],
)
async def test_only_a_refusal_of_the_text_itself_is_one(
    upstream: _Upstream, embedder: OpenAiEmbedder, status: int, rejected: bool
) -> None:
    upstream.says({"error": "no"}, status=status)
    with pytest.raises(EmbedderError) as caught:
        await embedder.embed_query("a")
    assert isinstance(caught.value, EmbedderRejected) is rejected
    assert caught.value.retriable is not rejected


@pytest.mark.parametrize("body", [{"error": "too long"}, {"error": {"message": "too long."}}])
async def test_a_rejected_request_says_what_the_server_said(
    upstream: _Upstream, embedder: OpenAiEmbedder, body: object
) -> None:
    upstream.says(body, status=422)
    with pytest.raises(EmbedderError, match=r"\(422\): too long\. "):
        await embedder.embed_query("a")


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_passed_on_in_either_form(
    upstream: _Upstream, embedder: OpenAiEmbedder, clock: VirtualClock, status: int
) -> None:
    for value, expected in [
        ("7", 7.0),
        (formatdate(clock.time() + 90, usegmt=True), 90.0),
        (formatdate(clock.time() - 90, usegmt=True), 0.0),
        ("soon", None),
    ]:
        upstream.says("", status=status, headers={"Retry-After": value})
        with pytest.raises(EmbedderError) as caught:
            await embedder.embed_query("a")
        assert caught.value.retry_after == expected


@pytest.mark.parametrize(
    "body",
    [
        "<html>It works!</html>",
        "",
        "\ufeff{",
        {"data": "none"},
        {"data": [{"embedding": [1, 2]}]},
        {"data": []},
        {"data": [{"index": 1, "embedding": [1, 2]}]},
        {"data": [{"index": 0, "embedding": [1, 2]}] * 2},
        {"data": [{"index": 0, "embedding": [0, 0]}]},
        {"data": [{"index": 0, "embedding": [1e308, 1e308]}]},
        {"data": [{"index": 0, "embedding": "not base64"}]},
        {"data": [{"index": 0, "embedding": "AAAA"}]},
        '{"data": [{"index": 0, "embedding": [NaN, 1]}]}',
        "x" * 2_000_000,
    ],
    ids=range(14),
)
async def test_garbage_is_an_error_that_names_the_server(
    upstream: _Upstream, embedder: OpenAiEmbedder, body: object
) -> None:
    upstream.says(body)
    with pytest.raises(EmbedderError, match="cannot be used") as caught:
        await embedder.embed_query("a")
    assert upstream.url in caught.value.message


async def test_bytes_that_are_not_text_are_garbage_too(
    upstream: _Upstream, embedder: OpenAiEmbedder
) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=b'{"data": "\xff\xfe"}')

    upstream.answer = answer
    with pytest.raises(EmbedderError, match="cannot be used"):
        await embedder.embed_query("a")


async def test_other_dimensions_than_configured_name_the_setting(
    upstream: _Upstream, embedder: OpenAiEmbedder
) -> None:
    upstream.embeds([1, 2, 3])
    with pytest.raises(EmbedderError, match="3 dimensions, not 2") as caught:
        await embedder.embed_query("a")
    assert caught.value.field == "embedder.dimensions"


async def test_a_server_that_breaks_off_is_an_error(
    upstream: _Upstream, embedder: OpenAiEmbedder
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b'{"data"')
        assert request.transport is not None
        request.transport.abort()
        return response

    upstream.answer = answer
    with pytest.raises(EmbedderError, match="cannot be reached"):
        await embedder.embed_query("a")


async def test_a_server_that_does_not_listen_is_an_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        embedder = OpenAiEmbedder(base_url=url, model="m", dimensions=2)
        with pytest.raises(EmbedderError, match="cannot be reached"):
            await embedder.embed_query("a")
        await embedder.close()


async def test_an_address_that_is_none_is_an_error() -> None:
    embedder = OpenAiEmbedder(base_url="nonsense", model="m", dimensions=2)
    with pytest.raises(EmbedderError, match=r"embedder\.base_url"):
        await embedder.embed_query("a")
    await embedder.close()


async def test_a_server_that_accepts_and_says_nothing_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        embedder = OpenAiEmbedder(base_url=url, model="m", dimensions=2, timeout_seconds=0.05)
        with pytest.raises(EmbedderError, match=r"within 0\.05 seconds"):
            await embedder.embed_query("a")
        await embedder.close()


async def test_one_failed_batch_fails_the_call(
    upstream: _Upstream, embedder: OpenAiEmbedder
) -> None:
    upstream.says("", status=500)
    with pytest.raises(EmbedderError):
        await embedder.embed_documents(["a"] * 300)


async def test_what_the_server_counted_is_told_batch_by_batch(upstream: _Upstream) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        texts = (await request.json())["input"]
        if "bad" in texts:
            return web.Response(status=500)
        data = [{"index": i, "embedding": [1, 0]} for i in range(len(texts))]
        usage = {"prompt_tokens": 10 * len(texts), "total_tokens": 10 * len(texts)}
        return web.json_response({"data": data, "usage": usage})

    upstream.answer = answer
    embedder = OpenAiEmbedder(
        base_url=upstream.url, model="m", dimensions=2, batch_size=4, parallel_batches=1
    )
    with metered() as whole:
        await embedder.embed_documents(["a"] * 10)
    with metered() as one:
        await embedder.embed_query("a")
    with metered() as part, pytest.raises(EmbedderError):
        await embedder.embed_documents([*["a"] * 8, "bad"])
    await embedder.close()
    assert (whole.tokens, one.tokens, part.tokens) == (100, 10, 80)
