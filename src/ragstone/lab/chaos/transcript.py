"""What one client received, byte for byte and with times, and what it means.

Reads event streams and JSON by itself: the product's own reading is among what is tested.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

import msgspec

End = Literal["whole", "broken", "left", "refused_connection", "open"]
"""How the connection's part in it ended: `whole`, the response is complete as HTTP; `broken`,
closed before; `left`, by the client itself; `open`, not at all within the time we waited."""


class Event(NamedTuple):
    at: float
    """When its last byte came; seconds of the driver's clock."""
    name: str
    data: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request, and how its client behaves."""

    question: str
    tenant: str = "acme"
    key: str = ""
    group: str = ""
    """Under which it is counted, such as `critical`."""
    collection: str = "help"
    stream: bool = True
    deadline_ms: int | None = None
    leave_after_seconds: float | None = None
    leave_after_deltas: int | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    """More fields of the request's body."""


@dataclass(kw_only=True)
class Transcript:
    """One request as its client saw it."""

    ask: Ask
    scheduled: float
    """When it was meant to be sent: waiting counts from here."""
    sent: float = 0.0
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    """By lower-case name."""
    chunks: list[tuple[float, bytes]] = field(default_factory=list)
    ended: float = 0.0
    end: End = "open"

    @property
    def seconds(self) -> float:
        return self.ended - self.scheduled

    @cached_property
    def body(self) -> bytes:
        return b"".join(data for _, data in self.chunks)

    @cached_property
    def events(self) -> list[Event]:
        """Of an event stream; an event is there when its blank line is."""
        found: list[Event] = []
        buffer = b""
        for at, data in self.chunks:
            *blocks, buffer = (buffer + data).split(b"\n\n")
            found += [event for block in blocks if (event := _event(at, block)) is not None]
        return found

    @property
    def streams(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")

    @cached_property
    def json(self) -> dict[str, Any]:
        """Of a whole response; empty where the body is none."""
        try:
            decoded = msgspec.json.decode(self.body)
        except msgspec.MsgspecError:
            return {}
        return decoded if isinstance(decoded, dict) else {}

    @cached_property
    def terminals(self) -> list[Event]:
        return [event for event in self.events if event.name in ("done", "error")]

    @cached_property
    def answer(self) -> dict[str, Any] | None:
        """The finished answer."""
        if self.streams:
            done = [event for event in self.terminals if event.name == "done"]
            return done[0].data["answer"] if done else None
        return self.json if self.status == 200 and "answer" in self.json else None

    @cached_property
    def error_code(self) -> str:
        """Of the error response or event; empty where there is none."""
        if self.streams:
            errors = [event for event in self.terminals if event.name == "error"]
            body = errors[0].data if errors else {}
        else:
            body = self.json
        error = body.get("error")
        return str(error.get("code", "")) if isinstance(error, dict) else ""

    @property
    def text(self) -> str:
        """What was streamed as answer text."""
        return "".join(e.data["text"] for e in self.events if e.name == "delta")

    @property
    def first_text(self) -> float | None:
        """Seconds from the schedule to the first answer text."""
        first = next((e.at for e in self.events if e.name == "delta"), None)
        return None if first is None else first - self.scheduled

    @property
    def degraded(self) -> list[str]:
        return list(self.answer["degraded"]) if self.answer else []

    @property
    def good(self) -> bool:
        """A complete answer in time, degraded or not."""
        limit = self.ask.deadline_ms
        return self.answer is not None and (limit is None or self.seconds * 1000 <= limit)

    @property
    def refused(self) -> bool:
        """Told to come again: 429 or 503."""
        return self.status in (429, 503)

    @property
    def outcome(self) -> str:
        """In one word."""
        if self.end == "left":
            return "left"
        if self.good:
            return "good"
        if self.refused:
            return f"refused_{self.status}"
        if self.answer is not None:
            return "late"
        return self.error_code or self.end


def _event(at: float, block: bytes) -> Event | None:
    name, data = "message", []
    for line in block.split(b"\n"):
        field_name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field_name == b"event":
            name = value.decode()
        elif field_name == b"data":
            data.append(value)
    if not data:
        return None
    joined = b"\n".join(data)
    return Event(at, name, None if joined == b"[DONE]" else msgspec.json.decode(joined))
