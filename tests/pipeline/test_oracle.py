"""No answer from a cache differs from what a fresh run would have given; the judge can tell."""

from collections.abc import Callable
from typing import Any

import pytest

from ragstone.caches.memory import MemoryCache
from ragstone.domain.collection import Collection
from ragstone.pipeline import lookup
from tests.pipeline.oracle import Outcome, Plan, Run
from tests.virtual_loop import run, running_clock


def _outcome(plan: Plan) -> Outcome:
    async def scenario() -> Outcome:
        clock = running_clock()
        caches = [MemoryCache(max_bytes=4_000_000, clock=clock) for _ in range(plan.processes)]
        return await Run(plan, clock, caches).run()

    return run(scenario())


@pytest.mark.parametrize("seed", range(2))
def test_no_answer_differs_from_a_fresh_run(seed: int) -> None:
    outcome = _outcome(Plan(seed=seed))
    assert outcome.wrong == []
    assert outcome.answered == 600
    assert outcome.in_change > 0
    assert outcome.model_calls < 300
    assert {"miss", "hit question", "hit prompt", "joined"} <= outcome.by_cache.keys()


def _without_generation(key: Callable[..., bytes]) -> Callable[..., bytes]:
    def keyed(asked: Any, principal: Any, collection: Collection, *rest: Any) -> bytes:
        unchanged = Collection(
            tenant=collection.tenant, name=collection.name, embedder=collection.embedder,
            generation=0, document_count=0, chunk_count=0, created_at=0.0,
        )  # fmt: skip
        return key(asked, principal, unchanged, *rest)

    return keyed


async def _believe(*_: Any) -> bool:
    return True


def test_the_judge_notices_a_key_without_the_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "question_key", _without_generation(lookup.question_key))
    assert _outcome(Plan()).wrong


def test_the_judge_notices_a_generation_that_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "is_current", _believe)
    assert _outcome(Plan(changes=60)).wrong
