"""One limit over several processes: some of the tests simulate them, the others start them."""

import asyncio
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from ragstone.domain.clock import SystemClock
from ragstone.domain.principal import PRIORITIES
from ragstone.resilience.board import Board
from ragstone.resilience.gate import Gate, GateSettings
from tests.clock import StillClock, VirtualClock
from tests.resilience.test_gate import FAR, Visitor, visitors
from tests.virtual_loop import run, running_clock

_HOLD_SECONDS = 0.003
SETTINGS = GateSettings(queue=200, target_seconds=60, interval_seconds=60, tenant_share=0.25)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "board"
    Board.create(path, processes=2)
    return path


def _gate(
    board: Board,
    limit: int,
    clock: VirtualClock | SystemClock,
    settings: GateSettings = SETTINGS,
) -> Gate:
    return Gate("gate", limit=lambda: limit, settings=settings, clock=clock, board=board)


class Pair:
    """Two processes on one virtual loop, each with a gate of its own."""

    def __init__(self, file: Path, limit: int) -> None:
        clock = running_clock()
        self.boards = [Board(file, row=row, clock=clock) for row in (0, 1)]
        self.left, self.right = (_gate(board, limit, clock) for board in self.boards)


def test_what_one_process_uses_the_others_cannot(file: Path) -> None:
    async def scenario() -> None:
        pair = Pair(file, 3)
        left = await visitors(2, pair.left)
        right = await visitors(2, pair.right)
        assert [visitor.inside for visitor in left + right] == [True, True, True, False]
        assert (pair.left.in_use, pair.right.in_use, pair.boards[0].total()) == (2, 1, 3)

    run(scenario())


def test_a_unit_that_another_process_frees_is_noticed_soon(file: Path) -> None:
    async def scenario() -> None:
        pair = Pair(file, 1)
        [holder] = await visitors(1, pair.left)
        [waiting] = await visitors(1, pair.right)
        await asyncio.sleep(1)
        assert not waiting.inside
        holder.leave()
        freed = running_clock().monotonic()
        await asyncio.sleep(1)
        assert waiting.settled_at - freed < 0.005

    run(scenario())


def test_above_its_part_a_process_leaves_the_next_unit_to_one_that_has_less(file: Path) -> None:
    async def scenario() -> None:
        pair = Pair(file, 4)
        left = await visitors(12, pair.left)
        right = await visitors(4, pair.right)
        for visitor in left[:2]:
            visitor.leave()
            await asyncio.sleep(0.01)
        assert sum(visitor.inside for visitor in right) == 2
        assert (pair.left.in_use, pair.right.in_use) == (2, 2)

    run(scenario())


def test_who_ranks_higher_elsewhere_goes_first(file: Path) -> None:
    async def scenario() -> None:
        pair = Pair(file, 2)
        [one] = await visitors(1, pair.left)
        await visitors(1, pair.right)
        [standard] = await visitors(1, pair.left)
        [critical] = await visitors(1, pair.right, priority="critical")
        one.leave()
        await asyncio.sleep(0.01)
        assert critical.inside
        assert not standard.inside
        [late] = await visitors(1, pair.left)
        assert not late.inside

    run(scenario())


def test_a_tenant_above_its_share_of_all_gives_way_to_one_that_waits_elsewhere(
    file: Path,
) -> None:
    async def scenario() -> None:
        pair = Pair(file, 8)
        left = await visitors(8, pair.left, tenant="flood")
        [more] = await visitors(1, pair.left, tenant="flood")
        [other] = await visitors(1, pair.right, tenant="other")
        left[0].leave()
        await asyncio.sleep(0.01)
        assert other.inside
        assert not more.inside

    run(scenario())


def test_under_overload_who_asks_no_more_than_an_equal_part_of_all_may_wait(tmp_path: Path) -> None:
    """Of all units, however few of them are to be had in each process."""

    async def scenario() -> None:
        file, clock = tmp_path / "board", running_clock()
        Board.create(file, processes=4)
        settings = GateSettings(
            queue=200, target_seconds=0.02, interval_seconds=0.5, tenant_share=0.25
        )
        boards = [Board(file, row=row, clock=clock) for row in range(4)]
        here, there = (_gate(board, 8, clock, settings) for board in boards[:2])
        [first] = await visitors(1, here)
        await asyncio.sleep(0.2)
        first.leave()  # so long are units held
        quiet = await visitors(2, there, tenant="quiet")
        flood = await visitors(6, there, tenant="flood")
        assert all(visitor.inside for visitor in quiet + flood)
        await visitors(1, here, tenant="flood")
        await asyncio.sleep(0.6)
        boards[1].beat()
        waiting, refused = await visitors(2, here, tenant="flood")
        [third] = await visitors(1, here, tenant="quiet")
        assert refused.error is not None
        assert (waiting.error, third.error) == (None, None)

    run(scenario())


