"""Stage 7: the candidates in a better order, when a reranker is configured and in time."""

from ragstone.domain.errors import BudgetExhausted, DependencyError
from ragstone.domain.passage import Passage
from ragstone.domain.principal import Priority
from ragstone.observe.trace import Trace
from ragstone.pipeline.services import Recipe
from ragstone.ports import Reranker
from ragstone.resilience.deadline import Deadline
from ragstone.resilience.ladder import LoadLadder
from ragstone.resilience.time_limit import TimeLimit


def unless_overloaded(
    reranker: Reranker | None, ladder: LoadLadder, priority: Priority, trace: Trace
) -> Reranker | None:
    """The reranker, or None (labelled) when load has taken its rung."""
    if reranker is not None and ladder.takes("reranker_skipped", priority):
        trace.degrade("reranker_skipped")
        return None
    return reranker


async def rerank(
    query: str,
    passages: list[Passage],
    reranker: Reranker | None,
    recipe: Recipe,
    deadline: Deadline,
    trace: Trace,
) -> list[Passage]:
    """The fused order when there is no reranker, or (labelled) when it failed, was slow, or
    costs more than is left."""
    if reranker is None or len(passages) < 2:
        return passages
    try:
        async with TimeLimit(deadline.within(recipe.rerank_seconds), TimeoutError):
            return await reranker.rerank(query, passages, deadline=deadline.at)
    except (DependencyError, BudgetExhausted, TimeoutError) as error:
        trace.degrade("reranker_skipped", error)
        return passages
