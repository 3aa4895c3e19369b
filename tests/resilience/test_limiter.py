"""Against the simulated servers of `benchmarks/limited_servers.py`, in virtual time."""

import random
import statistics
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limited_servers import Server, SimulatedTime, Simulation, places, roomy, shared

from ragstone.resilience.limiter import AdaptiveLimiter
from tests.clock import VirtualClock


class Unlimited:
    limit = 10_000

    def sample(self, latency: float, in_flight: int) -> None: ...

    def dropped(self, in_flight: int) -> None: ...


def _limiter(clock: VirtualClock | SimulatedTime, initial: int = 32) -> AdaptiveLimiter:
    return AdaptiveLimiter(initial=initial, minimum=4, maximum=1000, clock=clock)


def _simulation(server: Server, rate: float, seed: int = 1) -> Simulation:
    time = SimulatedTime()
    return Simulation(server, _limiter(time), time, rate=rate, seed=seed)


def _calm_wait(server: Server) -> float:
    """Median time to the first token at 80 % load and without a limit."""
    time = SimulatedTime()
    load = Simulation(server, Unlimited(), time, rate=0.8 * server.peak)
    return statistics.median(load.run(300).waits(60, 300))


@pytest.mark.parametrize("load", [2, 10])
@pytest.mark.parametrize("server", [places, shared])
def test_converges_to_the_knee(server: Callable[[], Server], load: int) -> None:
    seen = _simulation(server(), load * server().peak).run(600)
    assert seen.rate(60, 600) >= 0.95 * server().peak
    assert statistics.median(seen.waits(60, 600)) <= 1.5 * _calm_wait(server())
    assert 19 <= statistics.mean(seen.limits_between(60, 600)) <= 30


@pytest.mark.parametrize("server", [places, shared])
def test_noise_is_not_taken_for_load(server: Callable[..., Server]) -> None:
    noisy = server(noise=0.7)
    runs = [_simulation(noisy, 2 * noisy.peak, seed).run(900) for seed in range(1, 4)]
    assert statistics.mean(run.rate(60, 900) for run in runs) >= 0.9 * noisy.peak


@pytest.mark.parametrize("noise", [0.0, 0.25, 0.7])
def test_grows_to_a_thousand_streams_while_nothing_slows_down(noise: float) -> None:
    simulation = _simulation(roomy(stream=20.0, noise=noise), rate=100)
    simulation.run(30)
    assert simulation.limiter.limit == 1000
    seen = simulation.run(120)
    assert statistics.mean(seen.limits_between(30, 120)) > 900
    assert seen.rate(60, 120) > 45  # of 1000 places / 20 s


@pytest.mark.parametrize("server", [places, shared])
def test_latency_at_the_timeout_falls_to_the_minimum_and_stays(
    server: Callable[..., Server],
) -> None:
    """FAULTS 6. About half of the calls come just in time, and look like success."""
    ill = server()
    simulation = _simulation(ill, 2 * ill.peak)
    simulation.run(100)
    ill.first, ill.noise = 9.95, 0.02
    simulation.run(250)
    assert simulation.limiter.limit == 4
    seen = simulation.run(600)
    assert len(seen.timed_out) > 20
    assert max(seen.limits_between(250, 600)) == 4


@pytest.mark.parametrize("server", [places, shared])
def test_latency_that_triples_for_good_becomes_normal(server: Callable[..., Server]) -> None:
    """FAULTS 7."""
    slowed = server()
    simulation = _simulation(slowed, 2 * slowed.peak)
    simulation.run(200)
    slowed.slow = 3.0
    seen = simulation.run(1_000)
    settled = seen.limits_between(400, 1_000)
    assert seen.rate(300, 1_000) >= 0.9 * slowed.peak
    assert 18 <= statistics.mean(settled) <= 36
    # A check halves it for a moment now and then; it does not swing.
    assert sum(limit < 15 for limit in settled) < 0.1 * len(settled)


@pytest.mark.parametrize("server", [places, shared])
def test_follows_a_server_that_shrinks_and_grows(server: Callable[..., Server]) -> None:
    changing = server()
    simulation = _simulation(changing, 200 / 6.3)
    simulation.run(200)
    changing.capacity = 10
    seen = simulation.run(600)
    assert seen.rate(300, 600) >= 0.9 * changing.peak
    changing.capacity = 40
    seen = simulation.run(1_200)
    assert seen.rate(900, 1_200) >= 0.9 * changing.peak