def test_a_process_with_little_to_do_is_not_starved_by_a_busy_one(file: Path) -> None:
    async def visits(tried: Gate, tasks: int, count: int) -> list[float]:
        """When each came in."""
        entered: list[float] = []
        left = count

        async def keep_visiting() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                ticket = await tried.acquire(tenant=f"t{tasks}", priority="standard", deadline=FAR)
                entered.append(asyncio.get_running_loop().time())
                await asyncio.sleep(_HOLD_SECONDS)
                ticket.release()

        async with asyncio.TaskGroup() as group:
            for _ in range(tasks):
                group.create_task(keep_visiting())
        return entered

    async def scenario() -> None:
        pair = Pair(file, 4)
        busy, quiet = await asyncio.gather(visits(pair.left, 60, 600), visits(pair.right, 3, 60))
        meanwhile = sum(quiet[0] <= entered <= quiet[-1] for entered in busy)
        assert meanwhile < 4 * len(quiet)  # in turn: as many; starved: all 600

    run(scenario())


def test_a_process_that_says_nothing_any_more_is_not_waited_for(file: Path) -> None:
    async def scenario() -> None:
        clock = running_clock()
        silent = Board(file, row=0, clock=clock)
        tried = _gate(Board(file, row=1, clock=clock), 1, clock)
        silent.want(0)
        [waiting] = await visitors(1, tried)
        assert not waiting.inside
        await asyncio.sleep(0.2)
        assert waiting.inside

    run(scenario())


def test_the_limit_over_all_is_the_sum_of_what_each_finds_right(file: Path) -> None:
    clock = VirtualClock()
    left, right = (Board(file, row=row, clock=clock) for row in (0, 1))
    assert left.agree(3) == 3
    assert right.agree(4) == 7
    assert left.agree(1) == 5
    right.close()
    assert left.agree(1) == 1


def test_closing_a_board_gives_back_what_it_held(file: Path) -> None:
    clock = VirtualClock()
    left, right = (Board(file, row=row, clock=clock) for row in (0, 1))
    assert left.take("acme", 2, 2)
    assert not right.take("acme", 1, 2)
    left.close()
    assert right.take("acme", 1, 2)
    assert right.of("acme") == 1


def test_what_a_process_held_that_shows_no_life_is_free_until_it_goes_on(file: Path) -> None:
    clock = VirtualClock()
    stopped, living = (Board(file, row=row, clock=clock) for row in (0, 1))
    assert stopped.take("acme", 3, 4)
    stopped.agree(5)
    for _ in range(8):
        clock.advance(0.25)
        living.beat()
        assert (living.total(), living.of("acme"), living.agree(5)) == (3, 3, 10)
    clock.advance(0.01)
    assert (living.total(), living.of("acme"), living.agree(5)) == (0, 0, 5)
    assert living.take("acme", 4, 4)
    assert stopped.total() == 7
    stopped.beat()
    assert (living.total(), living.agree(5)) == (7, 10)
    stopped.give("acme", 3)
    assert living.total() == 4


def test_a_process_that_beats_keeps_what_it_holds(file: Path) -> None:
    async def scenario() -> None:
        clock = running_clock()
        quiet, other = (Board(file, row=row, clock=clock) for row in (0, 1))
        assert quiet.take("acme", 1, 1)
        beating = asyncio.create_task(quiet.keep_beating())
        await asyncio.sleep(60)
        assert not other.take("acme", 1, 1)
        beating.cancel()
        await asyncio.sleep(3)
        assert other.take("acme", 1, 1)

    run(scenario())


def test_a_row_beyond_the_board_is_refused(file: Path) -> None:
    with pytest.raises(ValueError, match="row 2 of a board of 2"):
        Board(file, row=2, clock=VirtualClock())


