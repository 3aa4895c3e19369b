"""Stage 5: the query's vector; without one the search goes on with words alone."""

from ragstone.domain.errors import BudgetExhausted, DependencyError, EmbedderError
from ragstone.domain.query import SearchMode
from ragstone.observe.trace import Trace
from ragstone.ports import Embedder
from ragstone.resilience.deadline import Deadline
from ragstone.resilience.time_limit import TimeLimit


async def embed(
    query: str,
    mode: SearchMode,
    embedder: Embedder,
    deadline: Deadline,
    trace: Trace,
) -> list[float] | None:
    """None when the mode needs no vector, or (labelled) when the embedder failed, hung, is cut
    off, or costs more than is left. Raises why where the search is to be by meaning alone."""
    if mode == "lexical":
        return None
    try:
        async with TimeLimit(deadline.embed_seconds(), TimeoutError):
            return await embedder.embed_query(query)
    except (DependencyError, BudgetExhausted, TimeoutError) as error:
        if mode == "dense":
            if not isinstance(error, TimeoutError):
                raise
            raise EmbedderError("The embedder did not answer in time.") from error
        trace.degrade("lexical_only", error)
        return None
