"""The gate under open-loop load, on virtual time: what gets through, how soon the rest is told."""

import asyncio
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from ragstone.domain.errors import DeadlineExceeded, Overloaded, RagstoneError, TooManyRequests
from ragstone.domain.principal import Priority
from ragstone.resilience.gate import Gate, GateSettings
from tests.virtual_loop import run, running_clock

SLOTS = 20
SERVICE_SECONDS = 0.05
CAPACITY = (SLOTS - 1) / SERVICE_SECONDS
"""Standard requests a second: one slot in twenty is kept from them."""
WARM_UP_SECONDS = 2.0
SETTINGS = GateSettings(queue=256, target_seconds=0.02, interval_seconds=0.5, tenant_share=0.25)


@dataclass
class Stream:
    """Poisson arrivals of one kind."""

    rate: float
    """As a multiple of the capacity."""
    tenant: str = "acme"
    priority: Priority = "standard"
    begin: float = 0.0
    end: float = math.inf


@dataclass
class Outcomes:
    """Of the requests of one stream that arrived after the warm-up."""

    waited: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    refused_after: list[float] = field(default_factory=list)
    errors: set[type[RagstoneError]] = field(default_factory=set)

    @property
    def good_share(self) -> float:
        return len(self.took) / (len(self.took) + len(self.refused_after))


def p99(values: list[float]) -> float:
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]


def simulate(
    streams: list[Stream],
    *,
    seconds: float,
    seed: int = 1,
    draw_service: Callable[[random.Random], float] = lambda draw: draw.expovariate(
        1 / SERVICE_SECONDS
    ),
    pace: float = 1.0,
) -> list[Outcomes]:
    return run(_simulate(streams, seconds, random.Random(seed), draw_service, pace))


async def _simulate(
    streams: list[Stream],
    seconds: float,
    draw: random.Random,
    draw_service: Callable[[random.Random], float],
    pace: float,
) -> list[Outcomes]:
    clock = running_clock()
    gate = Gate("gate", limit=lambda: SLOTS, settings=SETTINGS, clock=clock, random=draw)
    began = clock.monotonic()

    async def request(stream: Stream, into: Outcomes) -> None:
        arrived = clock.monotonic()
        try:
            ticket = await gate.acquire(
                tenant=stream.tenant, priority=stream.priority, deadline=arrived + 10
            )
        except RagstoneError as error:
            into.errors.add(type(error))
            into.refused_after.append(clock.monotonic() - arrived)
            return
        await asyncio.sleep(draw_service(draw))
        ticket.release()
        into.waited.append(ticket.waited)
        into.took.append(clock.monotonic() - arrived)

    async def arrivals(stream: Stream, into: Outcomes, group: asyncio.TaskGroup) -> None:
        await asyncio.sleep(stream.begin)
        while (at := clock.monotonic() - began) < min(seconds, stream.end):
            counted = into if at >= WARM_UP_SECONDS else Outcomes()
            group.create_task(request(stream, counted))
            await asyncio.sleep(draw.expovariate(stream.rate * pace * CAPACITY))

    outcomes = [Outcomes() for _ in streams]
    async with asyncio.TaskGroup() as group:
        for stream, into in zip(streams, outcomes, strict=True):
            group.create_task(arrivals(stream, into, group))
    assert gate.in_use == gate.waiting == 0
    return outcomes


@pytest.mark.parametrize(("load", "kept"), [(2, 0.95), (10, 0.90)])
@pytest.mark.parametrize("tenants", [1, 5, 100])
def test_under_overload_throughput_stays_and_refusals_come_soon(
    load: float, kept: float, tenants: int
) -> None:
    seconds = 6.0
    streams = [Stream(load / tenants, tenant=str(number)) for number in range(tenants)]
    outcomes = simulate(streams, seconds=seconds)
    served = sum(len(each.took) for each in outcomes)
    assert served >= kept * CAPACITY * (seconds - WARM_UP_SECONDS)
    assert p99([after for each in outcomes for after in each.refused_after]) < 0.05
    assert p99([wait for each in outcomes for wait in each.waited]) < 0.05


