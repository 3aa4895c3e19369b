"""Stages 5 and 6: the vector of a query, and what is found by it and by its words.

An index that has the embedder beside it, in another process, is asked for both at once, where
nothing is paid for the vector and it is not kept here: that is one exchange for two.
"""

from functools import lru_cache
from typing import NamedTuple, TypeGuard

from ragstone.domain.passage import Passage
from ragstone.domain.principal import Principal
from ragstone.domain.query import Question, SearchMode, embedded_form
from ragstone.observe.metrics import Metrics
from ragstone.observe.trace import Trace
from ragstone.pipeline.embed import embed
from ragstone.pipeline.retrieve import Wanted, retrieve, told
from ragstone.pipeline.services import Recipe
from ragstone.pipeline.stage import Stage
from ragstone.ports import Embedder, EmbeddingSearcher, QueryVectors, RecallingEmbedder, Searcher
from ragstone.resilience.deadline import Deadline


class Found(NamedTuple):
    passages: list[Passage]
    """Best first; may be empty."""
    vector: list[float] | None
    """The query's; None where the search was by words alone."""


async def find(
    query: str,
    question: Question,
    principal: Principal,
    *,
    limit: int,
    recipe: Recipe,
    embedder: Embedder,
    is_free: bool,
    index: Searcher,
    deadline: Deadline,
    trace: Trace,
    metrics: Metrics,
) -> Found:
    """The best `limit` passages that the principal may read.

    `is_free`: the embedder costs nothing. Raises `DependencyError` (the index cannot be reached or
    is cut off: there is no answer without it), `InvalidFilter`, `DeadlineExceeded`, and what the
    embedder raises where the search is to be by meaning alone.
    """
    wanted = Wanted(query, question, principal, limit, recipe)
    name = embedder.identity.name
    at_once = index if is_free and question.mode == "hybrid" and _embeds(index) else None
    async with Stage("embed", deadline, trace):
        if at_once is None:
            vector = await embed(query, question.mode, embedder, deadline, trace)
        else:
            vector = await embedder.recall(query) if _keeps(embedder) else None
    async with Stage("retrieve", deadline, trace):
        if at_once is None or vector is not None:
            return Found(await retrieve(wanted, vector, index, name, trace, metrics), vector)
        text = embedded_form(query)
        result = await at_once.embed_and_search(
            principal, wanted.request(None, "hybrid"), text, seconds=deadline.embed_seconds()
        )
        if result.vector is not None and _keeps(embedder):
            await embedder.keep(text, result.vector)
        mode: SearchMode = "lexical" if result.vector is None else "hybrid"
        return Found(told(result, mode, name, trace, metrics), result.numbers())


def _embeds(index: Searcher) -> TypeGuard[EmbeddingSearcher]:
    return _has_methods_of(EmbeddingSearcher, type(index))


def _keeps(embedder: Embedder) -> TypeGuard[RecallingEmbedder]:
    return _has_methods_of(QueryVectors, type(embedder))


@lru_cache(maxsize=64)
def _has_methods_of(protocol: type, kind: type) -> bool:
    """Remembered: to see whether a class has a protocol's methods takes 6 to 16 us."""
    return issubclass(kind, protocol)
