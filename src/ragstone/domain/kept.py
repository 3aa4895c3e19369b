"""An answer as the caches keep it."""

import msgspec

from ragstone.domain.answer import AnswerKind, Citation
from ragstone.domain.passage import Passage
from ragstone.domain.usage import Usage


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """The part of an answer that is the same whenever it is told."""

    answer: str
    answer_kind: AnswerKind
    citations: list[Citation]
    passages: list[Passage]
    collection: str
    model: str


class KeptAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer, what it rests on, and what it cost."""

    told: bytes
    """A `Told` as JSON, so that a response can be made of it without decoding it."""
    checksum: int
    """CRC-32 of `told`."""
    documents: list[tuple[str, int]]
    """Id and version of each document whose text the model saw."""
    generation: int
    epoch: int
    """Both of the collection, when the answer was asked for."""
    made_at: float
    expires_at: float
    """Both in Unix seconds."""
    not_found: bool
    """Whether it says that there is no answer."""
    model: str
    """Who wrote it."""
    usage: Usage
    nanodollars: int
    """What it cost to make."""
