"""Units of a gate in use, until they are given back."""

from collections.abc import Callable


class Ticket:
    """What `Gate.acquire` returns."""

    __slots__ = ("_give_back", "held", "since", "tenant", "waited", "weight")

    def __init__(
        self,
        tenant: str,
        weight: int,
        *,
        since: float,
        waited: float,
        give_back: "Callable[[Ticket], None]",
    ) -> None:
        self._give_back = give_back
        self.tenant = tenant
        self.weight = weight
        """Units."""
        self.held = True
        """Until `release`."""
        self.since = since
        """When it was let in, by `Clock.monotonic`."""
        self.waited = waited
        """Seconds in the queue."""

    def release(self) -> None:
        """Gives the units to who is next. A second call does nothing."""
        if self.held:
            self.held = False
            self._give_back(self)
