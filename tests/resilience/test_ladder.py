"""The ladder is declared once, climbs under load, gives back by trying, and does not swing."""

import math
import random
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.domain.errors import (
    DeadlineExceeded,
    DependencyBusy,
    Overloaded,
    RagstoneError,
    ShuttingDown,
    TooManyRequests,
)
from ragstone.domain.principal import PRIORITIES
from ragstone.resilience.joining import PAUSES
from ragstone.resilience.ladder import (
    LAST_FOR_MODEL,
    LOAD_RUNGS,
    RUNGS,
    LadderPolicy,
    LoadLadder,
    LoadRung,
    RungName,
    costs_quality,
)
from ragstone.resilience.pressure import tells_of_load
from ragstone.settings import LadderSettings
from tests.clock import VirtualClock

POLICY = LadderPolicy()


def _ladder(policy: LadderPolicy = POLICY) -> tuple[LoadLadder, VirtualClock]:
    clock = VirtualClock()
    return LoadLadder(policy, clock), clock


def _pass(
    ladder: LoadLadder,
    clock: VirtualClock,
    seconds: float,
    *,
    wait: float = 0.0,
    first_token: float = 0.3,
    lag: float = 0.0,
) -> None:
    """Ten requests of each class and ten looks at the event loop a second."""
    for _ in range(round(seconds * 10)):
        clock.advance(0.1)
        for priority in PRIORITIES:
            ladder.observe_wait(wait, priority)
            ladder.observe_first_token(first_token, priority)
        ladder.observe_lag(lag)


# The declaration.


def test_every_rung_is_declared_once() -> None:
    assert [rung.name for rung in RUNGS] == list(get_args(RungName))
    assert list(LOAD_RUNGS) == list(get_args(LoadRung))
    assert {rung.name for rung in RUNGS if "load" in rung.moved_by} == {
        "chunks_joined",
        *LOAD_RUNGS,
    }
    assert get_args(LadderSettings.model_fields["last_rung"].annotation) == LOAD_RUNGS


def test_the_page_says_what_the_code_declares() -> None:
    page = (Path(__file__).parents[2] / "docs" / "ladder.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows == [
        f"| `{rung.name}` | {rung.dropped} | {rung.saves} | {rung.costs} | {rung.moved_by} "
        f"| {rung.says} |"
        for rung in RUNGS
    ]


def test_only_joined_chunks_cost_no_quality() -> None:
    assert [rung.name for rung in RUNGS if not costs_quality(rung.name)] == ["chunks_joined"]


def test_its_policy_has_the_defaults_of_the_settings() -> None:
    settings = LadderSettings()
    shared = [field.name for field in fields(POLICY) if field.name in LadderSettings.model_fields]
    assert len(shared) == len(LadderSettings.model_fields)
    assert all(getattr(POLICY, name) == getattr(settings, name) for name in shared)


# The controller.


@pytest.mark.parametrize("pressure", [{"wait": 0.1}, {"lag": 0.2}, {"wait": math.inf}])
def test_pressure_here_takes_one_rung_a_second_down_to_the_last(pressure) -> None:
    ladder, clock = _ladder()
    taken = []
    for _ in range(8):
        _pass(ladder, clock, 1.0, **pressure)
        taken.append(ladder.level)
    assert taken == [1, 2, 3, 4, 5, 5, 5, 5]
    assert ladder.rung == "passages_only"


def test_pressure_at_the_model_never_takes_the_model_away() -> None:
    ladder, clock = _ladder()
    _pass(ladder, clock, 60.0, first_token=math.inf)
    assert ladder.rung == "shorter_answer"
    assert ladder.moves == LAST_FOR_MODEL
    for priority in PRIORITIES:
        assert not ladder.takes("passages_only", priority)


def test_without_the_model_its_slowness_does_not_hold_the_rung() -> None:
    ladder, clock = _ladder()
    _pass(ladder, clock, 5.0, wait=1.0)
    assert ladder.level == 5
    _pass(ladder, clock, 11.0, first_token=60.0)
    assert ladder.level == LAST_FOR_MODEL


def test_calm_gives_back_one_rung_at_a_time() -> None:
    ladder, clock = _ladder()
    _pass(ladder, clock, 3.0, wait=1.0)
    levels = []
    for _ in range(20):
        _pass(ladder, clock, 1.0)
        levels.append(ladder.level)
    assert levels[-1] == 0
    assert levels.index(2) in (4, 5)
    assert all(0 <= before - after <= 1 for before, after in pairwise(levels))


def test_a_silent_server_recovers_too() -> None:
    ladder, clock = _ladder()
    _pass(ladder, clock, 3.0, wait=1.0)
    for _ in range(60):
        clock.advance(0.5)
        assert 0 <= ladder.level <= 3
    assert ladder.level == 0


