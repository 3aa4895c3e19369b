"""What holds for the gate whatever happens: arrivals, cancellations, limits that change."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragstone.domain.errors import RagstoneError
from ragstone.domain.principal import PRIORITIES, Priority
from ragstone.resilience.capacity import RESERVED
from ragstone.resilience.gate import Gate, GateSettings
from ragstone.resilience.ticket import Ticket
from ragstone.resilience.units import LocalUnits
from tests.virtual_loop import run, running_clock

SHARE = 0.25


@dataclass
class Visit:
    tenant: str
    priority: Priority
    weight: int
    task: "asyncio.Task[None]" = field(init=False)
    ticket: Ticket | None = None

    @property
    def waits(self) -> bool:
        return self.ticket is None and not self.task.done()


class WatchedUnits(LocalUnits):
    """Notes each time that units were taken above the limit though others were in use."""

    __slots__ = ("excesses", "true_limit")

    def __init__(self, true_limit: Callable[[], int]) -> None:
        super().__init__()
        self.true_limit = true_limit
        self.excesses: list[tuple[int, int]] = []

    def take(self, tenant: str, weight: int, limit: int) -> bool:
        taken = super().take(tenant, weight, limit)
        if taken and self.own > max(weight, self.true_limit()):
            self.excesses.append((self.own, self.true_limit()))
        return taken


class World:
    """A gate, everybody who came to it, and what must hold after each step."""

    def __init__(self, limit: int, queue: int) -> None:
        self.limit = limit
        self.queue = queue
        self.clock = running_clock()
        chosen = GateSettings(
            queue=queue, target_seconds=0.02, interval_seconds=0.5, tenant_share=SHARE
        )
        self.units = WatchedUnits(lambda: self.limit)
        self.gate = Gate(
            "gate",
            limit=lambda: self.limit,
            settings=chosen,
            clock=self.clock,
            board=self.units,
        )
        self.visits: list[Visit] = []
        self.inside: list[Visit] = []

    def arrive(self, tenant: str, priority: Priority, weight: int, patience: float) -> None:
        visit = Visit(tenant, priority, weight)
        visit.task = asyncio.create_task(self._visit(visit, patience))
        self.visits.append(visit)

    async def _visit(self, visit: Visit, patience: float) -> None:
        visit.weight = min(visit.weight, max(1, int(SHARE * self.limit)))
        with suppress(RagstoneError):
            visit.ticket = await self.gate.acquire(
                tenant=visit.tenant,
                priority=visit.priority,
                weight=visit.weight,
                deadline=self.clock.monotonic() + patience,
            )
            self.inside.append(visit)

    def leave(self, pick: int) -> None:
        if self.inside:
            visit = self.inside.pop(pick % len(self.inside))
            assert visit.ticket is not None
            visit.ticket.release()
            visit.ticket.release()

    def cancel(self, pick: int) -> None:
        waiting = [visit for visit in self.visits if visit.waits]
        if waiting:
            waiting[pick % len(waiting)].task.cancel()

    async def settle(self) -> None:
        for _ in range(4):
            await asyncio.sleep(0)

    def units_of(self, tenant: str) -> int:
        return sum(visit.weight for visit in self.inside if visit.tenant == tenant)

    def class_limit(self, priority: Priority) -> int:
        return max(1, self.limit - round(RESERVED[priority] * self.limit))

    def certain_limit(self, visit: Visit) -> int:
        """Below which it gets in whatever others had in use of late."""
        limit, share = self.class_limit(visit.priority), max(1, int(SHARE * self.limit))
        held = self.units_of(visit.tenant)
        return limit if held == 0 or held + visit.weight <= share else limit - share

    def check(self) -> None:
        """In a settled state."""
        assert not self.units.excesses
        in_use = sum(visit.weight for visit in self.inside)
        waiting = [visit for visit in self.visits if visit.waits]
        assert self.gate.in_use == in_use
        assert self.gate.waiting == len(waiting) <= self.queue
        if waiting:  # work is conserved: somebody is let in whenever all who wait would fit
            assert in_use
            assert any(in_use + visit.weight > self.certain_limit(visit) for visit in waiting)
        urgent = [visit for visit in waiting if visit.priority == "critical"]
        if urgent and max(visit.weight for visit in self.visits) == 1:
            assert in_use >= max(self.certain_limit(visit) for visit in urgent)

    async def end(self) -> None:
        self.gate.close()
        while self.inside:
            self.leave(0)
        await self.settle()
        assert not any(visit.waits for visit in self.visits)
        assert self.gate.in_use == self.gate.waiting == 0
        await asyncio.gather(*(visit.task for visit in self.visits), return_exceptions=True)


ARRIVALS = st.tuples(
    st.just("arrive"),
    st.sampled_from("abc"),
    st.sampled_from(PRIORITIES),
    st.sampled_from([1, 1, 1, 2, 8]),
    st.sampled_from([0.01, 0.3, 5.0]),
)
STEPS = st.one_of(
    ARRIVALS,
    st.tuples(st.sampled_from(["leave", "cancel"]), st.integers(0, 20)),
    st.tuples(st.just("limit"), st.integers(1, 12)),
    st.tuples(st.just("wait"), st.sampled_from([0.001, 0.02, 0.3, 1.0])),
    st.tuples(st.just("settle")),
)


async def take_step(world: World, step: tuple[Any, ...]) -> None:
    kind, *values = step
    if kind == "arrive":
        world.arrive(*values)
    elif kind == "limit":
        world.limit = values[0]
        world.gate.kick()
    elif kind == "wait":
        await asyncio.sleep(values[0])
    elif kind == "settle":
        await world.settle()
    else:
        getattr(world, kind)(*values)


@settings(max_examples=300, deadline=None)
@given(limit=st.integers(1, 12), queue=st.integers(0, 6), steps=st.lists(STEPS, max_size=60))
def test_whatever_happens_the_limit_holds_and_nothing_is_lost(
    limit: int, queue: int, steps: list[tuple[Any, ...]]
) -> None:
    async def scenario() -> None:
        world = World(limit, queue)
        for step in steps:
            await take_step(world, step)
            if step[0] in ("settle", "wait"):
                await world.settle()
                world.check()
        await world.settle()
        world.check()
        await world.end()

    run(scenario())


@settings(max_examples=200, deadline=None)
@given(
    limit=st.integers(2, 12),
    arrivals=st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from(PRIORITIES)), min_size=5, max_size=50
    ),
    leaving=st.lists(st.integers(0, 20), max_size=40),
)
def test_nobody_above_the_share_gets_in_before_another_below_it_for_whom_there_is_room(
    limit: int, arrivals: list[tuple[str, Priority]], leaving: list[int]
) -> None:
    async def scenario() -> None:
        world = World(limit, queue=100)
        for tenant, priority in arrivals:
            world.arrive(tenant, priority, 1, 1e9)
        await world.settle()
        share = max(1, int(SHARE * limit))
        for pick in leaving:
            world.leave(pick)
            units = {tenant: world.units_of(tenant) for tenant in "abcd"}
            room = world.gate.in_use
            entitled = {
                visit.tenant
                for visit in world.visits
                if visit.waits and units[visit.tenant] < share
                and room <= world.class_limit(visit.priority)
            }  # fmt: skip
            before = len(world.inside)
            await world.settle()
            for visit in world.inside[before:]:
                assert not entitled or visit.tenant in entitled
        await world.end()

    run(scenario())


@pytest.mark.parametrize("victim", range(5))
@pytest.mark.parametrize("turns", range(9))
def test_a_cancellation_at_any_turn_leaves_nothing_behind(victim: int, turns: int) -> None:
    async def scenario() -> None:
        world = World(limit=2, queue=3)

        async def pass_through(number: int) -> None:
            ticket = await world.gate.acquire(
                tenant="ab"[number % 2],
                priority=PRIORITIES[number % 3],
                weight=1 + number % 2,
                deadline=world.clock.monotonic() + 60,
            )
            try:
                await asyncio.sleep(0)
            finally:
                ticket.release()

        tasks = [asyncio.create_task(pass_through(number)) for number in range(5)]
        for _ in range(turns):
            await asyncio.sleep(0)
        tasks[victim].cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert not [each for each in outcomes if isinstance(each, Exception)
                    and not isinstance(each, RagstoneError)]  # fmt: skip
        assert world.gate.in_use == world.gate.waiting == 0
        await pass_through(0)

    run(scenario())
