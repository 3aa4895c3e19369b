"""What a call to an embedder or a reranker used, however it ended."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ragstone.domain.errors import DeadlineExceeded, DependencyError
from ragstone.domain.meter import Meter, metered
from ragstone.domain.usage import Usage


@dataclass(slots=True)
class Measured:
    usage: Usage


@contextmanager
def measured(about: Usage) -> Iterator[Measured]:
    """Around the call. Afterwards, also where it raised, `usage` is what its provider counted,
    and `about` where it counted nothing.

    Of a call that failed only what was counted before counts: some of its batches may have been
    embedded. One that was given up, and not refused, may have used it all.
    """
    found = Measured(about)
    with metered() as meter:
        try:
            yield found
        except DependencyError as error:
            found.usage = _at_least(about if _given_up(error) else Usage(), meter, about)
            raise
        except BaseException:
            found.usage = _at_least(about, meter, about)
            raise
        if meter.tokens:
            found.usage = _counted(meter, about)


def _given_up(error: DependencyError) -> bool:
    return isinstance(error.__cause__, TimeoutError | DeadlineExceeded)


def _at_least(usage: Usage, meter: Meter, about: Usage) -> Usage:
    known = usage.embedding_tokens + usage.rerank_tokens
    return usage if known >= meter.tokens else _counted(meter, about)


def _counted(meter: Meter, about: Usage) -> Usage:
    """Of the kind that `about` is of."""
    if about.rerank_tokens:
        return Usage(rerank_tokens=meter.tokens)
    return Usage(embedding_tokens=meter.tokens)
