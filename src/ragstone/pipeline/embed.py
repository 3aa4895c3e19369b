"""Stage 5: the query's vector; without one the search goes on with words alone."""

from ragstone.domain.errors import EmbedderError
from ragstone.domain.query import SearchMode
from ragstone.observe.trace import Trace
from ragstone.ports import Embedder


async def embed(
    query: str, mode: SearchMode, embedder: Embedder, trace: Trace
) -> list[float] | None:
    """None when the mode needs no vector, or when the embedder failed (then labelled)."""
    if mode == "lexical":
        return None
    try:
        return await embedder.embed_query(query)
    except EmbedderError as error:
        if mode == "dense":
            raise
        trace.degrade("lexical_only", error)
        return None
