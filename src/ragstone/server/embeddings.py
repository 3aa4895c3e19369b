"""`POST /v1/embeddings`: our embedder in OpenAI's wire format."""

import base64
import struct
from typing import Annotated, Final, Literal

import msgspec
from starlette.responses import Response

from ragstone.domain.errors import InvalidRequest, PayloadTooLarge, UnknownModel, did_you_mean
from ragstone.pipeline.stage import Stage
from ragstone.server.call import Call

MAX_INPUTS: Final = 2048
"""As OpenAI's limit for one request."""


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


_REQUEST = msgspec.json.Decoder(EmbeddingsRequest)


async def post_embeddings(call: Call) -> Response:
    """OpenAI-compatible: unit vectors for texts."""
    request = await call.body(_REQUEST)
    embedder = call.system.services.embedder
    _check_model(request, embedder.identity.name, embedder.identity.dimensions)
    texts = _texts(request)
    async with call.client.listening():
        vectors = await _embed(call, texts)
    as_text = request.encoding_format == "base64"
    rows = [
        EmbeddingRow(_base64(vector) if as_text else vector, index)
        for index, vector in enumerate(vectors)
    ]
    tokens = sum(embedder.count_tokens(text) for text in texts)
    return call.json(EmbeddingsResponse(rows, request.model, EmbeddingsUsage(tokens, tokens)))


async def _embed(call: Call, texts: list[str]) -> list[list[float]]:
    """Admitted and bounded in time like a question: it takes the same embedder."""
    embedder = call.system.services.embedder
    async with call.admitted(), Stage("embed", call.deadline, call.trace):
        if len(texts) == 1:
            return [await embedder.embed_query(texts[0])]
        return await embedder.embed_documents(texts)


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
