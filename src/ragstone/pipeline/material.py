"""What an answer is made of, on its way from the stages that find it to those that write."""

from collections.abc import Sequence
from dataclasses import dataclass

from ragstone.domain.application import Application
from ragstone.domain.passage import Passage
from ragstone.ports import Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Evidence, and how the model is asked."""

    query: str
    """The question as it stands alone."""
    vector: Sequence[float] | None
    """Of `query`, where there is one. Kept for as long as the answer is written: as an array of
    single precision, which is all that embedders have, 1.5 kB, as a list of Python's numbers 12."""
    passages: list[Passage]
    """The evidence, best first; passage `n` of the prompt is `passages[n - 1]`."""
    prompt: Prompt
    saved_tokens: int = 0
    """That the prompt would have more with its passages whole; estimated."""
    application: Application
