"""The table that processes share: exact over them, never waited for, never open when damaged."""

import multiprocessing
import os
import random
import signal
from collections.abc import Iterator
from multiprocessing.queues import Queue
from pathlib import Path

import pytest

from ragstone.domain.errors import RateLimited
from ragstone.domain.principal import Principal
from ragstone.governance.quotas import MinuteLimits, MinuteQuotas, SharedBuckets
from ragstone.governance.quotas.bucket_table import BucketTable
from ragstone.governance.quotas.shared import TableUnavailable
from tests.clock import StillClock, VirtualClock

LIMIT = 600
LIMITS = MinuteLimits(key_requests=LIMIT)
ANN = Principal(tenant="acme", key_id="key_ann")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "quotas"
    SharedBuckets.create(path)
    return path


@pytest.fixture
def shared(path: Path, clock: VirtualClock) -> Iterator[SharedBuckets]:
    buckets = SharedBuckets(path, processes=4, clock=clock)
    yield buckets
    buckets.close()


def let_in(quotas: MinuteQuotas, tries: int) -> int:
    """How many of as many requests at once."""
    count = 0
    for _ in range(tries):
        try:
            quotas.check_request(ANN)
        except RateLimited:
            continue
        count += 1
    return count


def test_one_that_is_opened_later_counts_on(
    path: Path, shared: SharedBuckets, clock: VirtualClock
) -> None:
    assert let_in(MinuteQuotas(LIMITS, clock, shared), 400) == 400
    later = SharedBuckets(path, processes=4, clock=clock)
    assert let_in(MinuteQuotas(LIMITS, clock, later), 400) == LIMIT - 400
    later.close()


