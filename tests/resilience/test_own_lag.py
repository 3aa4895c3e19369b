"""A limit learned from latencies does not take our own event loop's lag for the model's."""

import random
from collections.abc import Callable

import pytest

from ragstone.resilience.dependency import Dependency
from ragstone.resilience.limiter import AdaptiveLimiter
from ragstone.resilience.own_lag import OwnLag
from tests.clock import VirtualClock
from tests.virtual_loop import run

ALONE_SECONDS = 0.25
MOST = 1000
LAG_SECONDS = 0.0002
"""For each stream that is open: 0.2 s when there are a thousand."""


def lag_of(streams: int) -> float:
    return LAG_SECONDS * streams


def learned(model: Callable[[int], float], *, own_lag: OwnLag | None, rounds: int = 300) -> int:
    """The limit after so many rounds, in each of which all that it allows are called at once."""
    return run(_learned(model, own_lag, rounds))


async def _learned(model: Callable[[int], float], own_lag: OwnLag | None, rounds: int) -> int:
    clock, draw = VirtualClock(), random.Random(1)
    limiter = AdaptiveLimiter(initial=16, minimum=4, maximum=MOST, clock=clock)
    endpoint = Dependency("model", clock=clock, limiter=limiter, own_lag=own_lag)
    for _ in range(rounds):
        calls = limiter.limit
        took = sorted(model(calls) * draw.lognormvariate(0, 0.1) for _ in range(calls))
        deadline = clock.monotonic() + 60
        attempts = [await endpoint.attempt(deadline=deadline).__aenter__() for _ in took]
        began = clock.monotonic()
        for attempt, seconds in zip(attempts, took, strict=True):
            if own_lag is not None:
                own_lag.observe(lag_of(calls))
            clock.advance(max(0.0, began + seconds + lag_of(calls) - clock.monotonic()))
            attempt.first_result()
        for attempt in attempts:
            await attempt.__aexit__(None, None, None)
    return limiter.limit


def roomy(_: int) -> float:
    return ALONE_SECONDS


def with_a_knee_at_50(calls: int) -> float:
    return ALONE_SECONDS * max(1.0, calls / 50)


def test_our_own_lag_does_not_lower_the_limit() -> None:
    assert learned(roomy, own_lag=None) < MOST / 2  # it looks like a model that slows down
    assert learned(roomy, own_lag=OwnLag()) == MOST


def test_a_slower_model_lowers_the_limit_although_we_lag_too() -> None:
    assert learned(with_a_knee_at_50, own_lag=OwnLag()) == pytest.approx(
        learned(with_a_knee_at_50, own_lag=None), rel=0.25
    )


def test_the_lag_of_late_is_what_counts() -> None:
    lag = OwnLag()
    for _ in range(10):
        lag.observe(0.1)
    assert lag.within(1.0) == pytest.approx(0.1, rel=0.2)
    for _ in range(20):
        lag.observe(0.0)
    assert lag.within(1.0) == pytest.approx(0.0, abs=0.005)


def test_a_latency_that_is_mostly_lag_tells_nothing() -> None:
    lag = OwnLag()
    for _ in range(50):
        lag.observe(0.3)
    assert lag.within(0.5) is None
    assert lag.within(0.7) == pytest.approx(0.3, rel=0.01)