@pytest.mark.parametrize("seed", range(5))
def test_over_any_two_processes_the_limit_holds_and_everybody_gets_in(
    file: Path, seed: int
) -> None:
    async def scenario() -> None:
        draw = random.Random(seed)
        pair = Pair(file, 5)
        inside = most = 0

        async def visit() -> None:
            nonlocal inside, most
            await asyncio.sleep(draw.random() * 2)
            ticket = await draw.choice((pair.left, pair.right)).acquire(
                tenant=draw.choice("abc"), priority=draw.choice(PRIORITIES), deadline=FAR
            )
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(draw.random() * 0.05)
            inside -= 1
            ticket.release()

        async with asyncio.TaskGroup() as group:
            for _ in range(300):
                group.create_task(visit())
        assert most == 5
        assert [board.total() for board in pair.boards] == [0, 0]
        assert pair.left.waiting == pair.right.waiting == 0

    run(scenario())


# Real processes

_SPAWN = multiprocessing.get_context("spawn")
_STILL = StillClock()
"""Else one that a busy machine does not let run for two seconds would, rightly, not be counted by
the others."""


class Process:
    """A process with a gate over row `row`, driven and heard over a pipe."""

    def __init__(self, work: Callable[..., None], file: Path, row: int, *more: Any) -> None:
        self.pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=work, args=(theirs, file, row, *more), daemon=True)
        self._process.start()
        theirs.close()

    def hear(self) -> Any:
        assert self.pipe.poll(300), "the process says nothing"
        return self.pipe.recv()

    def kill(self) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.join()

    def end(self) -> None:
        if self._process.is_alive():
            self.kill()
        self._process.close()
        self.pipe.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def begin(*asked: Any) -> Process:
        started.append(Process(*asked))
        return started[-1]

    yield begin
    for process in started:
        process.end()


def _visit_often(pipe: Connection, file: Path, row: int, tasks: int, visits: int) -> None:
    """`visits` visits by `tasks` tasks; tells when each was inside."""
    spans: list[tuple[float, float]] = []
    left = visits

    async def main() -> None:
        board = Board(file, row=row, clock=_STILL)
        tried = _gate(board, 4, SystemClock())

        async def keep_visiting() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                ticket = await tried.acquire(tenant=f"t{row}", priority="standard", deadline=FAR)
                entered = time.monotonic()
                await asyncio.sleep(_HOLD_SECONDS)
                spans.append((entered, time.monotonic()))
                ticket.release()

        async with asyncio.TaskGroup() as group:
            for _ in range(tasks):
                group.create_task(keep_visiting())

    pipe.send("ready")
    pipe.recv()
    asyncio.run(main())
    pipe.send(spans)


def _most_at_once(spans: list[tuple[float, float]]) -> int:
    events = sorted([(at, 1) for at, _ in spans] + [(at, -1) for _, at in spans])
    most = inside = 0
    for _, change in events:
        inside += change
        most = max(most, inside)
    return most


def _run_together(processes: list[Process]) -> list[list[tuple[float, float]]]:
    for process in processes:
        assert process.hear() == "ready"
    for process in processes:
        process.pipe.send("go")
    return [process.hear() for process in processes]


def test_real_processes_keep_one_limit_and_all_get_in(
    tmp_path: Path, start: Callable[..., Process]
) -> None:
    file = tmp_path / "board"
    Board.create(file, processes=3)
    spans = _run_together([start(_visit_often, file, row, 10, 150) for row in range(3)])
    assert [len(of_one) for of_one in spans] == [150] * 3
    assert _most_at_once([span for of_one in spans for span in of_one]) == 4


def _hold(pipe: Connection, file: Path, row: int, count: int) -> None:
    """Asks for `count` units, and tells of each that it gets."""

    async def main() -> None:
        tried = _gate(Board(file, row=row, clock=_STILL), 4, SystemClock())
        asked = [Visitor(tried, tenant="t", priority="critical") for _ in range(count)]
        for visitor in asked:
            visitor.task.add_done_callback(lambda _: pipe.send("inside"))
        await asyncio.Event().wait()

    asyncio.run(main())


def test_what_a_killed_process_held_is_free_once_its_row_is_cleared(
    file: Path, start: Callable[..., Process]
) -> None:
    killed = start(_hold, file, 0, 3)
    assert [killed.hear() for _ in range(3)] == ["inside"] * 3
    other = start(_hold, file, 1, 3)
    assert other.hear() == "inside"
    killed.kill()
    assert not other.pipe.poll(0.05)
    Board.clear(file, 0)
    assert [other.hear() for _ in range(2)] == ["inside"] * 2
