"""The third cache: an answer that was made for a similar question over the same evidence.

Looked up after retrieval, by everything that the other keys hold but the question's words: who may
read what, the application, the models, the recipe, and the packed passages with their versions.
What is kept there is a short list of earlier questions, without their words; one of them will do
where nothing that could change the answer differs (`alike`) and the vectors are close. A question
inside a conversation never takes part. Off by default; docs/decisions/0011-semantic-cache.md.
"""

from array import array
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from ragstone.domain.answer import Answer
from ragstone.domain.kept import KeptAnswer
from ragstone.domain.passage import Passage
from ragstone.pipeline.alike import meaning_digest
from ragstone.pipeline.asked import Asked
from ragstone.pipeline.lookup import LookedUp, is_cleared, model_names
from ragstone.pipeline.material import Material
from ragstone.pipeline.recall import evidence_key, recall, told
from ragstone.pipeline.services import Services
from ragstone.pipeline.shadow import cosine
from ragstone.ports import CacheStore

MOST_QUESTIONS: Final = 16
"""Kept for one evidence, the latest of them."""


class _Earlier(msgspec.Struct, frozen=True, array_like=True):
    """A question that was answered; its words are not kept."""

    means: bytes
    """Digest of its `Meaning`."""
    vector: bytes
    """Single precision, in the machine's order."""
    prompt_key: bytes
    """Where its answer is kept."""


class _Questions(msgspec.Struct, frozen=True, kw_only=True):
    """Those over one evidence; `documents` and `epoch` are for whoever sweeps the caches."""

    documents: list[tuple[str, int]]
    epoch: int
    earlier: list[_Earlier]


class Similar(NamedTuple):
    """What was found for a similar question."""

    kept: KeptAnswer
    passages: list[Passage]
    """This request's, in the order in which the kept answer numbers them."""


_DECODER: Final = msgspec.msgpack.Decoder(_Questions)
_ENCODER: Final = msgspec.msgpack.Encoder()


class _Place(NamedTuple):
    """Where questions over this evidence are kept, and what is needed to compare with them."""

    cache: CacheStore
    key: bytes
    vector: Sequence[float]
    similarity: float


async def recall_similar(
    material: Material, asked: Asked, found: LookedUp, s: Services
) -> Similar | None:
    """The answer to the most similar question that is similar enough."""
    place = _place(material, asked, found, s)
    if place is None or asked.cache != "use":
        return None
    kept = None
    means = meaning_digest(asked.question.text)
    best, least = None, place.similarity
    for earlier in await _earlier(place):
        if earlier.means == means:
            likeness = cosine(place.vector, array("f", earlier.vector))
            if likeness >= least:
                best, least = earlier, likeness
    if best is not None:
        kept = await recall(best.prompt_key, place.cache)
    similar = None if kept is None else _in_its_order(kept, material)
    outcome = "miss" if similar is None else "hit"
    if similar is not None and await is_cleared(asked, found, s):
        similar, outcome = None, "stale"
    s.metrics.cache_requests.labels("semantic", outcome).inc()
    return similar


async def remember_similar(
    answer: Answer,
    material: Material,
    asked: Asked,
    found: LookedUp,
    prompt_key: bytes | None,
    s: Services,
) -> None:
    """Puts the question among those over its evidence. `prompt_key`: where its answer is kept."""
    place = _place(material, asked, found, s)
    if place is None or prompt_key is None:
        return
    others = [one for one in await _earlier(place) if one.prompt_key != prompt_key]
    own = _Earlier(
        meaning_digest(asked.question.text), array("f", place.vector).tobytes(), prompt_key
    )
    questions = _Questions(
        documents=sorted({(p.document_id, p.version) for p in material.passages}),
        epoch=found.collection.cache_epoch,
        earlier=[*others[1 - MOST_QUESTIONS :], own],
    )
    ttl = s.keeping.life(answer)
    await place.cache.put(place.key, _ENCODER.encode(questions), ttl=ttl, group=asked.cache_group)


def _place(material: Material, asked: Asked, found: LookedUp, s: Services) -> _Place | None:
    """Only for what a model writes from evidence for a question that stands alone."""
    if s.semantic is None or not s.semantic.is_on or s.cache is None or s.model is None:
        return None
    if asked.cache == "off" or asked.question.conversation:
        return None
    if not material.passages or material.vector is None:
        return None
    key = evidence_key(
        asked.question, material.passages, asked.principal, found.collection,
        asked.application, model_names(s), s.recipe,
    )  # fmt: skip
    return _Place(s.cache, key, material.vector, s.semantic.similarity)


async def _earlier(place: _Place) -> list[_Earlier]:
    """None of an entry that cannot be read, which is removed."""
    if (found := await place.cache.get(place.key)) is None:
        return []
    try:
        return _DECODER.decode(found.value).earlier
    except msgspec.MsgspecError:
        await place.cache.delete([place.key])
        return []


def _in_its_order(kept: KeptAnswer, material: Material) -> Similar | None:
    """None where the kept answer rests on other passages after all. Their texts are compared too:
    in records that were restored from a backup, versions come again."""
    own = {passage.chunk_id: passage for passage in material.passages}
    rests = {passage.chunk_id: passage.text for passage in told(kept).passages}
    if rests != {chunk: passage.text for chunk, passage in own.items()}:
        return None
    return Similar(kept, [own[chunk] for chunk in rests])
