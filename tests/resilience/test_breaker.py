"""The breaker opens for what fails, and notices soon when it has healed."""

from random import Random

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ragstone.domain.errors import CircuitOpen
from ragstone.resilience.breaker import Breaker, BreakerSettings, BreakerState
from tests.clock import VirtualClock

SETTINGS = BreakerSettings(failures=0.5, calls=10, window_seconds=10.0, open_seconds=5.0)
LONGEST_OPEN = 5.0 * 2.0 * 1.2


def make(clock: VirtualClock, heard: list[BreakerState] | None = None) -> Breaker:
    return Breaker(
        "model",
        SETTINGS,
        clock=clock,
        random=Random(7),
        on_change=(heard if heard is not None else []).append,
    )


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        breaker.failed(breaker.begin())


def succeed(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        breaker.succeeded(breaker.begin())


def opened(clock: VirtualClock) -> Breaker:
    breaker = make(clock)
    fail(breaker, 10)
    assert breaker.state == "open"
    return breaker


def half_opened(clock: VirtualClock) -> tuple[Breaker, int]:
    """With its first probe under way."""
    breaker = opened(clock)
    clock.advance(LONGEST_OPEN)
    return breaker, breaker.begin()


def test_few_failures_do_not_open_it(clock: VirtualClock) -> None:
    breaker = make(clock)
    fail(breaker, 9)
    assert breaker.state == "closed"


def test_half_of_enough_calls_opens_it(clock: VirtualClock) -> None:
    breaker = make(clock)
    succeed(breaker, 10)
    fail(breaker, 9)
    assert breaker.state == "closed"
    fail(breaker, 1)
    assert breaker.state == "open"


def test_failures_of_long_ago_do_not_count(clock: VirtualClock) -> None:
    breaker = make(clock)
    fail(breaker, 9)
    clock.advance(SETTINGS.window_seconds + 1)
    fail(breaker, 9)
    assert breaker.state == "closed"


def test_cancelled_calls_do_not_count(clock: VirtualClock) -> None:
    breaker = make(clock)
    for _ in range(100):
        breaker.withdrawn(breaker.begin())
    fail(breaker, 9)
    assert breaker.state == "closed"


def test_open_it_refuses_and_says_for_how_long(clock: VirtualClock) -> None:
    breaker = opened(clock)
    with pytest.raises(CircuitOpen) as refused:
        breaker.begin()
    assert refused.value.retry_after is not None
    assert 5.0 <= refused.value.retry_after <= 6.0
    with pytest.raises(CircuitOpen):
        breaker.check()


def test_one_probe_at_a_time(clock: VirtualClock) -> None:
    breaker, _ = half_opened(clock)
    assert breaker.state == "half_open"
    assert breaker.refuses
    with pytest.raises(CircuitOpen):
        breaker.begin()


def test_two_good_probes_close_it(clock: VirtualClock) -> None:
    breaker, probe = half_opened(clock)
    breaker.succeeded(probe)
    assert breaker.state == "half_open"
    succeed(breaker, 1)
    assert breaker.state == "closed"


def test_a_failed_probe_opens_it_for_longer_within_a_bound(clock: VirtualClock) -> None:
    breaker = opened(clock)
    waits = []
    for _ in range(8):
        began = clock.monotonic()
        while breaker.refuses:
            clock.advance(0.1)
        waits.append(clock.monotonic() - began)
        fail(breaker, 1)
    assert waits[0] < waits[2]
    assert max(waits) <= LONGEST_OPEN + 0.1


def test_a_cancelled_probe_gives_its_place_back(clock: VirtualClock) -> None:
    breaker, probe = half_opened(clock)
    breaker.withdrawn(probe)
    assert not breaker.refuses
    breaker.begin()


def test_a_probe_that_hangs_does_not_hide_that_the_endpoint_healed(clock: VirtualClock) -> None:
    breaker, hanging = half_opened(clock)
    clock.advance(SETTINGS.open_seconds)
    succeed(breaker, 2)
    assert breaker.state == "closed"
    breaker.failed(hanging)
    fail(breaker, 9)
    assert breaker.state == "closed"


def test_hanging_probes_are_few(clock: VirtualClock) -> None:
    breaker, _ = half_opened(clock)
    for _ in range(3):
        clock.advance(SETTINGS.open_seconds)
        breaker.begin()
    clock.advance(SETTINGS.open_seconds)
    with pytest.raises(CircuitOpen):
        breaker.begin()


def test_calls_of_before_do_not_open_what_has_closed(clock: VirtualClock) -> None:
    breaker = make(clock)
    slow = [breaker.begin() for _ in range(50)]
    fail(breaker, 10)
    clock.advance(LONGEST_OPEN)
    succeed(breaker, 2)
    for generation in slow:
        breaker.failed(generation)
    assert breaker.state == "closed"


def test_successes_of_before_do_not_close_what_has_opened(clock: VirtualClock) -> None:
    breaker = make(clock)
    slow = [breaker.begin() for _ in range(5)]
    fail(breaker, 10)
    clock.advance(LONGEST_OPEN)
    breaker.begin()
    for generation in slow:
        breaker.succeeded(generation)
    assert breaker.state == "half_open"
    assert breaker.refuses


def test_streams_that_break_off_after_a_first_result_open_it(clock: VirtualClock) -> None:
    breaker = make(clock)
    for _ in range(10):
        generation = breaker.begin()
        breaker.succeeded(generation)
        breaker.broke_off(generation)
    assert breaker.state == "open"


def test_tripped_it_is_open_for_at_least_that_long(clock: VirtualClock) -> None:
    breaker = make(clock)
    breaker.trip(breaker.begin(), 30.0)
    clock.advance(29.9)
    assert breaker.refuses
    clock.advance(30.0 * 0.2 + 0.2)
    breaker.begin()
    assert breaker.state == "half_open"


def test_every_change_is_told(clock: VirtualClock) -> None:
    heard: list[BreakerState] = []
    breaker = make(clock, heard)
    fail(breaker, 10)
    clock.advance(LONGEST_OPEN)
    succeed(breaker, 2)
    assert heard == ["open", "half_open", "closed"]


class BreakerMachine(RuleBasedStateMachine):
    """Any interleaving of calls, outcomes and time."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock()
        self.breaker = make(self.clock, [])
        self.breaker._on_change = self.changed
        self.running: list[tuple[int, int]] = []
        self.epoch = 0
        self.failures_since_change = 0

    def changed(self, state: BreakerState) -> None:
        self.epoch += 1
        self.failures_since_change = 0

    @rule()
    def begin(self) -> None:
        refuses = self.breaker.refuses
        if refuses:
            with pytest.raises(CircuitOpen) as refused:
                self.breaker.begin()
            assert refused.value.retry_after is not None
            assert 0 <= refused.value.retry_after <= LONGEST_OPEN
        else:
            self.running.append((self.breaker.begin(), self.epoch))

    @rule(data=st.data(), outcome=st.sampled_from(["succeeded", "failed", "withdrawn"]))
    def end(self, data: st.DataObject, outcome: str) -> None:
        if not self.running:
            return
        place = data.draw(st.integers(0, len(self.running) - 1))
        generation, epoch = self.running.pop(place)
        before = self.breaker.state
        was_open_probe = before == "half_open" and epoch == self.epoch
        if outcome == "failed" and epoch == self.epoch:
            self.failures_since_change += 1
        counted = self.failures_since_change
        getattr(self.breaker, outcome)(generation)
        if epoch != self.epoch and before == self.breaker.state:
            return
        if before == "closed" and self.breaker.state == "open":
            assert outcome == "failed"
            assert counted >= SETTINGS.failures * SETTINGS.calls
        if was_open_probe and outcome == "failed":
            assert self.breaker.state == "open"

    @rule()
    def outage(self) -> None:
        while self.breaker.state == "closed":
            self.failures_since_change += 1
            self.breaker.failed(self.breaker.begin())

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 12.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def places_are_neither_lost_nor_doubled(self) -> None:
        if self.breaker.state == "half_open":
            out = sum(epoch == self.epoch for _, epoch in self.running)
            assert self.breaker._probes == out
            assert out <= 4

    @invariant()
    def it_never_stays_shut(self) -> None:
        """Whatever happened: after the longest open time and with no call out, one may begin."""
        if not self.running and self.breaker.refuses:
            ahead = self.breaker._open_until - self.clock.monotonic()
            assert 0 < ahead <= LONGEST_OPEN


BreakerMachine.TestCase.settings = hypothesis_settings(max_examples=150, deadline=None)
TestBreakerMachine = BreakerMachine.TestCase