def test_a_burst_or_a_single_slow_request_takes_nothing() -> None:
    ladder, clock = _ladder()
    for _ in range(20):
        _pass(ladder, clock, 0.3, wait=1.0)
        _pass(ladder, clock, 0.7)
    assert ladder.level == 0
    for _ in range(20):  # one request a second is no load, however long it waits
        clock.advance(1.0)
        ladder.observe_first_token(10.0, "standard")
        ladder.observe_wait(10.0, "standard")
    assert ladder.level == 0


def test_half_pressure_neither_takes_nor_gives_back() -> None:
    ladder, clock = _ladder()
    _pass(ladder, clock, 2.0, wait=1.0)
    moves = ladder.moves
    for _ in range(60):
        _pass(ladder, clock, 0.3, wait=1.0)
        _pass(ladder, clock, 0.7)
    assert ladder.moves == moves


@pytest.mark.parametrize(("asked", "level"), [(3, 3), (0, 2)])
def test_a_blocked_event_loop_is_pressure_where_it_is_asked_and_never_calm(
    asked: int, level: int
) -> None:
    ladder, clock = _ladder()
    _pass(ladder, clock, 2.0, wait=1.0)
    for _ in range(asked):
        ladder.observe_wait(0.0, "standard")
    clock.advance(20.0)
    ladder.observe_lag(20.0)
    assert ladder.level == level


def test_a_lone_question_loses_nothing_to_the_load_of_others_on_the_machine() -> None:
    ladder, clock = _ladder()
    for tick in range(200):
        clock.advance(0.1)
        ladder.observe_lag(0.4)
        if tick % 10 == 0:
            ladder.observe_wait(0.001, "standard")
    assert ladder.level == 0


def test_sheddable_requests_do_without_first_and_critical_ones_last() -> None:
    ladder, clock = _ladder()
    seen = {}
    for level in range(6):
        assert ladder.level == level
        seen[level] = [
            sum(ladder.takes(rung, priority) for rung in LOAD_RUNGS)
            for priority in ("critical", "standard", "sheddable")
        ]
        _pass(ladder, clock, 1.0, wait=1.0)
    assert seen == {
        0: [0, 0, 0],
        1: [0, 1, 2],
        2: [1, 2, 3],
        3: [2, 3, 4],
        4: [3, 4, 5],
        5: [4, 5, 5],
    }


def _levels(ladder: LoadLadder) -> list[int]:
    return [sum(ladder.takes(rung, each) for rung in LOAD_RUNGS) for each in PRIORITIES]


@pytest.mark.parametrize("observed", ["wait", "first_token"])
@pytest.mark.parametrize(
    ("flooding", "least"),
    [("sheddable", [0, 0, 4]), ("standard", [0, 3, 4]), ("critical", [2, 3, 4])],
)
def test_a_flood_of_a_class_takes_nothing_from_those_above_it(observed, flooding, least) -> None:
    ladder, clock = _ladder()
    for _ in range(100):
        clock.advance(0.1)
        for priority in PRIORITIES:
            for _ in range(20 if priority == flooding else 1):
                value = math.inf if priority == flooding else 0.0
                getattr(ladder, f"observe_{observed}")(value, priority)
    deepest = [min(each + 2, 5) if each else 0 for each in least]
    deepest[0] = 4 if least[0] else 0
    assert _levels(ladder) == (least if observed == "first_token" else deepest)
    assert ladder.level == (least[1] if observed == "first_token" else deepest[1])


@pytest.mark.parametrize(
    ("error", "tells"),
    [
        (Overloaded("Full."), True),
        (ShuttingDown("Stopping."), False),
        (TooManyRequests("Its share."), False),
        (DeadlineExceeded("In haste."), False),
        (DependencyBusy("Throttled, or paused."), False),
    ],
)
def test_only_a_lack_of_room_tells_of_load(error: RagstoneError, tells: bool) -> None:
    assert tells_of_load(error) is tells
    busy = DependencyBusy("Busy.")
    busy.__cause__ = error
    assert tells_of_load(busy) is tells


def test_it_goes_no_further_than_it_may() -> None:
    ladder, clock = _ladder(replace(POLICY, last_rung="fewer_passages"))
    _pass(ladder, clock, 30.0, wait=1.0)
    assert ladder.rung == "fewer_passages"
    assert not ladder.takes("shorter_answer", "sheddable")
    ladder, clock = _ladder(replace(POLICY, enabled=False))
    _pass(ladder, clock, 30.0, wait=1.0, lag=1.0)
    assert (ladder.level, ladder.rung, ladder.joining_pause()) == (0, None, 0.0)


# Closed loops: what the ladder does changes what it sees.

COST = (1.0, 0.9, 0.75, 0.6, 0.3, 0.1)
"""Of a question, by level, in a server that holds 100 of them a second at level 0."""


