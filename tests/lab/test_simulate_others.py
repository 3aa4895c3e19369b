"""Simulated embeddings and rerankers, seen through our own adapters."""

import base64

import aiohttp
import numpy as np
import pytest

from ragstone.domain.clock import SystemClock
from ragstone.domain.errors import DependencyError, EmbedderError
from ragstone.lab.simulate.embeddings import EmbeddingsService
from ragstone.lab.simulate.rerank import RerankService
from ragstone.models.embedders.fake import HashingEmbedder
from ragstone.models.embedders.openai_http import OpenAiEmbedder
from ragstone.models.rerankers.http import HttpReranker
from tests.lab.simulators import simulator
from tests.pipeline.passages import passage

CLOCK = SystemClock()
FAULTS = [
    {"kind": "error", "status": 503},
    {"kind": "rate_limit", "retry_after": 7},
    {"kind": "quota"},
    {"kind": "garbage"},
    {"kind": "reset"},
    {"kind": "cut"},
    {"kind": "error_event"},
    {"kind": "garbage_event"},
    {"kind": "silence"},
]


def patience(fault: dict[str, object]) -> float:
    """Seconds: only of silence does a client hear by its own clock."""
    return 0.1 if fault["kind"] == "silence" else 30.0


async def test_vectors_are_those_of_hashed_words() -> None:
    texts = ["wash wool by hand", "return items"]
    async with (
        simulator(EmbeddingsService(64)) as running,
        aiohttp.ClientSession() as session,
    ):
        embedder = OpenAiEmbedder(base_url=running.url, model="m", dimensions=64, session=session)
        expected = HashingEmbedder(64)
        for got, text in zip(await embedder.embed_documents(texts), texts, strict=True):
            assert got == pytest.approx(expected.vector(text))
        body = {"model": "m", "input": texts[0], "encoding_format": "base64"}
        async with session.post(f"{running.url}/embeddings", json=body) as response:
            encoded = (await response.json())["data"][0]["embedding"]
    decoded = np.frombuffer(base64.b64decode(encoded), "<f4")
    assert decoded == pytest.approx(expected.vector(texts[0]), abs=1e-6)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault["kind"])
async def test_a_failing_embedder_fails_in_its_own_way(fault) -> None:
    async with (
        simulator(EmbeddingsService(8), faults=[fault]) as running,
        aiohttp.ClientSession() as session,
    ):
        embedder = OpenAiEmbedder(
            base_url=running.url,
            model="m",
            dimensions=8,
            session=session,
            timeout_seconds=patience(fault),
        )
        with pytest.raises(EmbedderError) as caught:
            await embedder.embed_query("text")
        assert caught.value.retry_after == fault.get("retry_after")


async def test_passages_are_ordered_by_the_words_of_the_question() -> None:
    texts = ("wash it", "return within days", "return it")
    passages = [passage(text, number=number) for number, text in enumerate(texts, start=1)]
    async with simulator(RerankService()) as running, aiohttp.ClientSession() as session:
        reranker = HttpReranker(session, base_url=running.url, model="m", api_key="", clock=CLOCK)
        ranked = await reranker.rerank(
            "return within days", passages, deadline=CLOCK.monotonic() + 30
        )
        assert [p.text for p in ranked] == ["return within days", "return it", "wash it"]
        body = {"query": "x", "documents": [{"text": "x y"}, "z"], "return_documents": True}
        async with session.post(f"{running.url}/rerank", json=body) as response:
            rows = (await response.json())["results"]
    assert rows[0] == {"index": 0, "relevance_score": 1.0, "document": {"text": "x y"}}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault["kind"])
async def test_a_failing_reranker_fails(fault) -> None:
    async with (
        simulator(RerankService(), faults=[fault]) as running,
        aiohttp.ClientSession() as session,
    ):
        reranker = HttpReranker(session, base_url=running.url, model="m", api_key="", clock=CLOCK)
        with pytest.raises(DependencyError):
            await reranker.rerank("q", [passage("a")], deadline=CLOCK.monotonic() + patience(fault))
