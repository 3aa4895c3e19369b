"""The rules of the gate, one by one, on virtual time."""

import asyncio
import gc
import random
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ragstone.domain.errors import (
    DeadlineExceeded,
    Overloaded,
    RagstoneError,
    ShuttingDown,
    TooManyRequests,
)
from ragstone.domain.principal import Priority
from ragstone.resilience.capacity import KEEPING_SECONDS
from ragstone.resilience.gate import Gate, GateSettings
from ragstone.resilience.ticket import Ticket
from tests.clock import VirtualClock
from tests.virtual_loop import run, running_clock

FAR = 1e9


class Limit:
    """A limit that a test may change."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __call__(self) -> int:
        return self.value


def gate(limit: int | Limit, clock: VirtualClock, **changed: Any) -> Gate:
    settings: dict[str, Any] = {
        "queue": 100, "target_seconds": 0.02, "interval_seconds": 0.5, "tenant_share": 0.25
    } | changed  # fmt: skip
    return Gate(
        "gate",
        limit=limit if isinstance(limit, Limit) else Limit(limit),
        settings=GateSettings(**settings),
        clock=clock,
        random=random.Random(7),
    )


def virtual(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Runs an async test on a virtual loop."""

    def sync() -> None:
        run(test())  # type: ignore[arg-type]

    sync.__name__ = test.__name__
    sync.__doc__ = test.__doc__
    return sync


class Visitor:
    """A task that asks for units; `ticket` or `error` is there once it is settled."""

    def __init__(
        self,
        at: Gate,
        tenant: str = "acme",
        priority: Priority = "standard",
        weight: int = 1,
        deadline: float = FAR,
    ) -> None:
        self.ticket: Ticket | None = None
        self.error: RagstoneError | None = None
        self.settled_at = float("nan")
        self._gate = at
        self._asked: dict[str, Any] = {
            "tenant": tenant, "priority": priority, "weight": weight, "deadline": deadline
        }  # fmt: skip
        self.task = asyncio.create_task(self._ask())

    async def _ask(self) -> None:
        try:
            self.ticket = await self._gate.acquire(**self._asked)
        except RagstoneError as error:
            self.error = error
        self.settled_at = asyncio.get_running_loop().time()

    @property
    def inside(self) -> bool:
        return self.ticket is not None

    def leave(self) -> None:
        assert self.ticket is not None
        self.ticket.release()


async def turn() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


async def visitors(count: int, at: Gate, **asked: Any) -> list[Visitor]:
    """Come one after another, and are inside, waiting or refused."""
    came = []
    for _ in range(count):
        came.append(Visitor(at, **asked))
        await turn()
    return came


@virtual
async def test_units_are_taken_up_to_the_limit_and_given_back() -> None:
    tried = gate(2, running_clock())
    came = await visitors(3, tried, priority="critical")
    assert [visitor.inside for visitor in came] == [True, True, False]
    assert (tried.in_use, tried.waiting) == (2, 1)
    came[0].leave()
    await turn()
    assert came[2].inside
    assert (tried.in_use, tried.waiting) == (2, 0)


@virtual
async def test_a_second_release_does_nothing() -> None:
    tried = gate(2, running_clock())
    first, _ = await visitors(2, tried)
    first.leave()
    first.leave()
    assert tried.in_use == 1


@virtual
async def test_a_request_takes_no_more_than_a_tenants_share() -> None:
    tried = gate(8, running_clock())
    [heavy] = await visitors(1, tried, weight=8)
    assert heavy.inside
    assert tried.in_use == 2
    heavy.leave()
    [lone] = await visitors(1, small := gate(2, running_clock()), weight=8)
    assert lone.inside
    assert small.in_use == 1


@virtual
async def test_what_is_heavier_than_a_limit_that_fell_gets_in_alone() -> None:
    limit = Limit(4)
    tried = gate(limit, running_clock(), tenant_share=1.0)
    light = await visitors(4, tried)
    [heavy] = await visitors(1, tried, weight=8)
    limit.value = 2
    for visitor in light[:3]:
        visitor.leave()
    await turn()
    assert not heavy.inside
    light[3].leave()
    await turn()
    assert heavy.inside
    assert tried.in_use == 4
    [after] = await visitors(1, tried)
    assert not after.inside


@pytest.mark.parametrize("limit", [8, 16])
@pytest.mark.parametrize("attackers", [2, 4])
def test_a_few_heavy_clients_leave_others_about_half_of_the_work(
    limit: int, attackers: int
) -> None:
    run(_a_few_heavy_clients(limit, attackers))


