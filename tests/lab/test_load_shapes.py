"""Shapes, schedules and traces: what is sent, and when."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.domain.errors import InvalidExperiment
from ragstone.lab.load.schedule import Behaviour, Schedule, arrivals, make_schedule, zipf_shares
from ragstone.lab.load.shapes import SHAPES, BlackFriday, Shape, Spike, arrives_evenly, shape_named
from ragstone.lab.load.trace_file import read_trace

SHAPE_TEXTS = [*SHAPES, "ramp:start=2,end=0", "steps:count=3", "spike:factor=5,start=0,end=0.5"]


def mean_height(shape: Shape) -> float:
    return float(np.mean([shape.rate(part) for part in np.linspace(0, 1, 5001)[:-1]]))


def schedule_of(count: int, behaviour: Behaviour, **more: object) -> Schedule:
    times = np.linspace(0, 9, count)
    settings = {"duration": 10.0, "questions": 7, "seed": 1, **more}
    return make_schedule(times, behaviour=behaviour, **settings)  # type: ignore[arg-type]


@given(
    text=st.sampled_from(SHAPE_TEXTS),
    rate=st.floats(0.5, 500),
    duration=st.floats(0.5, 60),
    seed=st.integers(0, 2**32),
    evenly=st.booleans(),
)
def test_arrivals_are_ordered_within_the_run_and_the_same_for_a_seed(
    text: str, rate: float, duration: float, seed: int, evenly: bool
) -> None:
    shape = shape_named(text)
    times = arrivals(shape, rate=rate, duration=duration, evenly=evenly, seed=seed)
    again = arrivals(shape, rate=rate, duration=duration, evenly=evenly, seed=seed)

    assert np.array_equal(times, again)
    assert (np.diff(times) >= 0).all()
    assert ((times >= 0) & (times < duration)).all()


@given(text=st.sampled_from(SHAPE_TEXTS), rate=st.floats(1, 500), duration=st.floats(1, 60))
def test_even_arrivals_are_as_many_as_the_area_under_the_shape(
    text: str, rate: float, duration: float
) -> None:
    shape = shape_named(text)
    times = arrivals(shape, rate=rate, duration=duration, evenly=True, seed=0)
    expected = mean_height(shape) * rate * duration

    assert abs(len(times) - expected) <= 1 + expected * 0.002


@given(text=st.sampled_from(SHAPE_TEXTS), part=st.floats(0.05, 0.95))
def test_even_arrivals_follow_the_shape_up_to_any_moment(text: str, part: float) -> None:
    shape = shape_named(text)
    times = arrivals(shape, rate=200, duration=50, evenly=True, seed=0)
    before = np.linspace(0, part, 5001)[:-1]
    expected = float(np.mean([shape.rate(p) for p in before])) * part * 200 * 50

    assert abs(int((times < part * 50).sum()) - expected) <= 2 + expected * 0.005


def test_poisson_arrivals_vary_as_a_poisson_process_does() -> None:
    times = arrivals(shape_named("poisson"), rate=100, duration=400, evenly=False, seed=5)
    counts = np.histogram(times, bins=400, range=(0, 400))[0]

    assert np.mean(counts) == pytest.approx(100, rel=0.03)
    assert np.var(counts) / np.mean(counts) == pytest.approx(1, abs=0.25)
    assert np.std(np.diff(times)) == pytest.approx(1 / 100, rel=0.05)  # exponential gaps


def test_constant_is_even_and_all_others_are_random() -> None:
    assert [name for name in SHAPES if arrives_evenly(name)] == ["constant"]


def test_a_spike_and_a_day_have_their_highest_part_where_they_say() -> None:
    spike = Spike(factor=12, start=0.4, end=0.6)
    assert [spike.rate(part) for part in (0.0, 0.39, 0.4, 0.59, 0.6)] == [1, 1, 12, 12, 1]
    day = [BlackFriday().rate(hour / 24) for hour in np.arange(0, 24, 0.25)]
    assert max(day) == day[20 * 4] == 1
    assert min(day) == day[4 * 4]


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("spkie", "no load shape 'spkie'", "'spike'"),
        ("", "no load shape ''", "constant"),
        ("spike:facto=3", "no parameter 'facto'", "'factor'"),
        ("constant:rate=3", "no parameter 'rate'", "alone"),
        ("ramp:start=fast", "takes a number for `start`", "ramp:start=1.5"),
        ("ramp:start=-1", "cannot have the `start` -1", "from 0 up"),
        ("ramp:start=nan", "cannot have the `start` nan", "from 0 up"),
        ("spike:start=0.7", "cannot last from 0.7 to 0.6", "fractions"),
        ("steps:count=1", "1 steps", "from 2 up"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(text: str, message: str, remedy: str) -> None:
    with pytest.raises(InvalidExperiment) as refused:
        shape_named(text)
    assert message in refused.value.message
    assert remedy in (refused.value.remedy or "")


@pytest.mark.parametrize(("rate", "duration"), [(0, 1), (-1, 1), (1, 0), (float("nan"), 1)])
def test_a_run_of_nothing_is_refused(rate: float, duration: float) -> None:
    with pytest.raises(InvalidExperiment, match="cannot have a"):
        arrivals(shape_named("constant"), rate=rate, duration=duration, evenly=True, seed=0)


def test_a_run_of_too_much_is_refused_before_memory_is_taken() -> None:
    with pytest.raises(InvalidExperiment, match="can be planned"):
        arrivals(shape_named("constant"), rate=1e8, duration=1e5, evenly=True, seed=0)


@given(
    count=st.integers(1, 200),
    processes=st.integers(1, 7),
    turns=st.integers(1, 4),
    leave=st.floats(0, 1),
)
def test_the_shares_of_the_generators_are_the_whole_schedule(
    count: int, processes: int, turns: int, leave: float
) -> None:
    whole = schedule_of(count, Behaviour(turns=turns, leave=leave), key_weights=(1.0, 2.0))
    parts = [whole.share(number, processes) for number in range(processes)]

    assert sum(map(len, parts)) == len(whole)
    assert sorted(t for part in parts for t in part.times) == whole.times.tolist()
    for number, part in enumerate(parts):
        assert np.array_equal(part.questions, whole.questions[number::processes])
        assert np.array_equal(part.leaves, whole.leaves[number::processes], equal_nan=True)
        assert np.array_equal(part.keys, whole.keys[number::processes])
        assert part.pauses.shape == (len(part), turns - 1)


def test_popularity_is_that_of_zipf() -> None:
    asked = schedule_of(200_000, Behaviour(zipf=1.0), questions=50).questions
    counts = np.bincount(asked[:, 0], minlength=50)

    assert counts / counts.sum() == pytest.approx(zipf_shares(50, 1.0), abs=0.004)
    assert counts[0] / counts[9] == pytest.approx(10, rel=0.1)
    slope = np.polyfit(np.log(np.arange(1, 51)), np.log(counts), 1)[0]
    assert slope == pytest.approx(-1.0, abs=0.05)


def test_questions_are_asked_in_order_or_once() -> None:
    assert schedule_of(9, Behaviour(zipf=None)).questions[:, 0].tolist() == [
        0, 1, 2, 3, 4, 5, 6, 0, 1,
    ]  # fmt: skip
    once = schedule_of(9, Behaviour(once=True))
    assert once.questions[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert len(once.times) == 7


def test_one_property_does_not_change_the_others() -> None:
    stays, leaves = schedule_of(500, Behaviour()), schedule_of(500, Behaviour(leave=0.3))

    assert np.array_equal(stays.questions, leaves.questions)
    assert np.isnan(stays.leaves).all()
    assert (~np.isnan(leaves.leaves)).mean() == pytest.approx(0.3, abs=0.07)


def test_keys_are_drawn_by_weight() -> None:
    keys = schedule_of(20_000, Behaviour(), key_weights=(3.0, 1.0, 0.0)).keys
    assert np.bincount(keys, minlength=3) / len(keys) == pytest.approx([0.75, 0.25, 0], abs=0.02)


def test_the_busiest_second_counts_wherever_it_begins() -> None:
    times = np.array([0.0, 0.9, 1.0, 1.1, 1.8, 5.0])
    schedule = make_schedule(times, duration=10, questions=1, behaviour=Behaviour(), seed=0)
    assert schedule.peak_rate() == 4


@pytest.mark.parametrize(
    "behaviour",
    [Behaviour(leave=1.5), Behaviour(turns=0), Behaviour(think_seconds=-1), Behaviour(zipf=-1)],
)
def test_a_behaviour_that_cannot_be_is_refused(behaviour: Behaviour) -> None:
    with pytest.raises(InvalidExperiment, match="cannot have"):
        schedule_of(3, behaviour)


TRACES = {
    "azure": "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:15:46.6805900,374,44\r\n"
    "2023-11-16 18:15:50.6805900,396,109\r\n2023-11-16 18:15:51.1805900,879,55",
    "numbers": "0\n4\n4.5\n",
    "csv": "id,time\na,100\nb,104\nc,104.5\n",
    "json lines": '{"ts": 7, "x": 1}\n{"ts": 11}\n\n{"ts": 11.5}\n',
    "zones": "t\n2024-05-10T00:00:00+00:00\n2024-05-10T02:00:04+02:00\n2024-05-10T00:00:04.5Z\n",
    "unsorted": "11.5\n7\n11\n",
}


@pytest.mark.parametrize("name", TRACES)
def test_traces_of_every_format_give_the_same_arrivals(name: str, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_bytes(TRACES[name].encode())
    assert read_trace(path) == pytest.approx([0, 4, 4.5], abs=1e-4)


def test_a_trace_is_cut_first_and_then_made_faster(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_text("\n".join(map(str, range(100))))
    assert read_trace(path, start=10, length=5, speed=2).tolist() == [0, 0.5, 1, 1.5, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no arrivals"),
        ("when,what\n1,2\n", "begins with 'when,what'"),
        ("time\n1\nsoon\n", "no time in line 3: 'soon'"),
        ('{"ts": 1}\n{"when": 1}\n', "no time in line 2"),
        ('{"ts": 1}\nnot json\n', "no time in line 2"),
        ("1\nnan\n", "no time in line 2"),
        ("\ufeff", "no arrivals"),
    ],
)
def test_a_trace_that_cannot_be_read_says_where(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_text(content)
    with pytest.raises(InvalidExperiment) as refused:
        read_trace(path)
    assert message in refused.value.message
    assert "timestamp" in (refused.value.remedy or "")


def test_bytes_that_are_no_text_and_files_that_are_not_there_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidExperiment, match="not UTF-8"):
        read_trace(tmp_path / "bytes")
    with pytest.raises(InvalidExperiment, match="No such file"):
        read_trace(tmp_path / "missing")


def test_a_cut_without_arrivals_says_how_long_the_trace_is(tmp_path: Path) -> None:
    (tmp_path / "trace").write_text("0\n60\n")
    with pytest.raises(InvalidExperiment, match="lasts 60 s"):
        read_trace(tmp_path / "trace", start=100)


def test_a_trace_of_production_is_read_whole(shared_data: Path) -> None:
    path = shared_data / "azure_traces" / "AzureLLMInferenceTrace_conv.csv"
    if not path.is_file():
        pytest.skip("../shared/data/azure_traces is not there")
    times = read_trace(path)
    assert len(times) == 19_366
    assert times[-1] == pytest.approx(58 * 60 + 22, abs=60)
