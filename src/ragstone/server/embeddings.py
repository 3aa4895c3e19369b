"""`POST /v1/embeddings`: our embedder in OpenAI's wire format."""

import asyncio
import base64
import struct
from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec
from starlette.responses import Response

from ragstone.domain.errors import InvalidRequest, PayloadTooLarge, UnknownModel, did_you_mean
from ragstone.pipeline.stage import Stage
from ragstone.ports import Embedder
from ragstone.resilience.admission import weight_of_texts
from ragstone.server.call import Call
from ragstone.server.paying import paid_embedder

MAX_INPUTS: Final = 2048
"""As OpenAI's limit for one request."""

_BATCH: Final = 64
"""Texts that are embedded at once; between two batches others may have the slot."""

_INLINE_TEXTS: Final = 4
_INLINE_CHARS: Final = 2_000
"""What is counted and encoded on the event loop: a fraction of a millisecond of work."""


class EmbeddingsRequest(msgspec.Struct):
    """OpenAI's request; `dimensions` must be the model's own."""

    input: str | list[str | int | list[int]]
    model: str
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, msgspec.Meta(ge=1)] | None = None


class EmbeddingRow(msgspec.Struct):
    embedding: list[float] | str
    index: int
    object: Literal["embedding"] = "embedding"


class EmbeddingsUsage(msgspec.Struct):
    prompt_tokens: int
    total_tokens: int


class EmbeddingsResponse(msgspec.Struct):
    data: list[EmbeddingRow]
    model: str
    usage: EmbeddingsUsage
    object: Literal["list"] = "list"


class _EncodedResponse(msgspec.Struct):
    """An `EmbeddingsResponse` whose rows are JSON already, each made with its batch."""

    data: list[msgspec.Raw]
    model: str
    usage: EmbeddingsUsage
    object: Literal["list"] = "list"


_REQUEST = msgspec.json.Decoder(EmbeddingsRequest)


async def post_embeddings(call: Call) -> Response:
    """OpenAI-compatible: unit vectors for texts."""
    request = await call.body(_REQUEST)
    embedder = call.system.services.embedder
    _check_model(request, embedder.identity.name, embedder.identity.dimensions)
    texts = _texts(request)
    async with call.client.listening():
        rows, tokens = await _embed(call, texts, request.encoding_format == "base64")
    usage = EmbeddingsUsage(tokens, tokens)
    return call.json(_EncodedResponse(rows, request.model, usage))


async def _embed(call: Call, texts: list[str], as_text: bool) -> tuple[list[msgspec.Raw], int]:
    """Rows and tokens; admitted and bounded in time like a question: it takes the same embedder.

    Many texts are embedded in batches, and each waits for its slot anew, so that questions get in
    between; under overload a long list may thus be refused after some of its batches.
    """
    call.arrival = call.arrival.weighing(weight_of_texts(min(len(texts), _BATCH)))
    rows: list[msgspec.Raw] = []
    tokens = 0
    async with (
        call.admitted() as permit,
        paid_embedder(call, "embeddings") as embedder,
        Stage("embed", call.deadline, call.trace),
    ):
        for first in range(0, len(texts), _BATCH):
            if first:
                permit.free_slot()
                await permit.take_slot()
            batch = texts[first : first + _BATCH]
            if len(texts) == 1:
                vectors = [await embedder.embed_query(batch[0])]
            else:
                vectors = await embedder.embed_documents(batch)
            if len(batch) <= _INLINE_TEXTS and sum(map(len, batch)) <= _INLINE_CHARS:
                made = _rows(vectors, first, as_text)
                tokens += _count(embedder, batch)
            else:
                made = await asyncio.to_thread(_rows, vectors, first, as_text)
                tokens += await asyncio.to_thread(_count, embedder, batch)
            rows += made
    return rows, tokens


def _rows(vectors: list[list[float]], first: int, as_text: bool) -> list[msgspec.Raw]:
    return [
        msgspec.Raw(
            msgspec.json.encode(EmbeddingRow(_base64(vector) if as_text else vector, index))
        )
        for index, vector in enumerate(vectors, start=first)
    ]


def _count(embedder: Embedder, texts: Sequence[str]) -> int:
    return sum(embedder.count_tokens(text) for text in texts)


def _check_model(request: EmbeddingsRequest, name: str, dimensions: int) -> None:
    """Both the full name and the part before the build are accepted."""
    short = name.partition("/")[0]
    if request.model not in (name, short):
        raise UnknownModel(
            f"There is no embedding model {request.model[:80]!r}.",
            remedy=did_you_mean(request.model[:80], [short, name], what="embedding models"),
            field="model",
        )
    if request.dimensions not in (None, dimensions):
        raise InvalidRequest(
            f"{short} has {dimensions} dimensions, not {request.dimensions}.",
            remedy="Leave `dimensions` out.",
            field="dimensions",
        )


def _texts(request: EmbeddingsRequest) -> list[str]:
    given = [request.input] if isinstance(request.input, str) else request.input
    texts = [text for text in given if isinstance(text, str)]
    if len(texts) != len(given):
        raise InvalidRequest("The input holds token numbers.", remedy="Send text.", field="input")
    if not texts or not all(text.strip() for text in texts):
        raise InvalidRequest(
            "The input holds an empty text.", remedy="Send non-empty texts.", field="input"
        )
    if len(texts) > MAX_INPUTS:
        raise PayloadTooLarge(
            f"The input holds {len(texts):,} texts; {MAX_INPUTS:,} are allowed.",
            remedy="Send them in several requests.",
            field="input",
        )
    return texts


def _base64(vector: list[float]) -> str:
    """Little-endian float32, as OpenAI encodes."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