async def _a_few_heavy_clients(limit: int, attackers: int) -> None:
    clock = running_clock()
    tried, end = gate(limit, clock, queue=256), clock.monotonic() + 10.0
    done = {"victim": 0, "attacker": 0}

    async def client(tenant: str, weight: int) -> None:
        while clock.monotonic() < end:
            try:
                ticket = await tried.acquire(
                    tenant=tenant, priority="standard", weight=weight, deadline=FAR
                )
            except RagstoneError:
                await asyncio.sleep(0.01)
                continue
            await asyncio.sleep(0.01)
            ticket.release()
            done[tenant] += 1

    victims = [client("victim", 1) for _ in range(2 * limit)]
    await asyncio.gather(*victims, *(client("attacker", 8) for _ in range(attackers)))
    possible = limit * 10.0 / 0.01
    assert done["victim"] >= 0.4 * possible  # half, less what lies idle until a heavy one fits


@virtual
async def test_the_heavy_is_not_overtaken_by_the_light_of_its_class() -> None:
    tried = gate(4, running_clock(), tenant_share=1.0)
    inside = await visitors(4, tried)
    [heavy] = await visitors(1, tried, weight=3)
    [light] = await visitors(1, tried)
    for visitor in inside[:2]:
        visitor.leave()
    await turn()
    assert not heavy.inside
    assert not light.inside
    inside[2].leave()
    await turn()
    assert heavy.inside
    assert not light.inside


@virtual
async def test_the_heavy_is_not_overtaken_by_the_light_of_a_lower_class() -> None:
    tried = gate(8, running_clock(), tenant_share=0.5)
    inside = await visitors(6, tried)
    [heavy] = await visitors(1, tried, priority="critical", weight=4)
    [light] = await visitors(1, tried, priority="sheddable")
    inside[0].leave()
    await turn()
    assert not heavy.inside
    assert not light.inside


@virtual
async def test_the_heavy_is_not_overtaken_by_a_tenant_above_its_share() -> None:
    tried = gate(8, running_clock())
    inside = await visitors(8, tried, tenant="flood")
    [heavy] = await visitors(1, tried, tenant="other", weight=2)
    [light] = await visitors(1, tried, tenant="flood")
    inside[0].leave()
    await turn()
    assert not light.inside
    inside[1].leave()
    await turn()
    assert heavy.inside


@virtual
async def test_a_heavy_one_that_leaves_lets_the_light_ones_in() -> None:
    tried = gate(4, running_clock(), tenant_share=1.0)
    await visitors(3, tried)
    [heavy] = await visitors(1, tried, weight=2)
    [light] = await visitors(1, tried)
    assert not light.inside
    heavy.task.cancel()
    await turn()
    assert light.inside


@virtual
async def test_critical_goes_before_standard_before_sheddable() -> None:
    tried = gate(1, running_clock())
    [first] = await visitors(1, tried)
    order = []
    for priority in ("sheddable", "standard", "critical"):
        order += await visitors(1, tried, priority=priority)
    for expected in reversed(order):
        first.leave()
        await turn()
        assert expected.inside
        first = expected


@virtual
async def test_the_last_part_of_the_slots_is_kept_from_lower_classes() -> None:
    tried = gate(100, running_clock(), queue=1000)
    inside = []
    for priority in ("sheddable", "standard", "critical"):
        came = await visitors(100, tried, priority=priority)
        inside.append(sum(visitor.inside for visitor in came))
    assert inside == [80, 15, 5]


@virtual
async def test_a_flood_leaves_free_what_others_had_in_use_of_late_and_one_more() -> None:
    tried = gate(8, running_clock())
    [quiet] = await visitors(1, tried, tenant="quiet")
    flood = await visitors(9, tried, tenant="flood")
    assert sum(visitor.inside for visitor in flood) == 6
    quiet.leave()
    await turn()
    assert sum(visitor.inside for visitor in flood) == 6
    [back] = await visitors(1, tried, tenant="quiet")
    assert back.inside
    back.leave()
    await asyncio.sleep(2 * KEEPING_SECONDS)
    await visitors(3, tried, tenant="flood")
    assert tried.in_use == 8  # nobody else came: all is for the one who asks


@virtual
async def test_no_more_than_one_share_is_kept_free() -> None:
    tried = gate(8, running_clock())
    quiet = [(await visitors(1, tried, tenant=f"quiet-{n}"))[0] for n in range(4)]
    flood = await visitors(8, tried, tenant="flood")
    for visitor in quiet:
        visitor.leave()
    await turn()
    assert sum(visitor.inside for visitor in flood) == 8 - 2