def test_normal_again_within_thirty_seconds_of_a_stall() -> None:
    stalled = places()
    simulation = _simulation(stalled, 2 * stalled.peak)
    simulation.run(200)
    stalled.slow = 1e6
    simulation.run(260)
    stalled.slow = 1.0
    seen = simulation.run(400)
    assert seen.rate(280, 400) >= 0.9 * stalled.peak


def test_overload_from_the_first_call_on_is_found_out() -> None:
    """The reference is measured under it, and must not make it normal."""
    time = SimulatedTime()
    server = shared(20)
    limiter = AdaptiveLimiter(initial=100, minimum=4, maximum=1000, clock=time)
    seen = Simulation(server, limiter, time, rate=4 * server.peak).run(900)
    assert max(seen.limits_between(600, 900)) < 40
    assert seen.rate(600, 900) >= 0.9 * server.peak


def test_constant_timeouts_reach_the_minimum_within_four_rounds() -> None:
    limiter = _limiter(VirtualClock())
    for _ in range(4 * 32):
        limiter.dropped(limiter.limit)
    assert limiter.limit == 4


def test_one_drop_among_many_costs_little_and_none_adds() -> None:
    limiter = _limiter(VirtualClock(), initial=100)
    limiter.dropped(100)
    assert limiter.limit == 99
    limiter.dropped(1)  # few in flight are not a whole round
    assert limiter.limit >= 98


def test_after_drops_it_returns_quickly_to_where_it_was() -> None:
    clock = VirtualClock()
    limiter = _limiter(clock)
    _answers(limiter, clock, 1)
    before = limiter.limit
    for _ in range(200):
        limiter.dropped(limiter.limit)
    assert limiter.limit == 4
    _answers(limiter, clock, 100)
    assert limiter.limit >= before - 1


def _answers(limiter: AdaptiveLimiter, clock: VirtualClock, number: int, used: float = 1.0) -> None:
    for _ in range(number):
        clock.advance(0.3)
        limiter.sample(0.3, max(1, int(used * limiter.limit)))


def test_answers_without_any_noise_do_no_harm() -> None:
    clock = VirtualClock()
    limiter = _limiter(clock)
    _answers(limiter, clock, 60_000)
    assert limiter.limit == 1000


def test_a_limit_that_is_not_used_does_not_grow() -> None:
    clock = VirtualClock()
    limiter = _limiter(clock)
    _answers(limiter, clock, 2_000, used=0.45)
    assert limiter.limit == 32
    _answers(limiter, clock, 200)
    assert limiter.limit > 32


def test_calls_that_began_under_another_limit_are_not_heard() -> None:
    clock = VirtualClock()
    limiter = _limiter(clock)
    _answers(limiter, clock, 40)
    grown = limiter.limit
    assert grown > 32
    for _ in range(500):
        limiter.sample(clock.monotonic() - 1, grown)  # all of them from before
    assert limiter.limit == grown


def test_contradictory_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match="initial=3"):
        AdaptiveLimiter(initial=3, minimum=4, maximum=10, clock=VirtualClock())


@given(
    seed=st.integers(0, 2**32),
    minimum=st.integers(1, 20),
    above=st.tuples(st.integers(0, 50), st.integers(0, 500)),
    drops=st.floats(0, 1),
    scale=st.sampled_from([0.0, 1e-5, 0.01, 1.0, 1e4]),
)
def test_always_within_its_bounds(
    seed: int, minimum: int, above: tuple[int, int], drops: float, scale: float
) -> None:
    chance = random.Random(seed)
    clock = VirtualClock()
    initial = minimum + above[0]
    maximum = initial + above[1]
    limiter = AdaptiveLimiter(initial=initial, minimum=minimum, maximum=maximum, clock=clock)
    drops *= chance.random()
    for _ in range(400):
        clock.advance(chance.expovariate(1) * scale)
        in_flight = chance.randint(0, limiter.limit)
        if chance.random() < drops:
            limiter.dropped(in_flight)
        else:
            limiter.sample(scale * chance.lognormvariate(0, 1), in_flight)
        assert minimum <= limiter.limit <= maximum
