"""One contract for all embedders, whatever computes the vectors."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import msgspec
import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ragstone.caches.embeddings import CachedEmbedder
from ragstone.caches.memory import MemoryCache
from ragstone.domain.clock import SystemClock
from ragstone.domain.errors import EmbedderError
from ragstone.models.embedders.fake import HashingEmbedder
from ragstone.models.embedders.onnx_minilm import MiniLmEmbedder
from ragstone.models.embedders.openai_http import OpenAiEmbedder
from ragstone.ports import Embedder
from tests.models.embedder_model import require_model

AWKWARD = [
    "",
    " \t\n ",
    "\x00\x01\x7f",
    "lone \ud800 surrogate \udfff",
    "é e\u0301 ﷺ 漢字 한국어 العربية 🧣👩‍👩‍👧",
    "x" * 5_000,
    "word " * 3_000,
    "!" * 400,
]


@pytest.fixture
async def embedding_server() -> AsyncIterator[str]:
    """The base address of a `/v1/embeddings` server with the fake's vectors, out of order."""
    fake = HashingEmbedder(48)

    async def embeddings(request: web.Request) -> web.Response:
        body = msgspec.json.decode(await request.read())
        vectors = await fake.embed_documents(body["input"])
        data = [
            {"object": "embedding", "index": index, "embedding": [3 * x for x in vector]}
            for index, vector in enumerate(vectors)
        ]
        answer = {"object": "list", "data": data[::-1], "model": body["model"]}
        return web.Response(body=msgspec.json.encode(answer), content_type="application/json")

    application = web.Application()
    application.router.add_post("/v1/embeddings", embeddings)
    async with TestServer(application) as server:
        yield str(server.make_url("/v1"))


@pytest.fixture(params=["local", "openai", "fake", "cached"])
async def embedder(
    request: pytest.FixtureRequest, embedding_server: str
) -> AsyncIterator[Embedder]:
    made: Embedder
    if request.param == "local":
        require_model()
        made = MiniLmEmbedder()
    elif request.param == "openai":
        made = OpenAiEmbedder(
            base_url=embedding_server, model="hashed", dimensions=48, batch_size=3
        )
    elif request.param == "cached":
        store = MemoryCache(max_bytes=1_000_000, clock=SystemClock())
        made = CachedEmbedder(HashingEmbedder(48), store)
    else:
        made = HashingEmbedder(48)
    yield made
    await made.close()


async def test_a_query_gives_a_unit_vector_of_the_stated_dimensions(embedder: Embedder) -> None:
    vector = await embedder.embed_query("Can I return a dress that I have worn?")
    assert len(vector) == embedder.identity.dimensions
    assert all(type(number) is float for number in vector)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


async def test_documents_come_back_in_their_order_whatever_their_lengths(
    embedder: Embedder,
) -> None:
    texts = [f"topic{n} " * (1 + (n * 7) % 40) for n in range(23)]
    together = np.array(await embedder.embed_documents(texts))
    alone = np.array([await embedder.embed_query(text) for text in texts])
    assert together.shape == (23, embedder.identity.dimensions)
    nearest = (together @ alone.T).argmax(axis=1)
    assert nearest.tolist() == list(range(23))


async def test_a_document_alone_has_the_vector_of_the_same_query(embedder: Embedder) -> None:
    text = "Linen shrinks when it is washed hot."
    (document,) = await embedder.embed_documents([text])
    assert document == pytest.approx(await embedder.embed_query(text), abs=1e-6)


async def test_no_documents_give_no_vectors(embedder: Embedder) -> None:
    assert await embedder.embed_documents([]) == []


async def test_awkward_texts_give_finite_unit_vectors(embedder: Embedder) -> None:
    vectors = np.array(await embedder.embed_documents(AWKWARD))
    assert np.isfinite(vectors).all()
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(AWKWARD)), abs=1e-5)


@pytest.mark.parametrize("text", AWKWARD, ids=range(len(AWKWARD)))
async def test_an_awkward_query_gives_a_finite_unit_vector(embedder: Embedder, text: str) -> None:
    assert np.linalg.norm(await embedder.embed_query(text)) == pytest.approx(1, abs=1e-5)
    assert embedder.count_tokens(text) >= 0


async def test_concurrent_calls_do_not_mix_their_vectors(embedder: Embedder) -> None:
    texts = [f"item number {n} in aisle {n * n}" for n in range(12)]
    expected = [await embedder.embed_query(text) for text in texts]
    bulk = asyncio.create_task(embedder.embed_documents(texts * 3))
    queries = await asyncio.gather(*(embedder.embed_query(text) for text in texts))
    documents = await bulk
    assert np.array(queries) == pytest.approx(np.array(expected), abs=1e-6)
    assert len(documents) == 36


async def test_more_text_has_more_tokens(embedder: Embedder) -> None:
    assert embedder.count_tokens("") == 0
    assert 0 < embedder.count_tokens("wool coat") < embedder.count_tokens("wool coat " * 500)


async def test_a_shared_word_brings_texts_nearer(embedder: Embedder) -> None:
    query = await embedder.embed_query("delivery to Norway")
    near, far = await embedder.embed_documents(["delivery costs", "cashmere jumper"])
    assert np.dot(query, near) > np.dot(query, far)


async def test_a_closed_embedder_says_so(embedder: Embedder) -> None:
    await embedder.close()
    with pytest.raises(EmbedderError, match="closed"):
        await embedder.embed_query("late")
    with pytest.raises(EmbedderError, match="closed"):
        await embedder.embed_documents(["late"])
    await embedder.close()


async def test_the_fake_is_the_same_in_every_process() -> None:
    vector = await HashingEmbedder(4).embed_query("Linen shirt, linen trousers")
    assert vector == pytest.approx([-0.80730357, -0.54670285, -0.22134793, 0.01954584], abs=1e-8)


async def test_a_session_that_was_passed_in_stays_open(embedding_server: str) -> None:
    async with aiohttp.ClientSession() as session:
        embedder = OpenAiEmbedder(
            base_url=embedding_server, model="hashed", dimensions=48, session=session
        )
        await embedder.warm()
        await embedder.close()
        assert not session.closed


def test_every_embedder_is_told_apart_by_its_identity() -> None:
    openai = OpenAiEmbedder(base_url="http://127.0.0.1:1/v1", model="m", dimensions=8)
    names = {HashingEmbedder(8).identity, HashingEmbedder(9).identity, openai.identity}
    assert len({msgspec.json.encode(identity) for identity in names}) == 3
