"""Stages 3 and 9: answers made before, found by question or by prompt.

Every input that could change the answer is part of the key, so an entry is never served
where a fresh run would differ: tenant, access tokens, the collection's generation (any
change of a document raises it) and epoch (raised when its cache is cleared), conversation,
filters, application, prompt version, models, reranker and recipe. The key by prompt holds the
evidence itself, so it outlives changes of other documents. Both hold the moment at which the
collection was made: a shared cache may know another one of the same name and counters, of another
data folder or of one that was wiped.

Of the question's text only what no reader sees is evened out: Unicode composition (NFC) and white
space. Letter case is not: it tells `IT` from `it` and `Polish` from `polish`, and the model sees
it.
"""

import hashlib
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Final
from zlib import crc32

import msgspec

from ragstone.domain.answer import Answer
from ragstone.domain.application import Application
from ragstone.domain.collection import Collection
from ragstone.domain.kept import KeptAnswer, Told
from ragstone.domain.passage import Passage
from ragstone.domain.principal import Principal
from ragstone.domain.query import Question
from ragstone.governance.personal import is_personal
from ragstone.pipeline.services import Recipe
from ragstone.ports import CacheStore, Clock, Prompt
from ragstone.resilience.ladder import costs_quality

_FORMAT: Final = 3
"""Of `KeptAnswer` and `Told`: raised when they change, so that old entries are not found."""

_DECODER: Final = msgspec.msgpack.Decoder(KeptAnswer)
_ENCODER: Final = msgspec.msgpack.Encoder()
_TOLD: Final = msgspec.json.Decoder(Told)
_TELLER: Final = msgspec.json.Encoder()


def question_key(
    question: Question,
    principal: Principal,
    collection: Collection,
    application: Application,
    models: list[str],
    reranker: str,
    recipe: Recipe,
) -> bytes:
    """The address of the answer to this question, as this principal would get it now."""
    asked = msgspec.structs.replace(question, text=_normal(question.text))
    own = (*_made(collection), collection.generation, principal.access_tokens(), asked)
    digest = _of_all_questions(
        principal.tenant,
        application.name,
        application.prompt_version,
        tuple(models),
        reranker,
        recipe,
    ).copy()
    digest.update(_ENCODER.encode(own))
    return digest.digest()


@lru_cache(maxsize=1024)
def _of_all_questions(*parts: object) -> "hashlib._Hash":
    """The beginning of the keys of questions, which is the same for most of them."""
    return hashlib.sha256(_ENCODER.encode((_FORMAT, "question", *parts)))


def prompt_key(
    prompt: Prompt,
    passages: list[Passage],
    principal: Principal,
    collection: Collection,
    application: Application,
    models: list[str],
) -> bytes:
    """The address of what these models write for this prompt over this evidence."""
    evidence = [(passage.chunk_id, passage.start, passage.end) for passage in passages]
    return _digest(
        "prompt",
        principal.tenant,
        _made(collection),
        prompt,
        evidence,
        application.prompt_version,
        models,
    )


def evidence_key(
    question: Question,
    passages: list[Passage],
    principal: Principal,
    collection: Collection,
    application: Application,
    models: list[str],
    recipe: Recipe,
) -> bytes:
    """The address of the questions that were answered from these passages, in whatever order, by
    who reads the same; of the question all but its words."""
    return _digest(
        "evidence",
        principal.tenant,
        principal.access_tokens(),
        _made(collection),
        msgspec.structs.replace(question, text=""),
        sorted((passage.chunk_id, passage.start, passage.end) for passage in passages),
        application.name,
        application.prompt_version,
        models,
        recipe,
    )


def _made(collection: Collection) -> tuple[float, int]:
    """Which collection of its name this is, and since when its answers are kept."""
    return collection.created_at, collection.cache_epoch


def _normal(text: str) -> str:
    composed = text if text.isascii() else unicodedata.normalize("NFC", text)
    return " ".join(composed.split())


def _digest(*parts: object) -> bytes:
    return hashlib.sha256(_ENCODER.encode((_FORMAT, *parts))).digest()


async def recall(key: bytes, cache: CacheStore | None) -> KeptAnswer | None:
    """What is kept there. An entry that cannot be read counts as absent, and is removed."""
    if cache is None or (found := await cache.get(key)) is None:
        return None
    if (kept := readable(found.value)) is None:
        await cache.delete([key])
    return kept


def readable(value: bytes) -> KeptAnswer | None:
    """The entry, if it is whole."""
    try:
        kept = _DECODER.decode(value)
    except msgspec.MsgspecError:
        return None
    return kept if crc32(kept.told) == kept.checksum else None


def told(kept: KeptAnswer) -> Told:
    """The answer itself; `recall` has made sure that it can be read."""
    return _TOLD.decode(kept.told)


def may_be_kept(question: Question, answer: Answer) -> bool:
    """Not what was degraded, cut or has no citations, which must not outlive its cause; and not
    what is somebody's own."""
    if any(map(costs_quality, answer.degraded)) or answer.answer_kind == "passages":
        return False
    if answer.answer_kind != "not_found" and not answer.citations:
        return False
    turns = (turn.content for turn in question.conversation)
    return not is_personal(question.text, answer.answer, *turns)


def kept_from(answer: Answer, collection: Collection, *, life: float, clock: Clock) -> KeptAnswer:
    """The form in which `answer` is kept for `life` seconds."""
    now = clock.time()
    content = _told_by(answer)
    return KeptAnswer(
        told=content,
        checksum=crc32(content),
        documents=_documents(answer),
        generation=collection.generation,
        epoch=collection.cache_epoch,
        made_at=now,
        expires_at=now + life,
        not_found=answer.answer_kind == "not_found",
        model=answer.model,
        usage=answer.usage,
        nanodollars=answer.receipt.nanodollars,
    )


def kept_again(kept: KeptAnswer, given: Answer, collection: Collection) -> KeptAnswer:
    """The same answer as it was given now, over the same evidence; no younger for that."""
    content = _told_by(given)
    return msgspec.structs.replace(
        kept,
        told=content,
        checksum=crc32(content),
        documents=_documents(given),
        generation=collection.generation,
        epoch=collection.cache_epoch,
    )


async def keep(
    keys: Sequence[bytes], kept: KeptAnswer, cache: CacheStore, clock: Clock, group: str
) -> None:
    """By each of the keys, until it expires."""
    if keys and (left := kept.expires_at - clock.time()) > 0:
        value = _ENCODER.encode(kept)
        for key in keys:
            await cache.put(key, value, ttl=left, group=group)


def _told_by(answer: Answer) -> bytes:
    return _TELLER.encode(
        Told(
            answer=answer.answer,
            answer_kind=answer.answer_kind,
            citations=answer.citations,
            passages=answer.passages,
            collection=answer.collection,
            model=answer.model,
        )
    )


def _documents(answer: Answer) -> list[tuple[str, int]]:
    return sorted({(each.document_id, each.version) for each in answer.passages})
