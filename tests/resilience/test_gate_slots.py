"""How many slots there are, by open-loop load on two cores in virtual time.

A queue before the slots is short, and who waits there too long is told. A queue behind them, such
as before the threads of the embedder, nobody sees; so it must be no longer than it has to be.
"""

import asyncio
import math
import random
from dataclasses import dataclass, field

import pytest

from ragstone.assembly.admission import open_admission
from ragstone.domain.errors import RagstoneError
from ragstone.domain.principal import Principal
from ragstone.settings import Settings
from tests.virtual_loop import run, running_clock

CORES = 2
WORK_SECONDS = 0.008
CAPACITY = CORES / WORK_SECONDS
RERANKER = {"reranker": {"base_url": "http://reranker.example", "model": "m"}}


@dataclass
class Measured:
    served_share: float = 0.0
    """Of the capacity."""
    waited: list[float] = field(default_factory=list)
    behind: list[float] = field(default_factory=list)
    """Seconds between getting a slot and giving it back."""


def p99(values: list[float]) -> float:
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]


def measure(load: float, changed: dict[str, object], *, elsewhere_seconds: float = 0) -> Measured:
    return run(_measure(load, Settings.model_validate(changed), elsewhere_seconds))


async def _measure(load: float, settings: Settings, elsewhere_seconds: float) -> Measured:
    clock, draw = running_clock(), random.Random(1)
    admission = open_admission(settings, clock, random=draw, cores=CORES)
    threads = asyncio.Semaphore(CORES)
    into, began, warm_up, seconds = Measured(), clock.monotonic(), 3.0, 9.0

    async def request(who: Principal) -> None:
        now = clock.monotonic()
        visit = admission.admit(who, priority="standard", weight=1, deadline=now + 10)
        try:
            async with visit as permit:
                entered = clock.monotonic()
                await asyncio.sleep(elsewhere_seconds * draw.uniform(0.5, 1.5))
                async with threads:
                    await asyncio.sleep(WORK_SECONDS * draw.uniform(0.5, 1.5))
        except RagstoneError:
            return
        if warm_up <= clock.monotonic() - began < seconds:
            into.waited.append(permit.waited)
            into.behind.append(clock.monotonic() - entered)

    async with asyncio.TaskGroup() as group:
        while clock.monotonic() - began < seconds:
            group.create_task(request(Principal(tenant=str(draw.randrange(10)))))
            await asyncio.sleep(draw.expovariate(load * CAPACITY))
    into.served_share = len(into.behind) / (seconds - warm_up) / CAPACITY
    return into


@pytest.mark.parametrize(("load", "kept"), [(2, 0.95), (10, 0.90)])
def test_what_computes_here_does_not_queue_behind_the_slots(load: float, kept: float) -> None:
    measured = measure(load, {})
    assert measured.served_share >= kept
    assert p99(measured.waited) < 0.035
    assert p99(measured.behind) < 0.06


def test_slots_that_wait_for_a_reranker_elsewhere_become_as_many_as_it_takes() -> None:
    measured = measure(10, RERANKER, elsewhere_seconds=0.1)
    assert measured.served_share > 0.8  # a fixed eight: 0.29
    assert p99(measured.waited) < 0.035


def test_a_lower_concurrency_holds_as_it_is() -> None:
    measured = measure(2, {"admission": {"concurrency": 2}})
    assert p99(measured.behind) <= 1.5 * WORK_SECONDS + 1e-6
