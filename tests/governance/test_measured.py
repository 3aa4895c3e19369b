"""What a call used is what its provider counted, however it ended."""

import asyncio
from contextlib import suppress

import pytest

from ragstone.domain.errors import CircuitOpen, DeadlineExceeded, EmbedderError
from ragstone.domain.meter import count_tokens
from ragstone.domain.usage import MOST_TOKENS, Usage
from ragstone.governance.measured import measured

ABOUT = Usage(embedding_tokens=100, estimated=True)


def because(cause: BaseException) -> EmbedderError:
    error = EmbedderError("no")
    error.__cause__ = cause
    return error


async def use(
    *counts: int | None, about: Usage = ABOUT, ends: BaseException | None = None
) -> Usage:
    with suppress(*[type(ends)] if ends is not None else ()), measured(about) as found:
        for count in counts:  # as an adapter whose batches are tasks
            await asyncio.create_task(counted(count))
        if ends is not None:
            raise ends
    return found.usage


async def counted(count: int | None) -> None:
    count_tokens(count)


@pytest.mark.parametrize(
    ("counts", "used"),
    [
        ((), ABOUT),
        ((None, 0), ABOUT),
        ((-7, MOST_TOKENS + 1), ABOUT),
        ((40,), Usage(embedding_tokens=40)),
        ((130, 90), Usage(embedding_tokens=220)),
    ],
)
async def test_the_providers_count_wins(counts: tuple[int | None, ...], used: Usage) -> None:
    assert await use(*counts) == used


@pytest.mark.parametrize(
    ("counts", "ends", "used"),
    [
        ((), EmbedderError("refused"), Usage()),
        ((), because(CircuitOpen("open")), Usage()),
        ((30,), EmbedderError("the second batch was refused"), Usage(embedding_tokens=30)),
        ((), because(TimeoutError()), ABOUT),
        ((), because(DeadlineExceeded("late")), ABOUT),
        ((30,), because(TimeoutError()), ABOUT),
        ((130,), because(TimeoutError()), Usage(embedding_tokens=130)),
        ((30,), asyncio.CancelledError(), ABOUT),
        ((130,), asyncio.CancelledError(), Usage(embedding_tokens=130)),
    ],
)
async def test_what_failed_is_charged_as_far_as_it_came(
    counts: tuple[int, ...], ends: BaseException, used: Usage
) -> None:
    assert await use(*counts, ends=ends) == used


async def test_a_rerankers_tokens_stay_a_rerankers() -> None:
    about = Usage(rerank_tokens=9, estimated=True)
    assert await use(40, about=about) == Usage(rerank_tokens=40)


async def test_calls_at_the_same_time_are_counted_apart() -> None:
    assert await asyncio.gather(use(10), use(20, 1), use()) == [
        Usage(embedding_tokens=10),
        Usage(embedding_tokens=21),
        ABOUT,
    ]


def test_outside_nobody_listens() -> None:
    count_tokens(5)
