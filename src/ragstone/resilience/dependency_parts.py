"""What a `Dependency` is made of, as it sees its parts, and who hears of its calls."""

from typing import Protocol

from ragstone.domain.principal import Priority


class Ticket(Protocol):
    """A permit of a `Gate`."""

    def release(self) -> None: ...


class Permits(Protocol):
    """What an attempt needs of a `Gate`."""

    @property
    def in_use(self) -> int: ...

    async def acquire(
        self, *, tenant: str, priority: Priority, weight: int = 1, deadline: float
    ) -> Ticket: ...

    def kick(self) -> None: ...


class Limiter(Protocol):
    """What an attempt tells an `AdaptiveLimiter`."""

    @property
    def limit(self) -> int: ...

    def sample(self, latency: float, in_flight: int, *, late: float = 0.0) -> None: ...

    def dropped(self, in_flight: int) -> None: ...


class Pause(Protocol):
    """Until when an endpoint wants not to be asked; `Board.pause` is shared by processes."""

    @property
    def until(self) -> float:
        """On `Clock.monotonic`; in the past when there is none."""
        ...

    def extend(self, until: float) -> None:
        """A later end wins."""
        ...


class DependencyObserver(Protocol):
    """Hears what happens, for metrics. Must not raise."""

    def called(self, dependency: str, outcome: str) -> None: ...

    def limit(self, dependency: str, limit: int, in_flight: int) -> None: ...

    def breaker(self, dependency: str, state: str) -> None: ...

    def retried(self, dependency: str, outcome: str) -> None: ...

    def hedged(self, dependency: str, outcome: str) -> None: ...


class Unobserved:
    """Implements `DependencyObserver`: nobody listens."""

    def called(self, dependency: str, outcome: str) -> None: ...

    def limit(self, dependency: str, limit: int, in_flight: int) -> None: ...

    def breaker(self, dependency: str, state: str) -> None: ...

    def retried(self, dependency: str, outcome: str) -> None: ...

    def hedged(self, dependency: str, outcome: str) -> None: ...


class LocalPause:
    """Implements `Pause` for one process."""

    __slots__ = ("until",)

    def __init__(self) -> None:
        self.until = float("-inf")

    def extend(self, until: float) -> None:
        self.until = max(self.until, until)
