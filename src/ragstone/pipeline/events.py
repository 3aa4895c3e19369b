"""A written answer on its way from the stage that makes it to the stage that checks it."""

import msgspec

from ragstone.domain.answer import AnswerKind, Citation
from ragstone.domain.usage import Usage


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """How the generate stage ends: who wrote, at what cost, with which citations."""

    text: str
    kind: AnswerKind
    citations: list[Citation]
    usage: Usage
    model: str
    labels: list[str] = []
    """What does not hold of this text; noted only where it is the one that is told."""
