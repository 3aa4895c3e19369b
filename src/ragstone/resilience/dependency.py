"""One endpoint that this server needs: who may call it now, and what each call teaches.

An attempt passes, in this order, the endpoint's pause (it asked for one), its breaker, the
client throttle and a permit of its gate. What becomes of it decides about the next ones:

    outcome                          breaker     limiter   throttle   also
    first result                     success     sample    accepted
    cancelled, generator closed      neutral     -         -
    rate limited (429)               neutral     dropped   refused    paused for `retry_after`
    server error (5xx)               failure     -         refused    paused for `retry_after`
    timed out                        failure     dropped   -
    the caller's deadline passed     see below
    unreachable, protocol            failure     -         -
    quota, key, unknown model        set aside   -         -
    the request itself was refused   success     -         accepted

A caller's deadline says something about the endpoint only when it left a fair chance: without
a first result after `fair_seconds` it is a timeout, else, and after a first result, neutral.
"""

from types import TracebackType
from typing import Final

from ragstone.domain.errors import (
    DeadlineExceeded,
    DependencyBusy,
    Overloaded,
    RagstoneError,
    ShuttingDown,
    TooManyRequests,
)
from ragstone.domain.principal import Priority
from ragstone.ports import Clock
from ragstone.resilience.breaker import Breaker, BreakerState
from ragstone.resilience.dependency_parts import (
    DependencyObserver,
    Limiter,
    LocalPause,
    Pause,
    Permits,
    Ticket,
    Unobserved,
)
from ragstone.resilience.outcomes import (
    CallOutcome,
    is_overload,
    outcome_of,
    outcome_of_refusal,
)
from ragstone.resilience.own_lag import OwnLag
from ragstone.resilience.throttle import ClientThrottle

SET_ASIDE_SECONDS: Final = 30.0
"""How long an endpoint is not asked whose account, key or model is wrong. Someone has to mend
it, and a probe now and then notices that they did."""

_LONGEST_PAUSE: Final = 3600.0
"""Bound on what an endpoint's `Retry-After` may ask for when it limits our rate (429)."""

_LONGEST_PAUSE_AFTER_ERROR: Final = 60.0
"""The same of a server error: one of them, perhaps a proxy's, must not silence an endpoint for
long that may be well in a moment. No call goes through a pause, so none could find that out."""


class Dependency:
    """All parts but the clock are optional: a local index needs no gate."""

    def __init__(
        self,
        name: str,
        *,
        clock: Clock,
        gate: Permits | None = None,
        limiter: Limiter | None = None,
        breaker: Breaker | None = None,
        throttle: ClientThrottle | None = None,
        pause: Pause | None = None,
        observer: DependencyObserver | None = None,
        fair_seconds: float = 5.0,
        own_lag: OwnLag | None = None,
    ) -> None:
        """`own_lag`: is taken off the latencies that the limiter learns from."""
        self.name = name
        self._clock = clock
        self._gate = gate
        self._limiter = limiter
        self._breaker = breaker
        self._throttle = throttle
        self._observer = observer or Unobserved()
        self._fair_seconds = fair_seconds
        self._pause = pause or LocalPause()
        self._own_lag = own_lag or OwnLag()
        self._calls = 0

    @property
    def breaker_state(self) -> BreakerState:
        return self._breaker.state if self._breaker else "closed"

    @property
    def in_flight(self) -> int:
        """Calls of this process that run now."""
        return self._gate.in_use if self._gate else self._calls

    @property
    def available(self) -> bool:
        """Whether an attempt has a chance now: neither paused nor cut off by its breaker."""
        if self._clock.monotonic() < self._pause.until:
            return False
        return self._breaker is None or not self._breaker.refuses

    def check(self) -> None:
        """Raises `CircuitOpen` or `DependencyBusy` when an attempt would at once."""
        self._check_pause()
        if self._breaker is not None:
            self._breaker.check()

    def attempt(
        self, *, tenant: str = "", priority: Priority = "standard", deadline: float
    ) -> "Attempt":
        """A context in which the endpoint is called once.

        Entering raises `CircuitOpen`, `DependencyBusy`, `DeadlineExceeded`, `ShuttingDown`, and
        may wait for a permit.
        """
        return Attempt(self, tenant, priority, deadline)

    def _check_pause(self) -> None:
        left = self._pause.until - self._clock.monotonic()
        if left > 0:
            raise DependencyBusy(
                f"The {self.name} asked for a pause that has {left:.1f} seconds to go.",
                remedy="Try again later.",
                retry_after=left,
            )

    def _admit(self) -> None:
        """Everything that refuses at once. Raises `CircuitOpen`, `DependencyBusy`."""
        self.check()
        if self._throttle is not None and self._throttle.withholds():
            raise DependencyBusy(
                f"The {self.name} refuses most calls, so only some are sent.",
                remedy="Try again shortly.",
                retry_after=1.0,
            )

    async def _permit(self, tenant: str, priority: Priority, deadline: float) -> Ticket | None:
        """Raises `DependencyBusy` for any refusal of the gate but its closing."""
        if self._gate is None:
            if self._clock.monotonic() >= deadline:
                raise DeadlineExceeded(
                    f"No time was left to ask the {self.name}.",
                    remedy="Try again, or allow more time.",
                )
            return None
        try:
            return await self._gate.acquire(tenant=tenant, priority=priority, deadline=deadline)
        except ShuttingDown:
            raise
        except (Overloaded, TooManyRequests) as error:
            raise DependencyBusy(
                f"The {self.name} has as many calls as it can do.",
                remedy="Try again shortly.",
                retry_after=error.retry_after,
            ) from error

    def _begin(self) -> int:
        """The breaker's generation. It, or a pause, may have changed during the wait."""
        self._check_pause()
        generation = self._breaker.begin() if self._breaker is not None else 0
        self._calls += 1
        return generation

    def _end(self) -> None:
        self._calls -= 1

    def _observe_limit(self) -> None:
        limit = self._limiter.limit if self._limiter is not None else 0
        self._observer.limit(self.name, limit, self.in_flight)

    def _answered(self, generation: int, latency: float) -> None:
        """A first result after `latency` seconds."""
        late = self._own_lag.within(latency)
        if self._limiter is not None and late is not None:
            before = self._limiter.limit
            self._limiter.sample(latency, self.in_flight, late=late)
            if self._gate is not None and self._limiter.limit > before:
                self._gate.kick()
        self._accepted(generation)

    def _accepted(self, generation: int) -> None:
        """The endpoint lives and took the call."""
        if self._throttle is not None:
            self._throttle.accepted()
        if self._breaker is not None:
            state = self._breaker.state
            self._breaker.succeeded(generation)
            if self._throttle is not None and state != self._breaker.state:
                self._throttle.reset()  # closed again: its refusals are of the past

    def _failed(self, error: Exception, outcome: CallOutcome, generation: int, first: bool) -> None:
        """Passes on what a call without (`first`) or after a first result teaches."""
        retry_after = error.retry_after if isinstance(error, RagstoneError) else None
        if retry_after and outcome in ("rate_limited", "error"):
            longest = _LONGEST_PAUSE if outcome == "rate_limited" else _LONGEST_PAUSE_AFTER_ERROR
            self._pause.extend(self._clock.monotonic() + min(retry_after, longest))
        if self._limiter is not None and first and outcome in ("timeout", "rate_limited"):
            self._limiter.dropped(self.in_flight)
        if self._throttle is not None and first and is_overload(error):
            self._throttle.refused()
        if self._breaker is not None:
            self._judge(self._breaker, outcome, generation, first)

    def _judge(self, breaker: Breaker, outcome: CallOutcome, generation: int, first: bool) -> None:
        match outcome:
            case "set_aside":
                breaker.trip(generation, SET_ASIDE_SECONDS)
            case "error" | "timeout" if first:
                breaker.failed(generation)
            case "error" | "timeout":
                breaker.broke_off(generation)
            case _ if first:
                breaker.withdrawn(generation)


