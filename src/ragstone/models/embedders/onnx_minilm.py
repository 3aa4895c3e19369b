"""all-MiniLM-L6-v2 in ONNX Runtime, on this machine's processor."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import onnxruntime

from ragstone.domain.collection import EmbedderIdentity
from ragstone.domain.errors import EmbedderError, ModelFilesMissing
from ragstone.models.embedders.length_batches import padded, plan_batches
from ragstone.models.embedders.model_cache import built_model
from ragstone.models.embedders.weights import HUB_URL, MODEL_SHA256
from ragstone.models.embedders.wordpiece import WordPiece

DIMENSIONS = 384
MAX_TOKENS = 256
"""Of a text; the rest is not embedded (the model's own limit)."""
BATCH_TOKENS = 512
"""Of a batch with its padding. Measured: 2 x 256 or 4 x 128 is 10 to 15 % faster for each text
than 16 x 128, whose intermediate results fall out of the second-level cache."""

_TOKENISED_AT_ONCE = 32

Input = TypeVar("Input")
Result = TypeVar("Result")


class MiniLmEmbedder:
    """Implements `ports.Embedder`.

    One session, which runs each call on the calling thread alone; `threads` queries and as
    many batches of documents run at once. That keeps more of two cores busy than two threads
    in one call, whose parts wait for each other. Queries and documents have their own
    threads, so that a query never waits for a batch to end.
    """

    def __init__(
        self,
        *,
        cache_dir: Path | None = None,
        weights_dir: Path | None = None,
        hub_url: str = HUB_URL,
        threads: int = 2,
        on_build: Callable[[], None] | None = None,
    ) -> None:
        """Load the model, building it first if need be; see `model_cache.built_model`.

        Blocks for about 0.2 s, or 2 s with the build: call it outside of the event loop.
        Raises `ModelFilesMissing`.
        """
        model = built_model(cache_dir, weights_dir=weights_dir, hub_url=hub_url, on_build=on_build)
        self._wordpiece = WordPiece(model.tokenizer, max_tokens=MAX_TOKENS)
        self._session = _session(model.graph)
        self._threads = threads
        self._queries = ThreadPoolExecutor(threads, thread_name_prefix="embed-query")
        self._bulk = ThreadPoolExecutor(threads, thread_name_prefix="embed-bulk")
        self._identity = EmbedderIdentity(
            name="all-MiniLM-L6-v2/onnx-int8", dimensions=DIMENSIONS, digest=MODEL_SHA256
        )

    @property
    def identity(self) -> EmbedderIdentity:
        return self._identity

    async def warm(self) -> None:
        """Run a short and a long text, so that the first question finds memory allocated."""
        await self.embed_query("warm")
        await self.embed_query("warm " * MAX_TOKENS)

    async def embed_query(self, text: str) -> list[float]:
        return await self._run(self._queries, self._embed_one, text)

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        pieces = [
            texts[start : start + _TOKENISED_AT_ONCE]
            for start in range(0, len(texts), _TOKENISED_AT_ONCE)
        ]
        tokenised = await asyncio.gather(
            *(self._run(self._bulk, self._tokenise, piece) for piece in pieces)
        )
        tokens = [ids for piece in tokenised for ids in piece]
        batches = deque(await self._run(self._bulk, _planned, tokens))
        vectors: list[list[float]] = [[]] * len(texts)

        async def embed_until_none_is_left() -> None:
            while batches:
                batch = batches.popleft()
                ids = [tokens[index] for index in batch]
                try:
                    embedded = await self._run(self._bulk, self._embed_batch, ids)
                except BaseException:
                    batches.clear()  # the result is lost, so the others need not go on
                    raise
                for index, vector in zip(batch, embedded, strict=True):
                    vectors[index] = vector

        # Each holds one batch at a time: another call's batches come in between.
        await asyncio.gather(*(embed_until_none_is_left() for _ in range(self._threads)))
        return vectors

    def count_tokens(self, text: str) -> int:
        return self._wordpiece.count(text)

    async def close(self) -> None:
        """Calls that run end; later ones raise `EmbedderError`. May be called twice."""
        await asyncio.to_thread(self._queries.shutdown)
        await asyncio.to_thread(self._bulk.shutdown)

    async def _run(
        self, executor: ThreadPoolExecutor, call: Callable[[Input], Result], argument: Input
    ) -> Result:
        try:
            future = asyncio.get_running_loop().run_in_executor(executor, call, argument)
        except RuntimeError as error:  # what an executor raises after its shutdown
            raise EmbedderError("The embedder is closed.") from error
        return await future

    def _tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        return [self._wordpiece.ids(text) for text in texts]

    def _embed_one(self, text: str) -> list[float]:
        return self._embed_batch([self._wordpiece.ids(text)])[0]

    def _embed_batch(self, token_ids: Sequence[Sequence[int]]) -> list[list[float]]:
        try:
            (vectors,) = self._session.run(None, padded(token_ids))
        except Exception as error:  # ONNX Runtime's errors share no narrower class
            raise EmbedderError(f"The embedding model failed: {error}.") from error
        rows: list[list[float]] = vectors.tolist()
        return rows


def _planned(tokens: Sequence[Sequence[int]]) -> list[list[int]]:
    return plan_batches([len(ids) for ids in tokens], max_tokens=BATCH_TOKENS)


def _session(graph: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # The graph is fused as it should be; higher levels would fuse Add and LayerNormalization.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    # Lengths vary with every call: a memory plan for each would be kept and never used again.
    options.enable_mem_pattern = False
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no narrower class
        raise ModelFilesMissing(f"The embedding model cannot be loaded: {error}.") from error