@virtual
async def test_of_the_waiting_tenants_the_one_with_fewest_units_is_next() -> None:
    tried = gate(4, running_clock())
    busy = await visitors(4, tried, tenant="busy")
    await visitors(5, tried, tenant="busy")
    came = await visitors(2, tried, tenant="quiet")
    for leaving in busy[:2]:
        leaving.leave()
    await turn()
    assert all(visitor.inside for visitor in came)


@virtual
async def test_tenants_with_the_same_number_of_units_take_turns() -> None:
    tried = gate(1, running_clock())
    [running] = await visitors(1, tried, tenant="a")
    waiting = {name: await visitors(3, tried, tenant=name) for name in "abc"}
    served = ""
    for _ in range(9):
        running.leave()
        await turn()
        for name, queue in waiting.items():
            if queue and queue[0].inside:
                served += name
                running = queue.pop(0)
    assert [sorted(served[i : i + 3]) for i in (0, 3, 6)] == [["a", "b", "c"]] * 3


@virtual
async def test_above_its_share_a_tenant_gives_way_even_to_a_lower_class() -> None:
    tried = gate(8, running_clock())
    inside = await visitors(8, tried, tenant="flood", priority="critical")
    await visitors(4, tried, tenant="flood", priority="critical")
    [other] = await visitors(1, tried, tenant="other", priority="standard")
    inside[0].leave()
    await turn()
    assert other.inside


@virtual
async def test_alone_a_tenant_may_have_everything() -> None:
    tried = gate(8, running_clock())
    came = await visitors(8, tried, tenant="alone")
    assert all(visitor.inside for visitor in came)


@virtual
async def test_one_beyond_the_queue_is_refused_at_once_with_when_to_come_back() -> None:
    tried = gate(1, running_clock(), queue=1)
    came = await visitors(3, tried)
    assert isinstance(came[2].error, Overloaded)
    assert came[2].error.retry_after is not None
    assert 1 <= came[2].error.retry_after <= 2
    assert (tried.in_use, tried.waiting) == (1, 1)


@virtual
async def test_critical_takes_the_place_of_sheddable_in_a_full_queue() -> None:
    tried = gate(1, running_clock(), queue=2)
    [first] = await visitors(1, tried)
    lesser = await visitors(2, tried, priority="sheddable")
    [critical] = await visitors(1, tried, priority="critical")
    assert isinstance(lesser[0].error, Overloaded)
    assert lesser[1].error is None
    first.leave()
    await turn()
    assert critical.inside


@virtual
async def test_a_flood_does_not_keep_others_out_of_the_queue() -> None:
    tried = gate(4, running_clock(), queue=8)
    inside = await visitors(4, tried, tenant="flood")
    flood = await visitors(8, tried, tenant="flood")
    [other] = await visitors(1, tried, tenant="other")
    assert sum(visitor.error is not None for visitor in flood) == 1
    [more] = await visitors(1, tried, tenant="flood")
    assert isinstance(more.error, TooManyRequests)
    inside[0].leave()
    await turn()
    assert other.inside


@virtual
async def test_a_single_tenant_meets_overload_and_not_a_limit_of_its_own() -> None:
    tried = gate(4, running_clock(), queue=0)
    came = await visitors(5, tried)
    assert type(came[4].error) is Overloaded


@virtual
async def test_a_short_queue_may_wait_for_the_interval() -> None:
    clock = running_clock()
    tried = gate(1, clock)
    _, waiting = await visitors(2, tried)
    began = clock.monotonic()
    await asyncio.sleep(1)
    assert isinstance(waiting.error, Overloaded)
    assert waiting.settled_at - began == pytest.approx(0.5)
    assert tried.waiting == 0


@virtual
async def test_once_the_queue_stands_the_longest_wait_is_the_target() -> None:
    clock = running_clock()
    tried = gate(1, clock)
    await visitors(2, tried)
    await asyncio.sleep(0.6)
    began = clock.monotonic()
    overtaken, _ = await visitors(2, tried)
    await asyncio.sleep(0.1)
    assert isinstance(overtaken.error, Overloaded)
    assert overtaken.settled_at - began == pytest.approx(0.02)


@virtual
async def test_who_is_next_is_not_refused_before_the_interval_for_having_waited() -> None:
    clock = running_clock()
    tried = gate(1, clock)
    await visitors(2, tried)
    await asyncio.sleep(0.6)
    began = clock.monotonic()
    [head] = await visitors(1, tried)
    await asyncio.sleep(0.4)
    assert head.error is None
    await asyncio.sleep(0.4)
    assert isinstance(head.error, Overloaded)
    assert head.settled_at - began == pytest.approx(0.5)


