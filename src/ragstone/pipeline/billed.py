"""Embedders and rerankers that cost: each call is reserved before and settled after.

Around those that cost nothing nothing is counted.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TypeGuard

from ragstone.domain.collection import EmbedderIdentity
from ragstone.domain.passage import Passage
from ragstone.domain.usage import Usage
from ragstone.governance.measured import Measured, measured
from ragstone.governance.prices import Price
from ragstone.governance.token_bound import most_tokens
from ragstone.governance.token_estimate import about_tokens
from ragstone.pipeline.settle import Bill, Call
from ragstone.ports import Embedder, KeepingEmbedder, RecallingEmbedder, Reranker


def billed_embedder(embedder: Embedder, bill: Bill) -> Embedder:
    """What it embeds is on the bill. Its calls also raise `BudgetExhausted`."""
    price, own = bill.prices.embedder, own_embedder(embedder, bill.spender.tenant)
    return own if price.free else _BilledEmbedder(own, price, bill)


def own_embedder(embedder: Embedder, tenant: str) -> Embedder:
    """The same with what it keeps for this tenant, where it keeps anything."""
    return embedder.of_tenant(tenant) if _keeps(embedder) else embedder


def _keeps(embedder: Embedder) -> TypeGuard[KeepingEmbedder]:
    return _is_keeping(type(embedder))


@lru_cache(maxsize=64)
def _is_keeping(kind: type) -> bool:
    """Remembered: to see whether a class has a protocol's methods takes 6 to 16 us."""
    return issubclass(kind, KeepingEmbedder)


def billed_reranker(reranker: Reranker | None, bill: Bill) -> Reranker | None:
    """What it reorders is on the bill. Its calls also raise `BudgetExhausted`."""
    price = bill.prices.reranker
    if reranker is None or price.free:
        return reranker
    return _BilledReranker(reranker, price, bill)


class _BilledEmbedder:
    """Implements `ports.Embedder`."""

    def __init__(self, embedder: Embedder, price: Price, bill: Bill) -> None:
        self._embedder = embedder
        self._price = price
        self._bill = bill

    @property
    def identity(self) -> EmbedderIdentity:
        return self._embedder.identity

    async def embed_query(self, text: str) -> list[float]:
        if isinstance(self._embedder, RecallingEmbedder):
            kept = await self._embedder.recall(text)
            if kept is not None:
                return kept
        return (await self._paid([text], query=True))[0]

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        return await self._paid(texts, query=False)

    def count_tokens(self, text: str) -> int:
        return self._embedder.count_tokens(text)

    async def close(self) -> None:
        await self._embedder.close()

    async def _paid(self, texts: Sequence[str], *, query: bool) -> list[list[float]]:
        about = Usage(embedding_tokens=sum(map(about_tokens, texts)), estimated=True)
        most = sum(map(most_tokens, texts))
        call = await self._bill.reserve(
            "embedding", self.identity.name, self._price, most_tokens=most, about=about
        )
        with _settled(self._bill, call, about):
            if query:
                return [await self._embedder.embed_query(texts[0])]
            return await self._embedder.embed_documents(texts)


class _BilledReranker:
    """Implements `ports.Reranker`."""

    def __init__(self, reranker: Reranker, price: Price, bill: Bill) -> None:
        self._reranker = reranker
        self._price = price
        self._bill = bill

    @property
    def name(self) -> str:
        return self._reranker.name

    async def rerank(
        self, question: str, passages: Sequence[Passage], *, deadline: float
    ) -> list[Passage]:
        texts = [passage.text for passage in passages]
        asked = len(texts)  # providers count the question once for each passage
        about = Usage(
            rerank_tokens=asked * about_tokens(question) + sum(map(about_tokens, texts)),
            estimated=True,
        )
        most = asked * most_tokens(question) + sum(map(most_tokens, texts))
        call = await self._bill.reserve(
            "rerank", self.name, self._price, most_tokens=most, about=about
        )
        with _settled(self._bill, call, about):
            return await self._reranker.rerank(question, passages, deadline=deadline)


@contextmanager
def _settled(bill: Bill, call: Call, about: Usage) -> Iterator[None]:
    """Around the call; see `measured`."""
    found = Measured(about)
    try:
        with measured(about) as found:
            yield
    finally:
        bill.settle(call, found.usage)
