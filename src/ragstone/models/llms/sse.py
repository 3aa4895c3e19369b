"""Bytes of a `text/event-stream` to events, wherever the network has cut them.

Follows the parsing rules of the HTML standard, section 9.2.6 ("Interpreting an event
stream"): lines end in LF, CR or CRLF, a byte order mark at the start is dropped, comments
and unknown fields are ignored, several `data` lines are joined by a line feed, and an event
that the stream's end leaves unfinished is discarded. `id` and `retry` serve reconnection,
which a model call never does, so they are ignored too.

Everything is done on bytes: no byte of a multi-byte UTF-8 character equals a line end or a
colon, so the result is the same as after decoding, and one decoding is saved.
"""

from typing import Final, NamedTuple

from ragstone.domain.errors import ModelProtocolError

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

MAX_EVENT_BYTES: Final = 1 << 20
"""A streamed delta has some hundred bytes; a server that sends more is not speaking of deltas."""


_DATA: Final = b"data: "


class ServerSentEvent(NamedTuple):
    """One dispatched event."""

    name: str
    """The `event` field; `message` where there is none."""
    data: bytes
    """The joined `data` fields, in UTF-8 as they came."""


class EventStreamParser:
    """Feed it slices of the stream; it gives the events that they complete."""

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._at_start = True
        self._after_carriage_return = False
        self._partial: list[bytes] = []
        self._partial_bytes = 0
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._name = ""

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """The events that `chunk` completes, in order.

        Raises `ModelProtocolError` when one event, or one line, exceeds the limit.
        """
        if len(chunk) <= self._max_event_bytes and self._is_whole_event(chunk):
            return [ServerSentEvent("message", chunk[len(_DATA) : -2])]
        if self._at_start:
            chunk = self._without_byte_order_mark(chunk)
        if b"\r" in chunk or self._after_carriage_return:
            chunk = self._with_line_feeds(chunk)
        lines = chunk.split(b"\n")
        rest = lines.pop()
        events: list[ServerSentEvent] = []
        if lines:
            if self._partial:
                lines[0] = b"".join((*self._partial, lines[0]))
                self._partial.clear()
                self._partial_bytes = 0
            for line in lines:
                if line:
                    self._field(line)
                elif self._data:
                    events.append(self._dispatch())
                else:
                    self._name = ""
        if rest:
            self._partial.append(rest)
            self._partial_bytes += len(rest)
            self._check_size()
        return events

    def _is_whole_event(self, chunk: bytes) -> bool:
        """The usual read of a model's stream: nothing before it, one event of one line."""
        return (
            chunk.startswith(_DATA)
            and chunk.find(b"\n") == len(chunk) - 2
            and chunk.endswith(b"\n\n")
            and b"\r" not in chunk
            and not (self._partial or self._data or self._name)
            and not (self._at_start or self._after_carriage_return)
        )

    def _without_byte_order_mark(self, chunk: bytes) -> bytes:
        start = b"".join((*self._partial, chunk))
        self._partial.clear()
        self._partial_bytes = 0
        if len(start) < len(_BYTE_ORDER_MARK) and _BYTE_ORDER_MARK.startswith(start):
            if start:
                self._partial.append(start)
            return b""
        self._at_start = False
        return start.removeprefix(_BYTE_ORDER_MARK)

    def _with_line_feeds(self, chunk: bytes) -> bytes:
        """A CR at the end is a line end already; an LF at the next start belongs to it."""
        if not chunk:
            return chunk
        if self._after_carriage_return and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            if not chunk:
                self._after_carriage_return = False
                return chunk
        self._after_carriage_return = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _field(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        if field == b"data":
            value = value.removeprefix(b" ")
            self._data.append(value)
            self._data_bytes += len(value) + 1
            self._check_size()
        elif field == b"event":
            self._name = value.removeprefix(b" ").decode(errors="replace")

    def _dispatch(self) -> ServerSentEvent:
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        event = ServerSentEvent(self._name or "message", data)
        self._data.clear()
        self._data_bytes = 0
        self._name = ""
        return event

    def _check_size(self) -> None:
        if self._data_bytes + self._partial_bytes > self._max_event_bytes:
            raise ModelProtocolError(
                f"The model server sent an event of more than {self._max_event_bytes} bytes.",
                remedy="Check that RAGSTONE_LLM__BASE_URL names a language model's API.",
                field="llm.base_url",
            )
