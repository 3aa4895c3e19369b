"""A simulated `/v1/embeddings`: hashed words, so that texts that share words are near."""

import base64
import random
from collections.abc import Iterator

import msgspec
import numpy as np

from ragstone.lab.simulate.behaviour import Behaviour, Fault
from ragstone.lab.simulate.http import Request
from ragstone.lab.simulate.script import Pace, Step, in_one_piece
from ragstone.lab.simulate.stats import Tokens
from ragstone.lab.simulate.text import question_hash
from ragstone.lab.simulate.wires import openai_refusal
from ragstone.models.embedders.fake import HashingEmbedder


class _EmbeddingsRequest(msgspec.Struct):
    model: str
    input: str | list[str]
    encoding_format: str = "float"


_request = msgspec.json.Decoder(_EmbeddingsRequest)


class EmbeddingsService:
    """Implements `simulator.Service`. The vectors are those of `HashingEmbedder`."""

    def __init__(self, dimensions: int = 384) -> None:
        self._embedder = HashingEmbedder(dimensions=dimensions)

    def fixed(self, request: Request) -> bytes | None:
        return None

    def read(self, request: Request) -> "_AskedVectors | None":
        if request.method != "POST" or not request.path.endswith("/embeddings"):
            return None
        return _AskedVectors(_request.decode(request.body), self._embedder)


class _AskedVectors:
    """Implements `simulator.Asked`."""

    def __init__(self, request: _EmbeddingsRequest, embedder: HashingEmbedder) -> None:
        self._request = request
        self._texts = [request.input] if isinstance(request.input, str) else request.input
        self._embedder = embedder
        self.tokens = Tokens(sum(map(len, self._texts)) // 4)

    @property
    def question(self) -> str:
        return question_hash("\n".join(self._texts))

    def refusal(self, fault: Fault) -> tuple[int, bytes]:
        return openai_refusal(fault)

    def script(
        self, behaviour: Behaviour, fault: Fault | None, chance: random.Random, pace: Pace
    ) -> Iterator[Step]:
        return in_one_piece(self._body(), [behaviour.first_token_seconds], fault, pace)

    def _body(self) -> bytes:
        vectors = [self._encoded(self._embedder.vector(text)) for text in self._texts]
        tokens = self.tokens.input
        return msgspec.json.encode(
            {
                "object": "list",
                "data": [
                    {"object": "embedding", "index": number, "embedding": vector}
                    for number, vector in enumerate(vectors)
                ],
                "model": self._request.model,
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            }
        )

    def _encoded(self, vector: list[float]) -> list[float] | str:
        if self._request.encoding_format != "base64":
            return vector
        return base64.b64encode(np.array(vector, "<f4").tobytes()).decode()