def test_while_another_keeps_the_table_each_has_its_part_of_the_limit(
    path: Path, shared: SharedBuckets, clock: VirtualClock
) -> None:
    stopped = SharedBuckets(path, processes=4, clock=clock)
    stopped.begin()
    quotas = MinuteQuotas(LIMITS, clock, shared)
    assert let_in(quotas, 1_000) == LIMIT // 4
    standing = quotas.standing(ANN)
    assert standing is not None
    assert standing.requests is not None
    assert (standing.requests.limit, standing.requests.remaining) == (LIMIT // 4, 0)
    stopped.end()
    clock.advance(1.1)
    assert let_in(quotas, 1_000) == LIMIT
    stopped.close()


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_table_is_made_anew_and_is_not_open(
    path: Path, clock: VirtualClock, seed: int
) -> None:
    with path.open("r+b") as file:
        file.write(random.Random(seed).randbytes(os.path.getsize(path)))
    buckets = SharedBuckets(path, processes=1, clock=clock)
    assert let_in(MinuteQuotas(LIMITS, clock, buckets), 1_000) == LIMIT
    buckets.close()


def test_a_head_that_is_damaged_while_processes_run_is_made_anew_for_all(
    path: Path, shared: SharedBuckets, clock: VirtualClock
) -> None:
    other = SharedBuckets(path, processes=4, clock=clock)
    both = [MinuteQuotas(LIMITS, clock, each) for each in (shared, other)]
    with path.open("r+b") as file:
        file.write(b"what is this")
    for quotas in both:  # each finds it once, and counts that one by itself
        assert let_in(quotas, 1) == 1
    assert shared.key == other.key
    assert sum(let_in(quotas, 1_000) for quotas in both) == LIMIT
    other.close()


@pytest.mark.parametrize("length", [0, 10, 5_000_000])
def test_a_file_of_another_length_is_made_anew(
    path: Path, clock: VirtualClock, length: int
) -> None:
    os.truncate(path, length)
    buckets = SharedBuckets(path, processes=1, clock=clock)
    assert let_in(MinuteQuotas(LIMITS, clock, buckets), 1_000) == LIMIT
    buckets.close()


@pytest.mark.parametrize("length", [None, 0, 5_000_000])
def test_the_whole_table_is_on_the_disk(
    path: Path, clock: VirtualClock, length: int | None
) -> None:
    """Else a disk that fills up ends whoever counts, by SIGBUS."""
    if length is not None:
        os.truncate(path, length)
    SharedBuckets(path, processes=1, clock=clock).close()
    assert path.stat().st_blocks * 512 >= path.stat().st_size > 2_000_000


def test_slots_full_of_noise_are_full_and_drain(
    path: Path, shared: SharedBuckets, clock: VirtualClock
) -> None:
    with path.open("r+b") as file:
        file.seek(64)
        file.write(random.Random(7).randbytes(os.path.getsize(path) - 64))
    quotas = MinuteQuotas(LIMITS, clock, shared)
    assert let_in(quotas, 1_000) <= LIMIT
    clock.advance(60)
    assert 0 < let_in(quotas, 1_000) <= LIMIT


def _ask_until_killed(path: Path, told: "Queue[int]") -> None:
    quotas = MinuteQuotas(
        LIMITS, StillClock(), SharedBuckets(path, processes=4, clock=StillClock())
    )
    while True:
        told.put(let_in(quotas, 1))


def _ask(path: Path, tries: int, told: "Queue[tuple[int, int]]") -> None:
    buckets = _CountingMisses(path, processes=4, clock=StillClock())
    quotas = MinuteQuotas(LIMITS, StillClock(), buckets)
    told.put((let_in(quotas, tries), buckets.misses))


def _keep(path: Path, told: "Queue[int]") -> None:
    SharedBuckets(path, processes=4, clock=StillClock()).begin()
    told.put(1)
    while True:
        signal.pause()


class _CountingMisses(SharedBuckets):
    misses = 0

    def begin(self) -> BucketTable:
        try:
            return super().begin()
        except TableUnavailable:
            self.misses += 1
            raise


def test_processes_together_let_in_exactly_the_limit(path: Path) -> None:
    processes = multiprocessing.get_context("spawn")
    told: Queue[tuple[int, int]] = processes.Queue()
    asking = [processes.Process(target=_ask, args=(path, LIMIT, told)) for _ in range(3)]
    for process in asking:
        process.start()
    counts = [told.get(timeout=300) for _ in asking]
    for process in asking:
        process.join()
    # On a machine so busy that a turn takes tens of milliseconds, one counts by itself.
    misses = sum(missed for _, missed in counts)
    assert sum(count for count, _ in counts) + misses >= LIMIT
    assert sum(count for count, _ in counts) <= LIMIT + misses


def test_one_that_is_killed_during_its_turn_leaves_it(path: Path, shared: SharedBuckets) -> None:
    processes = multiprocessing.get_context("spawn")
    told: Queue[int] = processes.Queue()
    process = processes.Process(target=_keep, args=(path, told))
    process.start()
    told.get(timeout=300)
    with pytest.raises(TableUnavailable):
        shared.begin()
    process.kill()
    process.join()
    again = SharedBuckets(path, processes=4, clock=StillClock())
    again.begin()
    again.end()
    again.close()


def test_killed_processes_leave_nothing_locked_and_nothing_open(path: Path) -> None:
    processes = multiprocessing.get_context("spawn")
    buckets = SharedBuckets(path, processes=4, clock=StillClock())
    for number in range(4):
        told: Queue[int] = processes.Queue()  # its own: a killed writer keeps a queue's lock
        process = processes.Process(target=_ask_until_killed, args=(path, told))
        process.start()
        assert process.pid is not None
        for _ in range(3 + 5 * number):
            told.get(timeout=300)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        buckets.begin()  # raises where it is locked
        buckets.end()
    assert let_in(MinuteQuotas(LIMITS, StillClock(), buckets), LIMIT) < LIMIT
    assert let_in(MinuteQuotas(LIMITS, StillClock(), buckets), LIMIT) == 0
    buckets.close()