@virtual
async def test_where_the_queue_stands_the_newest_is_next() -> None:
    tried = gate(2, running_clock(), tenant_share=1.0)
    inside = await visitors(4, tried)
    await asyncio.sleep(0.1)
    inside[0].leave()  # to one who has waited for longer than the target: so will all
    older = await visitors(2, tried)
    await asyncio.sleep(0.3)
    inside[1].leave()
    await asyncio.sleep(0.195)
    [newest] = await visitors(1, tried)
    await asyncio.sleep(0.01)
    inside[2].leave()
    await turn()
    assert newest.inside
    assert not any(visitor.inside for visitor in older)


async def overloaded(clock: VirtualClock, **changed: Any) -> tuple[Gate, Visitor]:
    """One unit, held for 9 ms of late and in use; somebody has just waited in vain."""
    tried = gate(1, clock, **changed)
    [first] = await visitors(1, tried)
    await asyncio.sleep(0.009)
    first.leave()
    holder, _ = await visitors(2, tried)
    await asyncio.sleep(0.6)
    return tried, holder


@virtual
async def test_under_overload_who_would_wait_for_long_is_refused_at_once() -> None:
    clock = running_clock()
    tried, _ = await overloaded(clock)
    waiting, beyond = await visitors(2, tried)
    assert waiting.error is None
    assert isinstance(beyond.error, Overloaded)
    assert beyond.settled_at == pytest.approx(clock.monotonic())
    with pytest.raises(Overloaded):
        tried.check(tenant="acme", priority="standard", weight=1, deadline=FAR)
    tried.check(tenant="acme", priority="standard", weight=1, deadline=FAR, hurried=False)


@virtual
async def test_under_overload_the_oldest_is_next_unless_it_is_late() -> None:
    clock = running_clock()
    for late, expected in ((0.0, [True, False]), (0.02, [False, True])):
        tried, holder = await overloaded(clock, target_seconds=0.04)
        came = await visitors(2, tried)
        assert [visitor.error for visitor in came] == [None, None]
        await asyncio.sleep(0.039)
        clock.advance(late)
        holder.leave()
        await turn()
        assert [visitor.inside for visitor in came] == expected


@virtual
async def test_who_stayed_is_refused_soon_after_another_goes_before_it() -> None:
    clock = running_clock()
    tried, _ = await overloaded(clock)
    began = clock.monotonic()
    [stays] = await visitors(1, tried)
    await asyncio.sleep(0.021)
    assert stays.error is None
    [newer] = await visitors(1, tried)
    await asyncio.sleep(0.01)
    assert isinstance(stays.error, Overloaded)
    assert stays.settled_at - began == pytest.approx(0.025)
    assert newer.error is None


@virtual
async def test_under_overload_others_are_refused_and_not_who_asks_little() -> None:
    tried = gate(8, clock := running_clock(), queue=8)
    flood = await visitors(8, tried, tenant="flood")
    await asyncio.sleep(0.2)
    flood[0].leave()
    await visitors(9, tried, tenant="flood")
    await asyncio.sleep(0.6)
    first, second = await visitors(2, tried, tenant="flood")
    [quiet] = await visitors(1, tried, tenant="quiet")
    assert isinstance(second.error, Overloaded)
    assert (first.error, quiet.error) == (None, None)
    assert clock.monotonic() < FAR


@virtual
async def test_without_overload_the_oldest_is_next() -> None:
    tried = gate(1, running_clock())
    first, older, _ = await visitors(3, tried)
    first.leave()
    await turn()
    assert older.inside


@virtual
async def test_overload_ends_an_interval_after_the_last_refusal() -> None:
    clock = running_clock()
    tried = gate(1, clock)
    first, _ = await visitors(2, tried)
    await asyncio.sleep(1.2)
    [waiting] = await visitors(1, tried)
    await asyncio.sleep(0.3)
    assert waiting.error is None
    first.leave()
    await turn()
    assert waiting.inside


@virtual
async def test_a_wait_that_is_not_worth_while_is_refused_at_once() -> None:
    clock = running_clock()
    tried = gate(1, clock)
    [first] = await visitors(1, tried)
    await asyncio.sleep(0.2)
    first.leave()  # a unit is held for 0.2 s
    came = await visitors(5, tried)
    assert [visitor.error is None for visitor in came] == [True, True, True, False, False]
    [hurried] = await visitors(1, tried, deadline=clock.monotonic() + 0.1)
    assert isinstance(hurried.error, DeadlineExceeded)
    assert hurried.settled_at == pytest.approx(clock.monotonic())


