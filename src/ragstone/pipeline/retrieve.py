"""Stage 6: hybrid search, with the access filter inside the index's query."""

from dataclasses import dataclass

from ragstone.domain.passage import Passage, SearchResult
from ragstone.domain.principal import Principal
from ragstone.domain.query import Question, SearchMode, SearchRequest
from ragstone.observe.metrics import Metrics
from ragstone.observe.trace import Trace
from ragstone.pipeline.services import Recipe
from ragstone.ports import Searcher


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be found, and for whom."""

    query: str
    question: Question
    principal: Principal
    limit: int
    recipe: Recipe

    def request(self, vector: list[float] | None, mode: SearchMode) -> SearchRequest:
        return SearchRequest(
            collection=self.question.collection,
            mode=mode,
            vector=vector,
            text=self.query if mode != "dense" else None,
            limit=self.limit,
            candidates=max(self.recipe.candidates, self.limit),
            filters=self.question.filters,
            fusion=self.recipe.fusion,
        )


async def retrieve(
    wanted: Wanted,
    vector: list[float] | None,
    index: Searcher,
    embedder: str,
    trace: Trace,
    metrics: Metrics,
) -> list[Passage]:
    """The best passages that the principal may read, best first; may be empty.

    `embedder` is the name of who made the vector, for the metrics. Raises `DependencyError`
    (the index cannot be reached or is cut off: there is no answer without it), `InvalidFilter`.
    """
    mode = "lexical" if vector is None else wanted.question.mode
    result = await index.search(wanted.principal, wanted.request(vector, mode))
    return told(result, mode, embedder, trace, metrics)


def told(
    result: SearchResult, mode: SearchMode, embedder: str, trace: Trace, metrics: Metrics
) -> list[Passage]:
    """The passages; what the search could not do is noted, and how it went is counted."""
    for rung in result.degraded:
        trace.degrade(rung)
    metrics.retrieval_results.labels(mode).observe(len(result.passages))
    if result.passages and (cosine := result.passages[0].scores.dense) is not None:
        metrics.retrieval_top_score.labels(mode, embedder).observe(cosine)
    if not result.passages:
        metrics.retrieval_empty.labels("no_match").inc()
    return result.passages
