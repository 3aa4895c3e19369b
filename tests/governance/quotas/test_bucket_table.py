"""One bucket: what fits, what drains, and what can be given back of it."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.governance.quotas.bucket_table import MINUTE, SLOT, Bucket, BucketTable

SECOND = 1_000_000_000
ONE_A_SECOND = Bucket("requests of key key_1", 12345, 60)


def a_table(slots: int = 64) -> BucketTable:
    return BucketTable(memoryview(bytearray(slots * SLOT * 8)).cast("q"))


def at(seconds: float) -> int:
    return 1_000 * SECOND + round(seconds * SECOND)


def left(table: BucketTable, seconds: float) -> float:
    """Units that fit, of `ONE_A_SECOND`."""
    return (MINUTE - table.used(ONE_A_SECOND, at(seconds))) / SECOND


def test_a_minutes_worth_fits_at_once_and_then_one_for_each_that_drained() -> None:
    table = a_table()
    for _ in range(60):
        assert table.wait(ONE_A_SECOND, 1, at(0)) == 0
        table.charge(ONE_A_SECOND, 1, at(0))
    assert table.wait(ONE_A_SECOND, 1, at(0)) == SECOND
    assert table.wait(ONE_A_SECOND, 5, at(0)) == 5 * SECOND
    assert table.wait(ONE_A_SECOND, 1, at(1)) == 0
    table.charge(ONE_A_SECOND, 1, at(1))
    assert table.wait(ONE_A_SECOND, 1, at(1.5)) == SECOND // 2


def test_what_was_not_used_can_be_taken_again() -> None:
    table = a_table()
    mark = table.charge(ONE_A_SECOND, 50, at(0))
    table.give_back(ONE_A_SECOND, 10, mark, at(2))
    assert left(table, 2) == 52


def test_what_has_drained_is_not_given_back() -> None:
    table = a_table()
    mark = table.charge(ONE_A_SECOND, 30, at(0))
    table.charge(ONE_A_SECOND, 40, at(10))
    table.give_back(ONE_A_SECOND, 1, mark, at(20))
    assert left(table, 20) == 20  # ten seconds of the thirty were left, and no more


def test_what_drained_since_others_gave_back_is_not_given_back() -> None:
    table = a_table()
    first, second = (table.charge(ONE_A_SECOND, 30, at(0)) for _ in range(2))
    table.give_back(ONE_A_SECOND, 1, first, at(1))
    table.charge(ONE_A_SECOND, 59, at(30.5))
    table.give_back(ONE_A_SECOND, 1, second, at(30.6))
    assert left(table, 30.6) <= 1


def test_nothing_is_given_back_to_a_bucket_that_was_empty_since() -> None:
    table = a_table()
    first, second = (table.charge(ONE_A_SECOND, 30, at(0)) for _ in range(2))
    table.give_back(ONE_A_SECOND, 1, first, at(1))
    table.charge(ONE_A_SECOND, 60, at(31))
    table.give_back(ONE_A_SECOND, 1, second, at(31.1))
    assert left(table, 31.1) < 1


def test_who_uses_more_than_the_estimate_waits_for_longer() -> None:
    table = a_table()
    table.charge(ONE_A_SECOND, 60, at(0))
    table.charge(ONE_A_SECOND, 30, at(1))
    assert table.wait(ONE_A_SECOND, 1, at(1)) == 30 * SECOND
    assert table.wait(ONE_A_SECOND, 1, at(31)) == 0


def test_more_than_the_limit_is_let_in_when_all_of_it_is_left_and_paid_back() -> None:
    table = a_table()
    assert table.wait(ONE_A_SECOND, 600, at(0)) == 0
    table.charge(ONE_A_SECOND, 600, at(0))
    assert table.wait(ONE_A_SECOND, 1, at(0)) == 541 * SECOND


def test_what_was_used_stays_charged_however_large_the_estimate_was() -> None:
    table = a_table()
    mark = table.charge(ONE_A_SECOND, 1_000_000, at(0))
    table.give_back(ONE_A_SECOND, 60, mark, at(0))
    assert left(table, 0) == 0
    assert table.wait(ONE_A_SECOND, 1, at(0)) == SECOND


def test_slots_of_drained_buckets_are_used_again() -> None:
    table = a_table(slots=4)
    for number in range(1, 1000):
        bucket = Bucket(f"key_{number}", number, 60)
        table.charge(bucket, 60, at(60.0 * number))
        assert table.used(bucket, at(60.0 * number)) == MINUTE


def test_buckets_without_room_share_a_slot_and_none_is_open() -> None:
    table = a_table(slots=4)
    for number in range(1, 10):
        table.charge(Bucket(f"key_{number}", number, 60), 60, at(0))
    for number in range(1, 10):
        assert table.wait(Bucket(f"key_{number}", number, 60), 1, at(1)) > 0


class _Killed(Exception):
    pass


class _DyingCells(list[int]):
    """Writes only so many numbers more."""

    writes = 1_000

    def __setitem__(self, at: Any, value: Any) -> None:
        if not self.writes:
            raise _Killed
        self.writes -= 1
        super().__setitem__(at, value)


@pytest.mark.parametrize("writes", range(5))
@pytest.mark.parametrize("before", [0, 30])
def test_a_process_killed_between_two_writes_leaves_a_charge_done_or_not_done(
    writes: int, before: int
) -> None:
    cells = _DyingCells([0] * SLOT * 64)
    table = BucketTable(cells)  # type: ignore[arg-type]
    if before:
        table.charge(ONE_A_SECOND, before, at(0))
    cells.writes = writes
    with suppress(_Killed):
        table.charge(ONE_A_SECOND, 20, at(0))
    cells.writes = 1_000
    assert left(table, 0) in (60 - before, 60 - before - 20)
    table.charge(ONE_A_SECOND, 5, at(0))
    assert left(table, 0) in (55 - before, 55 - before - 20)


@pytest.mark.parametrize("writes", range(3))
def test_a_process_killed_while_it_gives_back_has_done_so_or_not(writes: int) -> None:
    cells = _DyingCells([0] * SLOT * 64)
    table = BucketTable(cells)  # type: ignore[arg-type]
    mark = table.charge(ONE_A_SECOND, 50, at(0))
    cells.writes = writes
    with suppress(_Killed):
        table.give_back(ONE_A_SECOND, 30, mark, at(0))
    assert left(table, 0) in (10, 30)


@pytest.mark.parametrize("tat", [2**63 - 1, 2**62])
def test_a_damaged_slot_is_full_for_a_minute_and_never_open(tat: int) -> None:
    memory = bytearray(SLOT * 8)
    cells = memoryview(memory).cast("q")
    cells[0], cells[1] = ONE_A_SECOND.hash, tat
    table = BucketTable(cells)
    assert table.wait(ONE_A_SECOND, 1, at(0)) == SECOND
    assert table.wait(ONE_A_SECOND, 1, at(1)) == 0
    assert table.wait(ONE_A_SECOND, 60, at(1)) == 59 * SECOND


@given(
    limits=st.lists(st.integers(1, 10**9), min_size=1, max_size=3),
    pauses=st.lists(st.integers(0, 2 * MINUTE), min_size=1, max_size=30),
    more=st.integers(0, 50),
    apart=st.sampled_from([1, 64]),
)
def test_one_unit_is_taken_as_by_take(
    limits: list[int], pauses: list[int], more: int, apart: int
) -> None:
    """Also where a bucket is new, full, beyond its limit or displaced."""
    buckets = [Bucket(f"{limit}", 3 + apart * place, limit) for place, limit in enumerate(limits)]
    tables = [a_table(), a_table()]
    now = 1
    for pause in pauses:
        now += pause
        taken = tables[0].take_one(buckets, now), tables[1].take(buckets, 1, now)[0]
        assert taken[0] == taken[1]
        for bucket in buckets:
            assert tables[0].used(bucket, now) == tables[1].used(bucket, now)
            assert tables[0].charge(bucket, more, now) == tables[1].charge(bucket, more, now)
