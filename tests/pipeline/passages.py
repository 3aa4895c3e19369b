"""Passages for the tests of the stages."""

from ragstone.domain.passage import Passage, Scores
from ragstone.domain.query import FusionSettings
from ragstone.pipeline.services import Recipe

RECIPE = Recipe(
    candidates=50,
    fusion=FusionSettings(),
    context_tokens=1_000,
    compression=1.0,
    conversation_tokens=800,
    max_tokens=100,
    temperature=0.0,
    model_seconds=60.0,
    rerank_seconds=0.5,
)


def passage(text: str, *, number: int = 1, document: str = "doc_a", start: int = 0) -> Passage:
    """A passage that begins at `start` of its document."""
    return Passage(
        chunk_id=f"{document}-{number}",
        document_id=document,
        external_id=f"{document}.md",
        version=1,
        ordinal=number,
        title="Returns",
        text=text,
        start=start,
        end=start + len(text),
        heading_path=("Sale items",),
        page=None,
        scores=Scores(fused=1.0 / number),
    )
