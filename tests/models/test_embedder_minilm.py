"""The local model: its vectors are the published model's, and bulk work does not hold queries."""

import asyncio
import threading
from collections.abc import AsyncIterator

import numpy as np
import onnxruntime
import pytest
from safetensors.numpy import load_file

from ragstone.domain.errors import EmbedderError
from ragstone.models.embedders.length_batches import padded
from ragstone.models.embedders.minilm_graph import build_graph
from ragstone.models.embedders.onnx_minilm import MiniLmEmbedder
from ragstone.models.embedders.weights import MODEL_SHA256
from ragstone.models.embedders.wordpiece import WordPiece
from tests.models.embedder_model import FloatMiniLm, require_model, require_weights

SENTENCES = [
    "refund",
    "How do I get a refund for a dress I bought online last week?",
    "Cashmere must be washed by hand in cold water and dried flat, away from the sun.",
    "A summer dress for a garden party that isn't too floral",
    "Art. 12-884-B, 3 pcs, EUR 49.90, qty: 17; ships 2026-03-01",
    "def mean(xs): return sum(xs) / len(xs)  # raises ZeroDivisionError",
    "La livraison est gratuite à partir de cinquante euros d'achat.",
    "Die Garantie gilt zwei Jahre ab dem Tag der Lieferung.",
    "送料は無料です。返品は三十日以内にお願いします。",
    "the the the the the the the the",
    "Not in stock. Not on sale. Not returnable. Not what you were looking for.",
    "Stores open at nine on weekdays and at eleven on Sundays and public holidays. " * 3,
    "Our warranty covers defects of material and workmanship, but neither wear nor damage "
    "by water, heat, pets or improper care; claims need the receipt. " * 4,
]
NO_SENTENCES = ["", "?", "!!! ??? ... --- ###", "🧣 👗 👠 super cute!!", "- - - -"]


@pytest.fixture
async def embedder() -> AsyncIterator[MiniLmEmbedder]:
    require_model()
    made = MiniLmEmbedder()
    yield made
    await made.close()


@pytest.fixture(scope="module")
def reference() -> FloatMiniLm:
    return FloatMiniLm(load_file(require_weights().model))


@pytest.fixture(scope="module")
def wordpiece() -> WordPiece:
    return WordPiece(require_weights().tokenizer.read_bytes(), max_tokens=256)


async def test_each_vector_is_within_0_99_cosine_of_float32(
    embedder: MiniLmEmbedder, reference: FloatMiniLm, wordpiece: WordPiece
) -> None:
    exact = np.array([reference.embed(wordpiece.ids(text)) for text in SENTENCES])
    queries = np.array([await embedder.embed_query(text) for text in SENTENCES])
    documents = np.array(await embedder.embed_documents(SENTENCES))
    assert (queries * exact).sum(axis=1).min() >= 0.99
    assert (documents * exact).sum(axis=1).min() >= 0.99


async def test_what_is_no_sentence_stays_within_0_96_cosine_of_float32(
    embedder: MiniLmEmbedder, reference: FloatMiniLm, wordpiece: WordPiece
) -> None:
    exact = np.array([reference.embed(wordpiece.ids(text)) for text in NO_SENTENCES])
    queries = np.array([await embedder.embed_query(text) for text in NO_SENTENCES])
    assert (queries * exact).sum(axis=1).min() >= 0.96


def test_seven_bits_of_weight_stay_within_0_985_of_float32(
    reference: FloatMiniLm, wordpiece: WordPiece
) -> None:
    graph = build_graph(load_file(require_weights().model), weight_bits=7)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    for text in SENTENCES[:8]:
        ids = wordpiece.ids(text)
        (vectors,) = session.run(None, padded([ids]))
        assert float(vectors[0] @ reference.embed(ids)) >= 0.985


