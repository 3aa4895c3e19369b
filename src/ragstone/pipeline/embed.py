"""Stage 5: the query's vector; without one the search goes on with words alone."""

import asyncio
from typing import Final

from ragstone.domain.errors import EmbedderError
from ragstone.domain.query import SearchMode
from ragstone.observe.metrics import Metrics
from ragstone.observe.trace import Trace
from ragstone.ports import Embedder
from ragstone.resilience.deadline import Deadline

_SHARE: Final = 0.25
"""Of the request's time: an embedder that hangs must leave enough for a lexical answer."""


async def embed(
    query: str,
    mode: SearchMode,
    embedder: Embedder,
    deadline: Deadline,
    trace: Trace,
    metrics: Metrics,
) -> list[float] | None:
    """None when the mode needs no vector, or when the embedder failed or hung (then labelled)."""
    if mode == "lexical":
        return None
    try:
        async with asyncio.timeout(min(_SHARE * deadline.seconds, deadline.remaining())):
            vector = await embedder.embed_query(query)
    except (EmbedderError, TimeoutError) as error:
        metrics.dependency_requests.labels("embedder", "error").inc()
        if mode == "dense":
            if isinstance(error, EmbedderError):
                raise
            raise EmbedderError("The embedder did not answer in time.") from error
        trace.degrade("lexical_only", error)
        return None
    metrics.dependency_requests.labels("embedder", "ok").inc()
    return vector
