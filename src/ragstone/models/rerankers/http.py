"""Any server that speaks `/rerank` as Cohere and Jina do (vLLM, TEI, Infinity among them)."""

from collections.abc import Sequence
from typing import Final

import aiohttp
import msgspec

from ragstone.domain.errors import DependencyError
from ragstone.domain.meter import count_tokens
from ragstone.domain.passage import Passage
from ragstone.ports import Clock

_DETAIL_CHARS: Final = 200


class _Request(msgspec.Struct):
    model: str
    query: str
    documents: list[str]
    top_n: int
    return_documents: bool = False


class _Row(msgspec.Struct):
    index: int
    relevance_score: float


class _Usage(msgspec.Struct):
    total_tokens: int | None = None


class _Response(msgspec.Struct):
    results: list[_Row]
    usage: _Usage | None = None
    """As Jina and vLLM count; Cohere counts searches."""


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(_Response)


class HttpReranker:
    """Implements `ports.Reranker`."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        base_url: str,
        model: str,
        api_key: str,
        clock: Clock,
    ) -> None:
        self._session = session
        self._url = base_url.rstrip("/") + "/rerank"
        self._model = model
        self._clock = clock
        self._headers = {"Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"

    @property
    def name(self) -> str:
        return self._model

    async def rerank(
        self, question: str, passages: Sequence[Passage], *, deadline: float
    ) -> list[Passage]:
        """Scores of the fusion stay on the passages; only the order changes."""
        texts = [passage.text for passage in passages]
        body = _ENCODER.encode(_Request(self._model, question, texts, len(texts)))
        timeout = aiohttp.ClientTimeout(total=max(0.001, deadline - self._clock.monotonic()))
        try:
            async with self._session.post(
                self._url, data=body, headers=self._headers, timeout=timeout
            ) as response:
                raw = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise DependencyError(
                f"The reranker at {self._url} did not answer: {error or 'too slow'}.",
                remedy="Check reranker.base_url.",
            ) from error
        if response.status != 200:
            detail = raw[:_DETAIL_CHARS].decode(errors="replace")
            raise DependencyError(
                f"The reranker at {self._url} answered {response.status}: {detail}",
                remedy="Check reranker.model and reranker.api_key.",
            )
        return _in_order(raw, passages, self._url)


def _in_order(raw: bytes, passages: Sequence[Passage], url: str) -> list[Passage]:
    """The named passages by score; any that the server left out follow in their old order."""
    try:
        response = _DECODER.decode(raw)
        if response.usage is not None:
            count_tokens(response.usage.total_tokens)
        rows = response.results
        ranked = sorted(rows, key=lambda row: -row.relevance_score)
        order = list(dict.fromkeys(row.index for row in ranked))
        first = [passages[index] for index in order if index >= 0]
    except (msgspec.MsgspecError, IndexError) as error:
        raise DependencyError(
            f"The reranker at {url} sent something that is not a ranking: {error}."
        ) from error
    return first + [p for index, p in enumerate(passages) if index not in set(order)]