class Attempt:
    """One call. `async with dependency.attempt(...) as attempt:`"""

    __slots__ = (
        "_deadline",
        "_dependency",
        "_first",
        "_generation",
        "_priority",
        "_started",
        "_tenant",
        "_ticket",
    )

    def __init__(
        self, dependency: Dependency, tenant: str, priority: Priority, deadline: float
    ) -> None:
        self._dependency = dependency
        self._tenant = tenant
        self._priority = priority
        self._deadline = deadline
        self._first = True
        self._ticket: Ticket | None = None

    async def __aenter__(self) -> "Attempt":
        dependency = self._dependency
        try:
            dependency._admit()
            self._ticket = await dependency._permit(self._tenant, self._priority, self._deadline)
            self._generation = dependency._begin()
        except BaseException as error:
            if self._ticket is not None:
                self._ticket.release()
            dependency._observer.called(dependency.name, outcome_of_refusal(error))
            raise
        self._started = dependency._clock.monotonic()
        dependency._observe_limit()
        return self

    def first_result(self, waited: float | None = None) -> None:
        """The first result is there. Not calling it makes the end of the context that moment.

        `waited`: seconds since the request had been sent, where that is known; else it is as
        if it had been sent when the context was entered.
        """
        if self._first:
            self._first = False
            dependency = self._dependency
            if waited is None:
                waited = dependency._clock.monotonic() - self._started
            dependency._answered(self._generation, waited)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        dependency = self._dependency
        try:
            if error is None:
                self.first_result()
                dependency._observer.called(dependency.name, "ok")
            else:
                self._end_with(error)
        finally:
            dependency._end()
            if self._ticket is not None:
                self._ticket.release()
            dependency._observe_limit()

    def _end_with(self, error: BaseException) -> None:
        dependency, first = self._dependency, self._first
        seconds = dependency._clock.monotonic() - self._started
        had_fair_chance = first and seconds >= dependency._fair_seconds
        outcome = outcome_of(error, had_fair_chance=had_fair_chance)
        dependency._observer.called(dependency.name, outcome)
        if outcome == "rejected" and first:
            dependency._accepted(self._generation)
        elif isinstance(error, Exception):
            dependency._failed(error, outcome, self._generation, first)
        elif first and dependency._breaker is not None:
            dependency._breaker.withdrawn(self._generation)
