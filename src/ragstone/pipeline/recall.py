"""Stages 3 and 9: answers made before, found by question or by prompt.

Every input that could change the answer is part of the key, so an entry is never served
where a fresh run would differ: tenant, access tokens, the collection's generation (any
change of a document raises it), conversation, filters, application, prompt version, model
and recipe. The key by prompt holds the evidence itself.
"""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec

from ragstone.domain.answer import Answer
from ragstone.domain.application import Application
from ragstone.domain.collection import Collection
from ragstone.domain.passage import Passage
from ragstone.domain.principal import Principal
from ragstone.domain.query import Question
from ragstone.observe.metrics import Metrics
from ragstone.pipeline.services import Recipe
from ragstone.ports import CacheStore, Prompt
from ragstone.resilience.ladder import costs_quality

_DECODER = msgspec.msgpack.Decoder(Answer)
_ENCODER = msgspec.msgpack.Encoder()


def question_key(
    question: Question,
    principal: Principal,
    collection: Collection,
    application: Application,
    model: str,
    recipe: Recipe,
) -> bytes:
    """The address of the answer to this question, as this principal would get it now."""
    asked = msgspec.structs.replace(question, text=" ".join(question.text.split()))
    return _digest(
        "question",
        principal.tenant,
        principal.access_tokens(),
        collection.generation,
        asked,
        application.name,
        application.prompt_version,
        model,
        recipe,
    )


def prompt_key(
    prompt: Prompt,
    passages: list[Passage],
    principal: Principal,
    application: Application,
    model: str,
) -> bytes:
    """The address of what this model writes for this prompt over this evidence."""
    evidence = [(passage.chunk_id, passage.start, passage.end) for passage in passages]
    return _digest("prompt", principal.tenant, prompt, evidence, application.prompt_version, model)


def _digest(*parts: object) -> bytes:
    return hashlib.sha256(_ENCODER.encode(parts)).digest()


async def recall(
    kind: Literal["question", "prompt"],
    key: bytes,
    cache: CacheStore | None,
    metrics: Metrics,
    still: Callable[[], Awaitable[bool]] | None = None,
) -> Answer | None:
    """The kept answer, or None. An entry that cannot be read counts as absent.

    `still` says whether what is found may be used at this moment; it raises what it must.
    """
    if cache is None:
        return None
    value = await cache.get(key)
    try:
        answer = None if value is None else _DECODER.decode(value.value)
    except msgspec.MsgspecError:
        answer = None
    outcome = "miss" if answer is None else "hit"
    if answer is not None and still is not None and not await still():
        answer, outcome = None, "stale"
    metrics.cache_requests.labels(kind, outcome).inc()
    return answer


async def remember(
    keys: list[bytes], answer: Answer, cache: CacheStore | None, ttl: float, group: str
) -> None:
    """Keep a whole answer; one that was degraded must not outlive its cause."""
    if cache is None or any(map(costs_quality, answer.degraded)):
        return
    value = _ENCODER.encode(answer)
    for key in keys:
        await cache.put(key, value, ttl=ttl, group=group)
