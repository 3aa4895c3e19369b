"""Stage 6: hybrid search, with the access filter inside the index's query."""

from ragstone.domain.passage import Passage
from ragstone.domain.principal import Principal
from ragstone.domain.query import Question, SearchRequest
from ragstone.observe.metrics import Metrics
from ragstone.observe.trace import Trace
from ragstone.pipeline.services import Recipe
from ragstone.ports import Searcher


async def retrieve(
    query: str,
    vector: list[float] | None,
    question: Question,
    principal: Principal,
    *,
    limit: int,
    recipe: Recipe,
    index: Searcher,
    embedder: str,
    trace: Trace,
    metrics: Metrics,
) -> list[Passage]:
    """The best `limit` passages that the principal may read, best first; may be empty.

    `embedder` is the name of who made the vector, for the metrics. Raises `DependencyError`
    (the index cannot be reached or is cut off: there is no answer without it), `InvalidFilter`.
    """
    mode = "lexical" if vector is None else question.mode
    request = SearchRequest(
        collection=question.collection,
        mode=mode,
        vector=vector,
        text=query if mode != "dense" else None,
        limit=limit,
        candidates=max(recipe.candidates, limit),
        filters=question.filters,
        fusion=recipe.fusion,
    )
    found = await index.search(principal, request)
    for rung in found.degraded:
        trace.degrade(rung)
    metrics.retrieval_results.labels(mode).observe(len(found.passages))
    if found.passages and (cosine := found.passages[0].scores.dense) is not None:
        metrics.retrieval_top_score.labels(mode, embedder).observe(cosine)
    if not found.passages:
        metrics.retrieval_empty.labels("no_match").inc()
    return found.passages
