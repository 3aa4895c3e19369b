"""How much a caller may still ask in this minute, and what it has taken of it."""

import msgspec


class RateLimit(msgspec.Struct, frozen=True):
    """How one limit stands."""

    limit: int
    """In a minute."""
    remaining: int
    """At this moment."""
    reset_seconds: float
    """Until nothing of it is used, if nothing more is asked."""


class RateLimits(msgspec.Struct, frozen=True):
    """How a caller's limits stand; of its key's and its tenant's the one with less left."""

    requests: RateLimit | None
    """None: as many as it likes."""
    tokens: RateLimit | None


class TokensTaken(msgspec.Struct, frozen=True):
    """Tokens that were charged by an estimate, until what was used is known."""

    tokens: int
    marks: tuple[tuple[str, int, int, int, int, int], ...]
    """For those who charged it: where, and what stood there."""