@virtual
async def test_waiting_ends_with_the_deadline() -> None:
    clock = running_clock()
    tried = gate(1, clock)
    await visitors(1, tried)
    began = clock.monotonic()
    [waiting] = await visitors(1, tried, deadline=began + 0.1)
    await asyncio.sleep(1)
    assert isinstance(waiting.error, DeadlineExceeded)
    assert waiting.settled_at - began == pytest.approx(0.1)


@virtual
async def test_nobody_begins_after_the_deadline() -> None:
    clock = running_clock()
    tried = gate(1, clock)
    [first] = await visitors(1, tried)
    [waiting] = await visitors(1, tried, deadline=clock.monotonic() + 0.1)
    clock.advance(0.2)  # the event loop was blocked: the timer did not fire
    first.leave()
    await turn()
    assert isinstance(waiting.error, DeadlineExceeded)
    [late] = await visitors(1, tried, deadline=clock.monotonic())
    assert isinstance(late.error, DeadlineExceeded)
    assert tried.in_use == 0


@virtual
async def test_when_the_limit_falls_nobody_gets_in_until_it_is_below_again() -> None:
    limit = Limit(4)
    tried = gate(limit, running_clock())
    inside = await visitors(4, tried)
    [waiting] = await visitors(1, tried)
    limit.value = 2
    for expected, visitor in enumerate(inside[:3]):
        visitor.leave()
        await turn()
        assert waiting.inside == (expected == 2)


@virtual
async def test_a_kick_lets_in_who_has_room_now() -> None:
    limit = Limit(1)
    tried = gate(limit, running_clock())
    _, second, third, fourth = await visitors(4, tried)
    limit.value = 3
    tried.kick()
    await turn()
    assert [second.inside, third.inside, fourth.inside] == [True, True, False]


@virtual
async def test_closing_refuses_who_waits_and_who_comes() -> None:
    tried = gate(1, running_clock())
    first, waiting = await visitors(2, tried)
    tried.close()
    [late] = await visitors(1, tried)
    assert isinstance(waiting.error, ShuttingDown)
    assert isinstance(late.error, ShuttingDown)
    with pytest.raises(ShuttingDown):
        tried.check(tenant="acme", priority="critical", weight=1, deadline=FAR)
    first.leave()
    assert tried.in_use == tried.waiting == 0


@virtual
async def test_a_permit_handed_to_one_who_is_cancelled_in_the_same_turn_is_passed_on() -> None:
    tried = gate(1, running_clock())
    first, second, third = await visitors(3, tried)
    first.leave()
    second.task.cancel()
    await turn()
    assert not second.inside
    assert third.inside
    assert tried.in_use == 1


@virtual
async def test_a_refusal_that_meets_a_cancellation_is_not_lost_in_the_log() -> None:
    tried = gate(1, running_clock())
    _, second = await visitors(2, tried)
    tried.close()
    second.task.cancel()
    await turn()
    assert second.task.cancelled()
    assert tried.waiting == 0


@virtual
async def test_check_says_what_acquire_would_and_takes_nothing() -> None:
    clock = running_clock()
    tried = gate(1, clock, queue=1)
    asked: dict[str, Any] = {"tenant": "acme", "priority": "standard", "weight": 1}
    tried.check(**asked, deadline=FAR)
    assert tried.in_use == 0
    with pytest.raises(DeadlineExceeded):
        tried.check(**asked, deadline=clock.monotonic())
    await visitors(2, tried)
    with pytest.raises(Overloaded):
        tried.check(**asked, deadline=FAR)
    assert (tried.in_use, tried.waiting) == (1, 1)


@virtual
async def test_a_refusal_is_no_garbage() -> None:
    """An error whose frames know the error keeps them until a garbage collection: at ten times
    the load those held up all requests for 5 ms each."""
    at = gate(1, running_clock(), queue=1, interval_seconds=0.02)
    holder = await at.acquire(tenant="a", priority="standard", deadline=FAR)
    waits = asyncio.create_task(refused(at.acquire(tenant="a", priority="standard", deadline=FAR)))
    await turn()
    gc.collect()
    gc.disable()
    try:
        at_once = await refused(at.acquire(tenant="a", priority="standard", deadline=FAR))
        from_the_head = await refused(checked(at))
        after_waiting = await waits
        assert [at_once(), from_the_head(), after_waiting()] == [None, None, None]
    finally:
        gc.enable()
        holder.release()


async def refused(asking: Awaitable[object]) -> "weakref.ref[RagstoneError]":
    try:
        await asking
    except RagstoneError as error:
        return weakref.ref(error)
    raise AssertionError("let in")


async def checked(at: Gate) -> None:
    at.check(tenant="a", priority="standard", weight=1, deadline=FAR)