async def test_similarities_are_those_published_for_the_model(
    embedder: MiniLmEmbedder, reference: FloatMiniLm, wordpiece: WordPiece
) -> None:
    texts = [
        "That is a happy person",
        "That is a happy dog",
        "That is a very happy person",
        "Today is a sunny day",
    ]
    published = [0.695, 0.943, 0.257]
    exact = np.array([reference.embed(wordpiece.ids(text)) for text in texts])
    assert exact[1:] @ exact[0] == pytest.approx(published, abs=0.001)
    vectors = np.array(await embedder.embed_documents(texts))
    assert vectors[1:] @ vectors[0] == pytest.approx(published, abs=0.03)


async def test_meaning_outweighs_words(embedder: MiniLmEmbedder) -> None:
    query = await embedder.embed_query("How can I send back a pair of shoes?")
    related, unrelated = await embedder.embed_documents(
        ["Returning footwear is free within thirty days.", "A pair of aces beats a pair of kings."]
    )
    assert np.dot(query, related) > np.dot(query, unrelated) + 0.2


async def test_padding_by_a_longer_neighbour_hardly_moves_a_vector(
    embedder: MiniLmEmbedder,
) -> None:
    alone = await embedder.embed_query(SENTENCES[1])
    together = await embedder.embed_documents([SENTENCES[1], SENTENCES[2] + " " + SENTENCES[3]])
    assert np.dot(alone, together[0]) >= 0.99


async def test_text_beyond_256_tokens_is_not_seen(embedder: MiniLmEmbedder) -> None:
    head = "linen " * 254
    assert await embedder.embed_query(head) == await embedder.embed_query(head + "tax law " * 99)


def test_the_identity_names_the_weights(embedder: MiniLmEmbedder) -> None:
    assert embedder.identity.name == "all-MiniLM-L6-v2/onnx-int8"
    assert embedder.identity.dimensions == 384
    assert embedder.identity.digest == MODEL_SHA256


def test_tokens_are_counted_without_the_special_ones(embedder: MiniLmEmbedder) -> None:
    assert embedder.count_tokens("Linen shrinks.") == 4
    assert embedder.count_tokens("wool " * 1_000) == 1_000


async def test_queries_run_while_every_bulk_thread_is_busy(
    embedder: MiniLmEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    busy = threading.Semaphore(0)
    embed_batch = MiniLmEmbedder._embed_batch

    def held(self: MiniLmEmbedder, ids: list[list[int]]) -> list[list[float]]:
        if threading.current_thread().name.startswith("embed-bulk"):
            busy.release()
            release.wait()
        return embed_batch(self, ids)

    monkeypatch.setattr(MiniLmEmbedder, "_embed_batch", held)
    bulk = asyncio.create_task(embedder.embed_documents(["word " * 200] * 8))
    try:
        for _ in range(2):
            await asyncio.to_thread(busy.acquire)
        assert len(await embedder.embed_query("Where is my parcel?")) == 384
        assert not bulk.done()
    finally:
        release.set()
    assert len(await bulk) == 8


async def test_a_failing_batch_ends_the_call_and_the_rest_is_not_run(
    embedder: MiniLmEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def failing(self: MiniLmEmbedder, ids: list[list[int]]) -> list[list[float]]:
        calls.append(len(ids))
        raise EmbedderError("The embedding model failed: no memory.")

    monkeypatch.setattr(MiniLmEmbedder, "_embed_batch", failing)
    with pytest.raises(EmbedderError, match="no memory"):
        await embedder.embed_documents(["word " * 200] * 50)
    assert len(calls) <= 2


async def test_a_caller_that_leaves_stops_its_bulk_work(
    embedder: MiniLmEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    started = threading.Semaphore(0)
    calls: list[int] = []

    def held(self: MiniLmEmbedder, ids: list[list[int]]) -> list[list[float]]:
        calls.append(len(ids))
        started.release()
        release.wait()
        return [[0.0]] * len(ids)

    monkeypatch.setattr(MiniLmEmbedder, "_embed_batch", held)
    bulk = asyncio.create_task(embedder.embed_documents(["word " * 200] * 50))
    await asyncio.to_thread(started.acquire)
    bulk.cancel()
    with pytest.raises(asyncio.CancelledError):
        await bulk
    release.set()
    await embedder.close()
    assert len(calls) <= 2


async def test_warming_up_runs_the_model(embedder: MiniLmEmbedder) -> None:
    await embedder.warm()
