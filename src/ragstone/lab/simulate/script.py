"""An answer as a script: what is sent, and the pauses between.

Scripts are generators, so that pauses follow the behaviour's load at the time they begin.
"""

from collections.abc import Callable, Iterator
from enum import Enum
from typing import Final

from ragstone.lab.simulate.behaviour import REFUSALS, Behaviour, Fault, Lognormal
from ragstone.lab.simulate.http import (
    STREAM_END,
    STREAM_HEAD,
    chunk,
    whole_response,
)
from ragstone.lab.simulate.stats import Tokens
from ragstone.lab.simulate.text import thoughts
from ragstone.lab.simulate.wires import Wire


class End(Enum):
    """How a connection ends before its answer does."""

    RESET = "reset"
    CUT = "cut"
    NEVER = "never"
    """Not at all: it stays open and silent until the client leaves."""


NEXT_TURN: Final = -1.0
"""A pause as short as can be: until the event loop's next turn, so that writes stay apart."""

Step = tuple[float, bytes | End]
"""Seconds to wait, then what to send."""

Pace = Callable[[float | Lognormal], float]
"""Draws a time and makes it longer under load."""

_HTML: Final = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
_BROKEN: Final = b'data: {"choices": [{"delta": {"content": "bro\n\n'
_FOR_EVER: Final = 1e9
_EVENTS_IN_ONE: Final = 4


def refused(status: int, body: bytes, fault: Fault) -> Iterator[Step]:
    """The answer to a request that is not served."""
    if fault.kind == "garbage":
        yield 0.0, whole_response(200, _HTML, content_type="text/html")
        return
    seconds = fault.retry_after
    headers = {} if seconds is None else {"Retry-After": f"{seconds:g}"}
    yield 0.0, whole_response(status, body, headers)


def in_one_piece(
    body: bytes, waits: list[float | Lognormal], fault: Fault | None, pace: Pace
) -> Iterator[Step]:
    """A JSON answer after the given times; a fault strikes in its middle."""
    wait = sum(pace(seconds) for seconds in waits)
    answer = whole_response(200, body)
    if fault is None:
        yield wait, answer
        return
    if fault.kind == "error_event":
        yield wait, whole_response(500, b'{"error":{"message":"failed on the way"}}')
    elif fault.kind == "garbage_event":
        yield wait, whole_response(200, b'{"choices": [{"message"')
    elif fault.kind == "silence":
        yield wait + (fault.seconds or _FOR_EVER), answer
    else:
        yield wait, answer[: len(answer) - len(body) // 2 - 1]
        yield NEXT_TURN, End.RESET if fault.kind == "reset" else End.CUT


def streamed(
    wire: Wire, words: list[str], reason: str, b: Behaviour, fault: Fault | None, pace: Pace,
    used: Tokens,
) -> Iterator[Step]:  # fmt: skip
    """An event stream, framed and sliced as the behaviour says; counts what it has written."""
    events = _events(wire, words, reason, b, fault, pace, used)
    return _framed(events, b)


def _events(
    wire: Wire, words: list[str], reason: str, b: Behaviour, fault: Fault | None, pace: Pace,
    used: Tokens,
) -> Iterator[Step]:  # fmt: skip
    """Events without HTTP, an empty one where only the head is due."""
    if b.head_early or b.ping_seconds:
        yield 0.0, b""
    pieces = [*((wire.thought, text) for text in thoughts(b.thinking_tokens))]
    pieces += [(wire.delta, word) for word in words]
    strikes_at = b.thinking_tokens + min(fault.after_tokens, len(words) - 1) if fault else -1
    unsent = wire.opening()
    pause = pace(b.first_token_seconds)
    for number, (encode, text) in enumerate(pieces):
        if fault is not None and number == strikes_at:
            if fault.kind != "silence":
                yield from _waiting(pause, unsent, wire, b)
                yield from _broken_off(wire, fault)
                return
            yield from _silent(wire, fault, b)
        yield from _waiting(pause, unsent + encode(text), wire, b)
        unsent = b""
        used.output += number >= b.thinking_tokens
        pause = pace(b.token_seconds)
    yield 0.0, wire.ending(reason, len(words))


def _silent(wire: Wire, fault: Fault, b: Behaviour) -> Iterator[Step]:
    if fault.seconds or b.ping_seconds:
        yield from _waiting(fault.seconds or _FOR_EVER, b"", wire, b)
    else:
        yield 0.0, End.NEVER


def _broken_off(wire: Wire, fault: Fault) -> Iterator[Step]:
    match fault.kind:
        case "reset":
            yield NEXT_TURN, End.RESET
        case "cut":
            whole = wire.delta(" cut")
            yield 0.0, whole[: len(whole) // 2]
            yield NEXT_TURN, End.CUT
        case "error_event":
            yield 0.0, wire.failure()
        case _:
            yield 0.0, _BROKEN


def _waiting(seconds: float, then: bytes, wire: Wire, b: Behaviour) -> Iterator[Step]:
    """A pause, with pings in it if there are any."""
    while b.ping_seconds and seconds > b.ping_seconds:
        seconds -= b.ping_seconds
        yield b.ping_seconds, wire.ping()
    yield seconds, then


def _framed(events: Iterator[Step], b: Behaviour) -> Iterator[Step]:
    """HTTP around the events; the head comes with the first of them."""
    head = STREAM_HEAD
    for wait, data in _sliced(events, b):
        if isinstance(data, End):
            yield wait, data
            return
        yield wait, head + chunk(data) if data else head
        head = b""
    yield 0.0, head + STREAM_END


def _sliced(events: Iterator[Step], b: Behaviour) -> Iterator[Step]:
    written = _written(events, b)
    if b.slicing == "byte":
        return _byte_by_byte(written)
    if b.slicing == "half":
        return _in_halves(written)
    return _several(written) if b.slicing == "several" else written


def _written(events: Iterator[Step], b: Behaviour) -> Iterator[Step]:
    """With the behaviour's line ends and comments."""
    line_end = {"lf": b"\n", "crlf": b"\r\n", "cr": b"\r"}[b.line_end]
    comment = b": simulated\n\n" if b.comments else b""
    for wait, data in events:
        if isinstance(data, End) or not data:
            yield wait, data
        else:
            yield wait, (comment + data).replace(b"\n", line_end)


def _byte_by_byte(events: Iterator[Step]) -> Iterator[Step]:
    for wait, data in events:
        if isinstance(data, End) or not data:
            yield wait, data
            continue
        for number in range(len(data)):
            yield (NEXT_TURN if number else wait), data[number : number + 1]


def _in_halves(events: Iterator[Step]) -> Iterator[Step]:
    """Every write ends in the middle of an event, but the last."""
    kept = b""
    for wait, data in events:
        if isinstance(data, End):
            yield wait, data
            return
        middle = len(data) // 2
        yield (wait or NEXT_TURN), kept + data[:middle]
        kept = data[middle:]
    if kept:
        yield NEXT_TURN, kept


def _several(events: Iterator[Step]) -> Iterator[Step]:
    """Pauses are kept, and what came in them is sent with every fourth event."""
    kept: list[bytes] = []
    for wait, data in events:
        if isinstance(data, End):
            yield wait, b"".join(kept)
            yield NEXT_TURN, data
            return
        kept.append(data)
        ready = len(kept) == _EVENTS_IN_ONE
        yield wait, b"".join(kept) if ready else b""
        if ready:
            kept.clear()
    if kept:
        yield 0.0, b"".join(kept)


def is_refusal(fault: Fault | None) -> bool:
    """Whether the fault stands in the place of an answer."""
    return fault is not None and fault.kind in REFUSALS
