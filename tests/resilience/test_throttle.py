"""Client throttling adapts what is sent to what is accepted."""

from random import Random

import pytest

from ragstone.resilience.throttle import WINDOW_SECONDS, ClientThrottle
from tests.clock import VirtualClock


def run_second(
    throttle: ClientThrottle, clock: VirtualClock, *, offered: int, capacity: int
) -> tuple[int, int]:
    """What was sent and what was accepted of `offered` calls."""
    sent = accepted = 0
    for _ in range(offered):
        clock.advance(1.0 / offered)
        if throttle.withholds():
            continue
        sent += 1
        if accepted < capacity:
            accepted += 1
            throttle.accepted()
        else:
            throttle.refused()
    return sent, accepted


def make(clock: VirtualClock, ratio: float = 2.0) -> ClientThrottle:
    return ClientThrottle(ratio, clock=clock, random=Random(11))


def test_nothing_is_withheld_while_all_is_accepted(clock: VirtualClock) -> None:
    throttle = make(clock)
    for _ in range(20):
        assert run_second(throttle, clock, offered=100, capacity=100) == (100, 100)


def test_a_burst_that_is_not_answered_yet_is_not_withheld(clock: VirtualClock) -> None:
    throttle = make(clock)
    assert not any(throttle.withholds() for _ in range(1000))


@pytest.mark.parametrize("ratio", [1.5, 2.0])
def test_it_sends_about_the_ratio_of_what_is_accepted(clock: VirtualClock, ratio: float) -> None:
    throttle = make(clock, ratio)
    for _ in range(30):
        run_second(throttle, clock, offered=200, capacity=40)
    seconds = [run_second(throttle, clock, offered=200, capacity=40) for _ in range(20)]
    sent = sum(sent for sent, _ in seconds)
    accepted = sum(accepted for _, accepted in seconds)
    assert accepted == 20 * 40
    assert sent / accepted == pytest.approx(ratio, rel=0.15)


def test_after_a_long_refusal_all_pass_again_soon(clock: VirtualClock) -> None:
    throttle = make(clock)
    for _ in range(60):
        sent, _ = run_second(throttle, clock, offered=200, capacity=0)
    assert 5 <= sent <= 40
    seconds = 0
    while run_second(throttle, clock, offered=200, capacity=200)[0] < 190:
        seconds += 1
        assert seconds <= 2 * WINDOW_SECONDS


def test_a_few_refusals_prove_nothing(clock: VirtualClock) -> None:
    throttle = make(clock)
    for _ in range(9):
        throttle.refused()
    assert not any(throttle.withholds() for _ in range(100))


def test_reset_forgets(clock: VirtualClock) -> None:
    throttle = make(clock)
    run_second(throttle, clock, offered=100, capacity=0)
    throttle.reset()
    assert run_second(throttle, clock, offered=50, capacity=50) == (50, 50)
