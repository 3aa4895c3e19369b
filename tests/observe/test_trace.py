"""A trace has an id that others understand, and the time of each stage."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.observe.metrics import Metrics
from ragstone.observe.trace import Trace, new_trace_id

METRICS = Metrics()
CALLERS = "4bf92f3577b34da6a3ce929d0e0e4736"


@given(st.lists(st.floats(0, 100), min_size=1, max_size=5))
def test_a_stage_that_runs_twice_has_the_sum_of_its_times(seconds: list[float]) -> None:
    trace = Trace(METRICS, CALLERS)
    for each in seconds:
        trace.record("embed", each)
    trace.record("pack", 0.0000014)
    assert list(trace.timings_ms) == ["embed", "pack"]
    embed, pack = trace.timings_ms.values()
    assert embed == pytest.approx(sum(seconds) * 1000, abs=0.0006 * len(seconds))
    assert (embed, pack) == (round(embed, 3), 0.001)


def test_a_stage_is_timed_also_when_it_fails() -> None:
    trace = Trace(metrics := Metrics(), CALLERS)
    with pytest.raises(ZeroDivisionError), trace.stage("pack"):
        raise ZeroDivisionError
    assert list(trace.timings_ms) == ["pack"]
    count = "rag_stage_duration_seconds_count"
    assert metrics.registry.get_sample_value(count, {"stage": "pack"}) == 1


@pytest.mark.parametrize("sent", [None, "", "00-zz-0-01", f"00-{'0' * 32}-00f067aa0ba902b7-01"])
def test_an_id_is_made_where_the_caller_has_no_valid_one(sent: str | None) -> None:
    made = {new_trace_id(sent) for _ in range(50)}
    assert len(made) == 50
    assert all(re.fullmatch(r"[0-9a-f]{32}", each) for each in made)


def test_the_callers_id_is_kept() -> None:
    assert new_trace_id(f"00-{CALLERS}-00f067aa0ba902b7-01") == CALLERS
