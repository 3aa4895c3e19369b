"""What the caches hold for a question at this moment, and what it leaves to them."""

from dataclasses import dataclass
from typing import Final

from ragstone.domain.answer import Answer
from ragstone.domain.budget import Standing
from ragstone.domain.collection import Collection
from ragstone.domain.errors import RagstoneError
from ragstone.domain.kept import KeptAnswer
from ragstone.pipeline.asked import Asked
from ragstone.pipeline.collection import is_current, open_collection
from ragstone.pipeline.generate import EXTRACTIVE
from ragstone.pipeline.material import Material
from ragstone.pipeline.recall import (
    keep,
    kept_again,
    kept_from,
    may_be_kept,
    prompt_key,
    question_key,
    recall,
)
from ragstone.pipeline.services import Services
from ragstone.resilience.time_limit import TimeLimit

_CHECK_SECONDS: Final = 0.5
"""Longest wait for the records before an answer is kept; a gateway's engine takes a millisecond."""


@dataclass(slots=True)
class LookedUp:
    """What was found for a question, and where its answer belongs."""

    key: bytes
    collection: Collection
    kept: KeptAnswer | None = None
    is_due: bool = False
    """Whether it should be made anew before it ends, and there is time for that."""
    counted: bool = False

    def count(self, outcome: str, asked: Asked, s: Services) -> None:
        """The outcome of the look-up, in the metrics, once."""
        if not self.counted and not asked.background:
            self.counted = True
            s.metrics.cache_requests.labels("question", outcome).inc()


@dataclass(frozen=True, slots=True)
class PromptLookedUp:
    """The same for a prompt; without a key where there is nothing to look up."""

    key: bytes | None = None
    kept: KeptAnswer | None = None


async def look_up(asked: Asked, standing: Standing, s: Services) -> LookedUp:
    """What is kept, or in flight, is good only while the collection has not changed: that is
    asked again once there is something to give, since a gateway remembers the collection for a
    second. Raises `UnknownCollection`, `EmbedderMismatch`."""
    found = await _place(asked, s)
    if asked.cache != "use":
        found.counted = True
        return found
    flying = _is_flying(found.key, asked, standing, s)
    kept = await recall(found.key, s.cache)
    if (kept is not None or flying) and not await is_current(found.collection, s.records):
        found = await _place(asked, s)
        found.count("stale", asked, s)
        return found
    if kept is None and flying and not _is_flying(found.key, asked, standing, s):
        kept = await recall(found.key, s.cache)  # what it made was kept before it ended
    if kept is not None:
        found.kept = kept
        calm = not s.ladder.takes("reranker_skipped", "sheddable")
        found.is_due = calm and s.keeping.is_due(kept, s.clock.time())
        found.count("hit", asked, s)
    found.counted |= s.cache is None and not flying
    return found


def _is_flying(key: bytes, asked: Asked, standing: Standing, s: Services) -> bool:
    return s.flights is not None and s.flights.find(key, asked, standing) is not None


async def look_up_prompt(
    material: Material, asked: Asked, found: LookedUp, s: Services
) -> PromptLookedUp:
    """Only what a model wrote is worth a second look."""
    if s.cache is None or s.model is None or not material.passages or asked.cache == "off":
        return PromptLookedUp()
    key = prompt_key(
        material.prompt, material.passages,
        asked.principal, found.collection, asked.application, model_names(s),
    )  # fmt: skip
    if asked.cache == "refresh":
        return PromptLookedUp(key)
    kept = await recall(key, s.cache)
    if kept is not None and await is_cleared(asked, found, s):
        s.metrics.cache_requests.labels("prompt", "stale").inc()
        return PromptLookedUp()
    s.metrics.cache_requests.labels("prompt", "miss" if kept is None else "hit").inc()
    return PromptLookedUp(key, kept)


async def is_cleared(asked: Asked, found: LookedUp, s: Services) -> bool:
    """Whether the collection's kept answers were cleared since it was read, which a gateway may
    have done a second ago: asked before an answer is given that outlives changes of documents."""
    if await is_current(found.collection, s.records):
        return False
    read, now = found.collection, (await _place(asked, s)).collection
    return (now.cache_epoch, now.created_at) != (read.cache_epoch, read.created_at)


async def remember(
    answer: Answer, asked: Asked, found: LookedUp, prompt: PromptLookedUp, s: Services
) -> bytes | None:
    """Keeps the answer by its question, and by its prompt where it says something: the key by
    which it is kept there."""
    if s.cache is None or asked.cache == "off" or not may_be_kept(asked.question, answer):
        return None
    kept = kept_from(answer, found.collection, life=s.keeping.life(answer), clock=s.clock)
    current, untouched = await _still_stands(kept, asked, found, s)
    by_prompt = prompt.key if untouched and not kept.not_found else None
    keys = [found.key] if current else []
    if by_prompt is not None:
        keys.append(by_prompt)
    await keep(keys, kept, s.cache, s.clock, asked.cache_group)
    return by_prompt


async def _still_stands(
    kept: KeptAnswer, asked: Asked, found: LookedUp, s: Services
) -> tuple[bool, bool]:
    """Whether nothing in the collection has changed while the answer was written, and whether
    nothing of what it rests on has: what was erased meanwhile must not be kept even unreachable.
    Neither where the records do not say so soon, since an answer is waiting to be told."""
    try:
        async with TimeLimit(min(_CHECK_SECONDS, asked.deadline.remaining()), TimeoutError):
            if await is_current(found.collection, s.records):
                return True, True
            ids = [document for document, _ in kept.documents]
            versions = await s.records.document_versions(asked.principal.tenant, ids)
    except (RagstoneError, TimeoutError):
        return False, False
    return False, versions == dict(kept.documents)


async def remember_again(
    kept: KeptAnswer, given: Answer, asked: Asked, found: LookedUp, s: Services
) -> None:
    """An answer found by its prompt is kept by this question too: the next need not search."""
    if s.cache is None or not may_be_kept(asked.question, given):
        return
    again = kept_again(kept, given, found.collection)
    current, _ = await _still_stands(again, asked, found, s)
    if current:
        await keep([found.key], again, s.cache, s.clock, asked.cache_group)


async def _place(asked: Asked, s: Services) -> LookedUp:
    collection = await open_collection(
        asked.question.collection, asked.principal, s.records, s.embedder.identity
    )
    key = question_key(
        asked.question, asked.principal, collection, asked.application, model_names(s),
        s.reranker.name if s.reranker else "", s.recipe,
    )  # fmt: skip
    return LookedUp(key, collection)


def model_names(s: Services) -> list[str]:
    """Those that may write, in their order."""
    return [offer.name for offer in s.model.offers] if s.model else [EXTRACTIVE]
