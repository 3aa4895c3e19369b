"""A circuit breaker: what fails most of the time is left alone for a while.

Nygard, "Release It!", ch. 5. Closed: calls pass and are counted over a sliding window. Open:
nothing passes. Half open: a probe at a time passes, and what becomes of it decides.

Every change of state begins a new generation. The outcome of a call that began in an earlier
one says nothing about the present and is dropped: a timeout that was begun before the
outage must not open what has just closed. A cancelled call counts neither way, and as a
probe gives its place back.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final, Literal

from ragstone.domain.errors import CircuitOpen
from ragstone.ports import Clock
from ragstone.resilience.window import CountWindow

BreakerState = Literal["closed", "half_open", "open"]

_GROWTH: Final = 1.5
_LONGEST: Final = 2.0
"""Open time grows to at most this many times `open_seconds`: an endpoint that healed must not
wait long to be found out."""
_JITTER: Final = 0.2
"""Open time is lengthened by up to this share, so that processes do not probe in step."""
_PROBES_TO_CLOSE: Final = 2
_MOST_PROBES: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSettings:
    """See `settings.ResilienceSettings`."""

    failures: float = 0.5
    calls: int = 10
    window_seconds: float = 10.0
    open_seconds: float = 5.0


class Breaker:
    """One endpoint's. Each `begin` is followed by at most one `succeeded`, `failed` or
    `withdrawn`; only `broke_off` may still follow a `succeeded`."""

    def __init__(
        self,
        name: str,
        settings: BreakerSettings,
        *,
        clock: Clock,
        random: Random,
        on_change: Callable[[BreakerState], None] = lambda state: None,
    ) -> None:
        self._name = name
        self._settings = settings
        self._clock = clock
        self._random = random
        self._on_change = on_change
        self._window = CountWindow(settings.window_seconds)
        self._generation = 0
        self._open_until = 0.0
        self._openings = 0
        """In a row, without having closed in between."""
        self._probes = 0
        self._probe_successes = 0
        self._next_probe_at = 0.0
        self.state: BreakerState = "closed"

    @property
    def refuses(self) -> bool:
        """Whether a call would be refused now."""
        if self.state == "closed":
            return False
        now = self._clock.monotonic()
        if self.state == "open":
            return now < self._open_until
        return not self._has_place(now)

    def check(self) -> None:
        """Raises `CircuitOpen` when `begin` would, and takes nothing."""
        if self.state != "closed" and self.refuses:
            raise self._circuit_open()

    def begin(self) -> int:
        """A call begins; returns its generation. Raises `CircuitOpen`."""
        if self.state != "closed":
            self._take_probe_place()
        return self._generation

    def succeeded(self, generation: int) -> None:
        """It answered: told at the first result, a stream's end may be far away."""
        if generation != self._generation:
            return
        now = self._clock.monotonic()
        if self.state == "closed":
            self._window.add(now, total=1, kind=0)
            return
        self._next_probe_at = now  # the next need not wait for another that hangs
        self._probes -= 1
        self._probe_successes += 1
        if self._probe_successes >= _PROBES_TO_CLOSE:
            self._openings = 0
            self._change("closed")

    def failed(self, generation: int) -> None:
        """It did not answer."""
        self._count_failure(generation, total=1)

    def broke_off(self, generation: int) -> None:
        """It failed after all, having been counted as a success: a success less."""
        self._count_failure(generation, total=0)

    def withdrawn(self, generation: int) -> None:
        """The call was cancelled, or its outcome says nothing."""
        if generation == self._generation and self.state == "half_open":
            self._probes -= 1

    def trip(self, generation: int, seconds: float) -> None:
        """Open at once for at least `seconds`: asking again sooner cannot help."""
        if generation == self._generation:
            self._open(seconds)

    def _take_probe_place(self) -> None:
        now = self._clock.monotonic()
        if self.state == "open" and now >= self._open_until:
            self._change("half_open")
        if self.state == "open" or not self._has_place(now):
            raise self._circuit_open()
        self._probes += 1
        self._next_probe_at = now + self._settings.open_seconds

    def _has_place(self, now: float) -> bool:
        """A probe that hangs does not keep the next one from finding the endpoint healed."""
        return self._probes == 0 or (self._probes < _MOST_PROBES and now >= self._next_probe_at)

    def _count_failure(self, generation: int, total: int) -> None:
        if generation != self._generation:
            return
        if self.state == "half_open":
            self._open(self._next_open_seconds())
            return
        window, settings = self._window, self._settings
        window.add(self._clock.monotonic(), total=total, kind=1)
        if window.total >= settings.calls and window.kind >= settings.failures * window.total:
            self._open(self._next_open_seconds())

    def _next_open_seconds(self) -> float:
        growth = min(_GROWTH ** min(self._openings, 8), _LONGEST)
        return self._settings.open_seconds * growth

    def _open(self, seconds: float) -> None:
        jitter = 1.0 + _JITTER * self._random.random()
        self._open_until = self._clock.monotonic() + seconds * jitter
        self._openings += 1
        self._change("open")

    def _change(self, state: BreakerState) -> None:
        self.state = state
        self._generation += 1
        self._probes = self._probe_successes = 0
        self._window.clear()
        self._on_change(state)

    def _circuit_open(self) -> CircuitOpen:
        wait = self._open_until if self.state == "open" else self._next_probe_at
        return CircuitOpen(
            f"The {self._name} failed so often that it is not asked for a while.",
            remedy="Try again shortly; the server's log has the reason.",
            retry_after=max(0.0, wait - self._clock.monotonic()),
        )