def _serve(offered, minutes: float, seed: int = 1) -> tuple[LoadLadder, list[int]]:
    """A queue with noise before a server whose work the ladder sets; levels by second."""
    ladder, clock = _ladder()
    noise = random.Random(seed)
    queue, levels = 0.0, []
    for tick in range(round(minutes * 600)):
        clock.advance(0.1)
        arriving = max(0.0, noise.gauss(offered(tick / 10) / 10, 1.0))
        work = queue + arriving * COST[ladder.level] / 100
        queue = min(2.0, max(0.0, work - 0.1))
        for _ in range(round(arriving)):
            ladder.observe_wait(queue, "standard")
        ladder.observe_lag(0.0)
        if tick % 10 == 0:
            levels.append(ladder.level)
    return ladder, levels


@pytest.mark.parametrize("offered", [50, 105, 125, 160, 250, 600])
def test_at_a_steady_load_it_settles(offered: int) -> None:
    ladder, levels = _serve(lambda _: offered, minutes=30)
    least = next(level for level, cost in enumerate(COST) if offered * cost <= 100)
    settled = levels[300:]
    assert sum(level >= least for level in settled) > 0.95 * len(settled)
    # One try takes two moves or, with an overshoot, four; after some, 40 s lie between two.
    assert ladder.moves <= 4 * (30 * 60 / 40 + 4)


def test_after_a_spike_everything_is_given_back() -> None:
    ladder, levels = _serve(lambda second: 600 if 60 <= second < 180 else 40, minutes=6)
    assert max(levels) == 5
    assert levels[-1] == 0
    assert ladder.level == 0
    assert ladder.moves <= 24


def test_a_load_that_comes_and_goes_does_not_make_it_flap() -> None:
    ladder, _ = _serve(lambda second: 200 if second % 20 < 10 else 60, minutes=30)
    assert ladder.moves < 30 * 60 / 5


def test_joined_chunks_hold_what_would_not_be_held_and_are_undone() -> None:
    ladder, clock = _ladder()
    streams, joined, changes, pause = 1_000, [], 0, 0.0
    for tick in range(3_000):
        clock.advance(0.1)
        if tick == 2_000:
            streams = 100
        reads = streams * min(30.0, 1 / pause if pause else 30.0)
        for _ in range(round(reads / 10)):
            pause = ladder.joining_pause()
        load = reads * 60e-6  # CPU of relaying one read
        ladder.observe_lag(0.2 if load > 1 else 0.002)
        changes += bool(joined) and joined[-1] != pause
        joined.append(pause)
    late = sum(
        1_000 * min(30.0, 1 / pause if pause else 30.0) * 60e-6 > 1 for pause in joined[:2_000]
    )
    assert late < 0.1 * 2_000
    assert joined[-1] == 0.0
    assert not ladder.joins_chunks
    assert changes <= 60


def test_chunks_are_joined_before_lag_takes_anything_else() -> None:
    ladder, clock = _ladder()
    for _ in range(200):
        clock.advance(0.1)
        for _ in range(100):
            longest = ladder.joining_pause()
        ladder.observe_wait(0.0, "standard")
        ladder.observe_lag(0.2)
        assert ladder.level == 0 or longest == max(PAUSES)
    assert ladder.level > 0  # it did not help: the lag has another cause, or is too much


def test_lag_that_relaying_does_not_cause_joins_nothing() -> None:
    ladder, clock = _ladder()
    for _ in range(100):
        clock.advance(0.1)
        for _ in range(20):
            ladder.joining_pause()
        ladder.observe_lag(0.04)
    assert not ladder.joins_chunks


_OBSERVATIONS = st.lists(
    st.tuples(
        st.floats(0.0, 3.0),
        st.sampled_from(["wait", "first_token", "lag", "look"]),
        st.sampled_from([0.0, 0.1, 5.0, math.inf]),
        st.sampled_from(PRIORITIES),
    ),
    max_size=200,
)


@given(_OBSERVATIONS, st.sampled_from(LOAD_RUNGS), st.booleans())
def test_whatever_it_sees_it_stays_within_bounds_and_moves_one_rung_a_window(
    observations, last_rung, enabled
) -> None:
    policy = replace(POLICY, last_rung=last_rung, enabled=enabled)
    ladder, clock = _ladder(policy)
    level, moved_at = 0, -math.inf
    for seconds, kind, value, priority in observations:
        clock.advance(seconds)
        if kind == "lag":
            ladder.observe_lag(value)
        elif kind != "look":
            getattr(ladder, f"observe_{kind}")(value, priority)
        if ladder.level != level:
            assert abs(ladder.level - level) == 1
            assert clock.monotonic() - moved_at >= policy.climb_seconds
            level, moved_at = ladder.level, clock.monotonic()
        assert 0 <= level <= (LOAD_RUNGS.index(last_rung) + 1 if enabled else 0)
        assert ladder.joining_pause() in PAUSES
        taken = _levels(ladder)
        assert taken == sorted(taken)
