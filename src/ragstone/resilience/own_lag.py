"""How much of a time to the first result is our own: the event loop that reads it late.

A process that relays a thousand streams wakes late, the later the more streams it has. In the
latencies that looks just like a model which slows down with its load, and a limit learned from
them would shrink although the model has room.
"""

from typing import Final

_NEWEST: Final = 0.2
"""Weight of the newest lag in the running mean: about the last half second, at ten a second."""
_MOST: Final = 0.5
"""Share of a latency: with more lag than this, what is left is mostly error."""


class OwnLag:
    """A running mean of the event loop's lag.

    A lag is measured as a result is waited for, by a timer, a future and a task that it wakes.
    So it is late by about as much, once, where the time is taken from the moment when the request
    was sent: before that, each step to a connection and a write is late as well.
    """

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds = 0.0

    def observe(self, seconds: float) -> None:
        """How late the event loop woke; about ten times a second, also when nothing happens."""
        self.seconds += _NEWEST * (seconds - self.seconds)

    def within(self, latency: float) -> float | None:
        """The part of a latency that just ended which is our own; None: it is most of it."""
        return self.seconds if self.seconds <= _MOST * latency else None
