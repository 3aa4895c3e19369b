"""A question as the bytes of an HTTP request."""

from typing import Any, Final, Literal

import msgspec

from ragstone.apps import ASSISTANT
from ragstone.domain.query import Turn
from ragstone.lab.load.questions import Key, Question
from ragstone.lab.load.target import Target

Endpoint = Literal["answers", "chat", "search"]

PATHS: Final[dict[Endpoint, str]] = {
    "answers": "/v1/answers",
    "chat": "/v1/chat/completions",
    "search": "/v1/search",
}


class RequestForm(msgspec.Struct, frozen=True, kw_only=True):
    """What all requests of a run have in common."""

    endpoint: Endpoint = "answers"
    stream: bool = True
    """As events; `search` has no stream."""
    deadline: float = 30.0
    """Seconds that an answer may take; sent along, and the client waits no longer."""
    collection: str | None = None
    """Of questions that name none; None: the target's default."""
    model: str = ASSISTANT.name
    """For `chat`: the application; a collection is added after a slash where one is given."""

    def of_model(self, name: str) -> "RequestForm":
        """The same, asking another model."""
        return msgspec.structs.replace(self, model=name)

    @property
    def streamed(self) -> bool:
        return self.stream and self.endpoint != "search"


class RequestWriter:
    """Encodes requests. Those without a conversation of the run are kept: each is made once."""

    def __init__(
        self,
        target: Target,
        form: RequestForm,
        questions: tuple[Question, ...],
        keys: tuple[Key, ...],
    ) -> None:
        self._form, self._questions, self._keys = form, questions, keys
        self._numbers = {key.name: number for number, key in enumerate(keys)}
        self._made: dict[tuple[int, int], bytes] = {}
        self._head = (
            f"POST {target.prefix}{PATHS[form.endpoint]} HTTP/1.1\r\nHost: {target.host}\r\n"
            f"User-Agent: ragstone-load\r\nContent-Type: application/json\r\n"
            f"X-Request-Deadline-Ms: {max(1, round(form.deadline * 1000))}\r\n"
        )

    def key_of(self, question: int, drawn: int) -> int:
        """The number of the key with which a question is asked: its own, else the drawn one."""
        own = self._questions[question].key
        return drawn if own is None else self._numbers.get(own, drawn)

    def write(self, question: int, key: int, history: tuple[Turn, ...] = ()) -> bytes:
        """The request for question number `question` with key number `key` (-1: no key)."""
        if history:
            return self._encode(question, key, history)
        made = self._made.get((question, key))
        if made is None:
            made = self._made[question, key] = self._encode(question, key, ())
        return made

    def _encode(self, question: int, key: int, history: tuple[Turn, ...]) -> bytes:
        body = msgspec.json.encode(self._body(self._questions[question], history))
        credential = f"Authorization: Bearer {self._keys[key].key}\r\n" if key >= 0 else ""
        return f"{self._head}{credential}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def _body(self, question: Question, history: tuple[Turn, ...]) -> dict[str, Any]:
        form = self._form
        collection = question.collection or form.collection
        if form.endpoint == "search":
            return {"query": question.question, "collection": collection}
        conversation = [*question.conversation, *history]
        if form.endpoint == "answers":
            return {
                "question": question.question,
                "collection": collection,
                "conversation": conversation,
                "stream": form.stream,
            }
        body = {
            "model": f"{form.model}/{collection}" if collection else form.model,
            "messages": [*conversation, Turn("user", question.question)],
            "stream": form.stream,
        }
        return body | ({"stream_options": {"include_usage": True}} if form.stream else {})
