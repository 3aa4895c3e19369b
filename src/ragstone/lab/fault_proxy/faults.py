"""What a fault proxy does to connections: one frozen, validated struct."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Seconds = Annotated[float, Meta(ge=0, le=3_600)]
Count = Annotated[int, Meta(ge=0)]


class Direction(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happens to the bytes of one direction. Order is always kept."""

    latency_seconds: Seconds = 0.0
    """Added to each piece."""
    jitter_seconds: Seconds = 0.0
    """Added beside it: uniformly between 0 and this, drawn for each piece."""
    bytes_per_second: Annotated[float, Meta(ge=0)] = 0.0
    """Bandwidth of each connection. 0: no bound."""
    slice_bytes: Count = 0
    """Pieces are cut into writes of so many bytes. 0: as they came."""
    reset_after_bytes: Count = 0
    """After so many bytes of this direction both sides are reset. 0: never."""
    swallow: bool = False
    """Bytes are read and thrown away: a black hole."""
    close_seconds: Seconds = 0.0
    """How much later the end of the stream is passed on."""


class Faults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of it. It holds for connections that are open too, from the next piece on."""

    seed: int = 0
    """Of the jitter."""
    connect: Literal["pass", "refuse", "swallow"] = "pass"
    """New connections: passed on; refused, as if nothing listened; accepted, with nobody behind
    them, so that they hang."""
    to_target: Direction = Direction()
    """From the client to the dependency."""
    to_client: Direction = Direction()
    """From the dependency to the client."""


class Traffic(msgspec.Struct, frozen=True):
    """`GET /stats`."""

    connections: int
    """Accepted since the start or the last reset."""
    open: int
    max_open: int
    resets: int
    to_target_bytes: int
    to_client_bytes: int