def test_a_short_queue_that_stands_is_overload_also_where_tenants_take_turns() -> None:
    """It is full before anybody in it has waited for the interval."""
    streams = [Stream(3 / 10, tenant=str(number)) for number in range(10)]
    outcomes = simulate(
        streams, seconds=3.5, draw_service=lambda draw: 0.004 * draw.uniform(0.5, 1.5), pace=12.5
    )
    assert p99([wait for each in outcomes for wait in each.waited]) < 0.05


def test_below_the_capacity_nobody_is_refused() -> None:
    [all_of_them] = simulate([Stream(0.8)], seconds=20)
    assert all_of_them.good_share > 0.999


def test_critical_requests_hardly_notice_a_spike_of_sheddable_ones() -> None:
    spike = Stream(12 * 0.5, "shop", "sheddable", begin=4, end=10)
    critical, _ = simulate([Stream(0.5, "desk", "critical"), spike], seconds=14)
    assert critical.good_share >= 0.994
    assert p99(critical.waited) < 0.05


def test_a_spike_of_ones_own_tenant_does_not_hurt_its_critical_requests() -> None:
    spike = Stream(12 * 0.5, "acme", "sheddable", begin=4, end=10)
    critical, _ = simulate([Stream(0.5, "acme", "critical"), spike], seconds=14)
    assert critical.good_share >= 0.994


def test_a_flood_whose_holds_all_end_together_changes_little_for_the_others() -> None:
    """Units taken at once come back at once: between, only what is kept free lets one in."""

    def always_the_same(_: random.Random) -> float:
        return SERVICE_SECONDS

    quiet = Stream(0.1, tenant="quiet")
    [calm] = simulate([quiet], seconds=30, draw_service=always_the_same)
    disturbed, flood = simulate(
        [quiet, Stream(5, tenant="flood")], seconds=30, draw_service=always_the_same
    )
    assert p99(disturbed.took) <= 1.2 * p99(calm.took)
    assert disturbed.good_share > 0.99
    assert len(flood.took) >= 0.7 * CAPACITY * (30 - WARM_UP_SECONDS)


def test_also_the_beginning_of_a_flood_changes_little_for_the_others() -> None:
    """What others used is remembered from before the flooding tenant came."""
    floods = [Stream(5, f"flood {n}", begin=n + 2.0, end=n + 2.2) for n in range(18)]
    quiet, *_ = simulate(
        [Stream(0.1, tenant="quiet"), *floods],
        seconds=20,
        draw_service=lambda _: SERVICE_SECONDS,
    )
    assert p99(quiet.took) <= 1.2 * SERVICE_SECONDS
    assert quiet.good_share > 0.99


def test_a_flood_of_one_tenant_changes_little_for_the_others() -> None:
    others = [Stream(0.1, tenant=name) for name in "abc"]
    calm = simulate([Stream(0.1, tenant="flood"), *others], seconds=20, draw_service=_even)[1:]
    flood, *disturbed = simulate(
        [Stream(5, tenant="flood"), *others], seconds=20, draw_service=_even
    )
    assert all(each.good_share >= 0.99 for each in disturbed)
    before = p99([took for each in calm for took in each.took])
    assert p99([took for each in disturbed for took in each.took]) <= 1.2 * before
    assert flood.errors <= {TooManyRequests, Overloaded}
    assert TooManyRequests in flood.errors


def _even(draw: random.Random) -> float:
    """Own work differs less from one request to the next than an exponential does."""
    return SERVICE_SECONDS * draw.uniform(0.5, 1.5)


def test_after_overload_the_gate_is_calm_again_soon() -> None:
    flood = Stream(10, begin=0, end=8)
    soon, _ = simulate([Stream(0.7, begin=8.6, end=13.0), flood], seconds=16)
    assert soon.good_share > 0.98
    calm, _ = simulate([Stream(0.7, begin=13.5), flood], seconds=20)
    assert calm.good_share > 0.999


def test_a_server_that_stalls_refuses_at_its_deadlines_and_recovers() -> None:
    """Service takes 5 s for the first 200 requests and is quick afterwards."""
    started = 0

    def service(draw: random.Random) -> float:
        nonlocal started
        started += 1
        return 5.0 if started <= 200 else draw.expovariate(1 / SERVICE_SECONDS)

    _, late = simulate(
        [Stream(0.6, end=70), Stream(0.6, begin=70)], seconds=80, draw_service=service
    )
    assert late.good_share > 0.999
    assert DeadlineExceeded not in late.errors
