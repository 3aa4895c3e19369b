"""What providers count of calls whose ports return something else.

Vectors and passages say nothing of the tokens that they cost. So whoever pays for a call makes it
inside `metered`, and the adapter that hears the provider's count says it with `count_tokens`;
it arrives also from tasks that the call begins. Outside `metered` nobody listens.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from ragstone.domain.usage import MOST_TOKENS


@dataclass(slots=True)
class Meter:
    tokens: int = 0


_METER: Final[ContextVar[Meter | None]] = ContextVar("meter", default=None)


@contextmanager
def metered() -> Iterator[Meter]:
    """A meter for the calls made inside."""
    outer, meter = _METER.get(), Meter()
    _METER.set(meter)
    try:
        yield meter
    finally:
        _METER.set(outer)


def count_tokens(tokens: int | None) -> None:
    """A provider's count; what can be none, below zero or beyond reason, is left out."""
    meter = _METER.get()
    if meter is not None and tokens is not None and 0 < tokens <= MOST_TOKENS:
        meter.tokens += tokens
