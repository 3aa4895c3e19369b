"""Time."""

from typing import Protocol


class Clock(Protocol):
    """The one source of time, so that tests run on virtual time."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary origin; never goes back."""
        ...

    def time(self) -> float:
        """Unix seconds."""
        ...
