"""What is asked: the question, the conversation before it, and filters."""

import unicodedata
from typing import Annotated, Literal

import msgspec

_Text = Annotated[str, msgspec.Meta(max_length=1000)]
_Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Values = Annotated[list[_Text | _Integer | float | bool], msgspec.Meta(max_length=256)]

SearchMode = Literal["hybrid", "dense", "lexical"]


def embedded_form(text: str) -> str:
    """Of a query: composed (NFC) and with single spaces, which no reader sees. Letter case stays,
    which may matter to a model."""
    return " ".join(unicodedata.normalize("NFC", text).split())


class Turn(msgspec.Struct, frozen=True):
    """One earlier message of the conversation."""

    role: Literal["user", "assistant", "system"]
    content: str


class Filter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A condition on one metadata field; all given bounds must hold.

    On a list field a condition holds when any element satisfies it.
    """

    field: _Text
    any_of: _Values | None = None
    """The value equals one of these."""
    none_of: _Values | None = None
    """The value equals none of these (documents without the field pass)."""
    gte: float | None = None
    lte: float | None = None

    @property
    def is_empty(self) -> bool:
        """It names a field and asks nothing of it."""
        bounds = (self.any_of, self.none_of, self.gte, self.lte)
        return all(bound is None for bound in bounds)


Filters = Annotated[list[Filter], msgspec.Meta(max_length=16)]
"""Of one request; all must hold."""


class FusionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the dense and lexical legs become one ranking."""

    method: Literal["convex", "rrf"] = "convex"
    dense_weight: float = 0.7
    """Share of the dense leg in [0, 1]; the lexical leg has the rest."""
    rrf_k: int = 60
    """Cormack, Clarke and Buettcher, SIGIR 2009."""


class SearchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One retrieval from one collection. Who asks is a separate, mandatory argument."""

    collection: str
    mode: SearchMode = "hybrid"
    vector: list[float] | None = None
    """The query's embedding; needed by `dense` and `hybrid`."""
    text: str | None = None
    """The query's words; needed by `lexical` and `hybrid`."""
    limit: int = 10
    candidates: int = 50
    """How many of each leg are fused."""
    filters: tuple[Filter, ...] = ()
    fusion: FusionSettings = FusionSettings()


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One question as the pipeline receives it."""

    text: str
    collection: str
    conversation: tuple[Turn, ...] = ()
    filters: tuple[Filter, ...] = ()
    top_k: int = 5
    mode: SearchMode = "hybrid"
