"""A slot for a request's own work, a place in flight until its end, and nothing left behind."""

import asyncio
from typing import Any

import pytest

from ragstone.assembly.admission import open_admission
from ragstone.domain.errors import DeadlineExceeded, Overloaded, ShuttingDown
from ragstone.domain.principal import Principal, Priority
from ragstone.resilience.admission import (
    GatedAdmission,
    OpenAdmission,
    SlotLimiter,
    weight_of,
    weight_of_texts,
)
from ragstone.resilience.gate import Gate, GateSettings
from ragstone.settings import Settings
from tests.clock import VirtualClock
from tests.virtual_loop import run, running_clock

ALICE = Principal(tenant="acme")
FAR = 1e9
SETTINGS = GateSettings(queue=4, target_seconds=0.02, interval_seconds=0.5, tenant_share=0.25)


class Slots:
    """A limiter that keeps what it is told."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.samples: list[tuple[float, int]] = []

    def sample(self, latency: float, in_flight: int) -> None:
        self.samples.append((latency, in_flight))


def _admission(
    slots: int, *, in_flight: int = 100, limiter: SlotLimiter | None = None
) -> GatedAdmission:
    clock = running_clock()
    gate = Gate("server", limit=lambda: slots, settings=SETTINGS, clock=clock)
    return GatedAdmission(gate, in_flight=in_flight, clock=clock, limiter=limiter)


def _admit(admission: GatedAdmission | OpenAdmission, **changed: Any) -> Any:
    asked: dict[str, Any] = {"priority": "critical", "weight": 1, "deadline": FAR} | changed
    return admission.admit(ALICE, **asked)


def test_a_slot_given_back_early_lets_another_begin_while_the_place_is_kept() -> None:
    async def scenario() -> None:
        admission = _admission(1)
        async with _admit(admission) as first:
            second = asyncio.create_task(_pass_through(admission, seconds=1.0))
            await asyncio.sleep(0.1)
            assert (admission.in_flight, admission.waiting) == (1, 1)
            first.free_slot()
            first.free_slot()
            await asyncio.sleep(0.1)
            assert (admission.in_flight, admission.slots_in_use, admission.waiting) == (2, 1, 0)
            assert await second == pytest.approx(0.1)
        _nothing_is_left(admission)

    run(scenario())


def test_who_may_need_no_slot_is_let_in_and_refused_when_it_asks_for_one() -> None:
    async def scenario() -> None:
        admission = _admission(1)
        await _pass_through(admission, seconds=0.012)
        async with _admit(admission):
            with pytest.raises(Overloaded):
                await _pass_through(admission, seconds=0.0)
            next_one = asyncio.create_task(_pass_through(admission, seconds=0.0))
            await asyncio.sleep(0.001)
            admission.check(ALICE, priority="critical", weight=1, deadline=FAR)
            async with _admit(admission, slot=False) as asks_later:
                with pytest.raises(Overloaded):
                    asks_later.check_slot()
                assert (admission.slots_in_use, admission.waiting) == (1, 1)
        await next_one
        _nothing_is_left(admission)

    run(scenario())


def test_beyond_what_may_be_in_flight_a_request_is_refused() -> None:
    async def scenario() -> None:
        admission = _admission(100, in_flight=2)
        async with _admit(admission) as first, _admit(admission) as second:
            first.free_slot()
            second.free_slot()
            with pytest.raises(Overloaded) as refused:
                async with _admit(admission):
                    raise AssertionError
            assert refused.value.retry_after is not None
            assert refused.value.retry_after >= 1
            with pytest.raises(Overloaded):
                admission.check(ALICE, priority="critical", weight=1, deadline=FAR)
        _nothing_is_left(admission)

    run(scenario())


def test_places_are_kept_for_what_is_more_urgent() -> None:
    async def scenario() -> None:
        admission = _admission(1000, in_flight=10)
        entered = []
        urgencies: tuple[Priority, ...] = ("sheddable", "critical")
        for priority in urgencies:
            for _ in range(10):
                visit = _admit(admission, priority=priority)
                try:
                    await visit.__aenter__()
                except Overloaded:
                    continue
                entered.append((priority, visit))
        assert [priority for priority, _ in entered] == ["sheddable"] * 8 + ["critical"] * 2
        for _, visit in entered:
            await visit.__aexit__(None, None, None)
        _nothing_is_left(admission)

    run(scenario())


def test_the_time_a_slot_is_held_is_what_the_limiter_learns_from() -> None:
    async def scenario() -> list[tuple[float, int]]:
        limiter = Slots(2)
        admission = _admission(2, limiter=limiter)
        async with _admit(admission) as early:
            await asyncio.sleep(0.2)
            early.free_slot()
            await asyncio.sleep(5)
        async with _admit(admission):
            await asyncio.sleep(0.3)
        return limiter.samples

    assert run(scenario()) == [(pytest.approx(0.2), 1), (pytest.approx(0.3), 1)]


def test_the_limiter_learns_nothing_from_what_was_broken_off_or_refused() -> None:
    async def scenario() -> list[tuple[float, int]]:
        limiter = Slots(1)
        admission = _admission(1, limiter=limiter)
        leaving = asyncio.create_task(_pass_through(admission, seconds=5))
        await asyncio.sleep(0.1)
        with pytest.raises(DeadlineExceeded):
            async with _admit(admission, deadline=running_clock().monotonic() + 0.1):
                raise AssertionError
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        with pytest.raises(KeyError):
            async with _admit(admission):
                raise KeyError
        _nothing_is_left(admission)
        return limiter.samples

    assert run(scenario()) == []


def test_after_closing_nobody_is_let_in_and_what_runs_goes_on() -> None:
    async def scenario() -> None:
        admission = _admission(1)
        async with _admit(admission):
            waiting = asyncio.create_task(_pass_through(admission))
            await asyncio.sleep(0.1)
            admission.close()
            with pytest.raises(ShuttingDown):
                await waiting
            with pytest.raises(ShuttingDown):
                admission.check(ALICE, priority="critical", weight=1, deadline=FAR)
            assert admission.in_flight == 1
        _nothing_is_left(admission)

    run(scenario())


@pytest.mark.parametrize(
    ("body_bytes", "weight"),
    [(None, 1), (0, 1), (16_383, 1), (16_384, 2), (100_000, 7), (10_000_000, 8)],
)
def test_a_long_body_weighs_more_up_to_a_bound(body_bytes: int | None, weight: int) -> None:
    assert weight_of(body_bytes) == weight


@pytest.mark.parametrize(("texts", "weight"), [(1, 1), (16, 1), (17, 2), (64, 4), (2048, 8)])
def test_many_texts_weigh_more_up_to_a_bound(texts: int, weight: int) -> None:
    assert weight_of_texts(texts) == weight


def test_without_admission_everybody_begins_until_it_closes() -> None:
    async def scenario() -> None:
        admission = open_admission(
            Settings.model_validate({"admission": {"enabled": False, "concurrency": 1}}),
            VirtualClock(),
        )
        assert isinstance(admission, OpenAdmission)
        async with _admit(admission, weight=3) as first, _admit(admission):
            assert (admission.in_flight, admission.slots_in_use) == (2, 4)
            first.free_slot()
            assert (admission.in_flight, admission.slots_in_use) == (2, 1)
            admission.close()
            with pytest.raises(ShuttingDown):
                _admit(admission)
        assert (admission.in_flight, admission.slots_in_use) == (0, 0)

    run(scenario())


def test_settings_say_how_many_slots_and_places_there_are() -> None:
    async def scenario() -> None:
        chosen = {"concurrency": 2, "queue": 1, "in_flight": 3}
        admission = open_admission(Settings.model_validate({"admission": chosen}), running_clock())
        tasks = [
            asyncio.create_task(_pass_through(admission, priority="critical", seconds=0.1))
            for _ in range(4)
        ]
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(outcome, Overloaded) for outcome in outcomes].count(True) == 1
        assert (admission.in_flight, admission.slots_in_use, admission.waiting) == (0, 0, 0)

    run(scenario())


async def _pass_through(
    admission: GatedAdmission | OpenAdmission, *, seconds: float = 0.0, **asked: Any
) -> float:
    async with _admit(admission, **asked) as permit:
        await asyncio.sleep(seconds)
        waited: float = permit.waited
        return waited


def _nothing_is_left(admission: GatedAdmission) -> None:
    assert (admission.in_flight, admission.slots_in_use, admission.waiting) == (0, 0, 0)
