"""When a reader of a model's stream rests, so that more comes at once."""

import pytest

from ragstone.models.llms.pacing import WORTH_JOINING, StreamPace, unpaced


def rests(rate: float, pause: float, *, contents: int = 100, at_once: int = 1) -> list[float]:
    pace = StreamPace(lambda: pause)
    return [pace.rest(at_once, number * at_once / rate) for number in range(1, contents // at_once)]


@pytest.mark.parametrize(("rate", "pause"), [(30.0, 0.1), (10.0, 0.2), (100.0, 0.1)])
def test_a_rest_that_joins_is_taken_from_the_second_read_on(rate: float, pause: float) -> None:
    assert rests(rate, pause)[0] == 0.0
    assert set(rests(rate, pause)[1:]) == {pause}


@pytest.mark.parametrize(("rate", "pause"), [(10.0, 0.1), (5.0, 0.25), (1.0, 0.25)])
def test_a_slow_stream_is_read_as_it_comes(rate: float, pause: float) -> None:
    assert rate * pause < WORTH_JOINING
    assert set(rests(rate, pause)) == {0.0}


def test_what_was_joined_counts_for_as_much_as_it_was() -> None:
    assert set(rests(30.0, 0.1, at_once=3)[1:]) == {0.1}


def test_a_first_burst_is_not_taken_for_the_pace() -> None:
    pace = StreamPace(lambda: 0.1)
    assert [pace.rest(50, 0.0), pace.rest(1, 0.1), pace.rest(1, 0.2)] == [0.0, 0.0, 0.0]


def test_without_load_nobody_rests() -> None:
    pace = StreamPace(unpaced)
    assert [pace.rest(1, number / 100) for number in range(100)] == [0.0] * 100
