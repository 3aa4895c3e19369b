"""A simulated `/rerank` of Cohere and Jina: the score is the share of the query's words."""

import random
import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from ragstone.lab.simulate.behaviour import Behaviour, Fault
from ragstone.lab.simulate.http import Request
from ragstone.lab.simulate.script import Pace, Step, in_one_piece
from ragstone.lab.simulate.stats import Tokens
from ragstone.lab.simulate.text import question_hash
from ragstone.lab.simulate.wires import openai_refusal

_WORD: Final = re.compile(r"\w+")


class _Document(msgspec.Struct):
    text: str


class _RerankRequest(msgspec.Struct):
    query: str
    documents: list[str | _Document]
    model: str = ""
    top_n: int | None = None
    return_documents: bool = False


_request = msgspec.json.Decoder(_RerankRequest)


class RerankService:
    """Implements `simulator.Service`."""

    def fixed(self, request: Request) -> bytes | None:
        return None

    def read(self, request: Request) -> "_AskedOrder | None":
        if request.method != "POST" or not request.path.endswith("/rerank"):
            return None
        return _AskedOrder(_request.decode(request.body))


class _AskedOrder:
    """Implements `simulator.Asked`."""

    def __init__(self, request: _RerankRequest) -> None:
        self._request = request
        self.tokens = Tokens(0)  # it tells no usage

    @property
    def question(self) -> str:
        return question_hash(self._request.query)

    def refusal(self, fault: Fault) -> tuple[int, bytes]:
        return openai_refusal(fault)

    def script(
        self, behaviour: Behaviour, fault: Fault | None, chance: random.Random, pace: Pace
    ) -> Iterator[Step]:
        return in_one_piece(self._body(), [behaviour.first_token_seconds], fault, pace)

    def _body(self) -> bytes:
        request = self._request
        texts = [d if isinstance(d, str) else d.text for d in request.documents]
        asked = set(_WORD.findall(request.query.casefold()))
        scores = [_score(asked, text) for text in texts]
        order = sorted(range(len(texts)), key=lambda index: (-scores[index], index))
        rows: list[dict[str, Any]] = [
            {"index": index, "relevance_score": scores[index]} for index in order[: request.top_n]
        ]
        if request.return_documents:
            for row in rows:
                row["document"] = {"text": texts[row["index"]]}
        return msgspec.json.encode(
            {"id": "simulated", "model": request.model, "results": rows, "usage": {}}
        )


def _score(asked: set[str], text: str) -> float:
    found = asked.intersection(_WORD.findall(text.casefold()))
    return round(len(found) / max(1, len(asked)), 6)
