"""Open-loop sending in virtual time, and what reports make of a run."""

import asyncio
import json
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.domain.errors import InvalidExperiment, TargetNotConfirmed
from ragstone.lab.load import compare, questions, sweep
from ragstone.lab.load.distribution import Distribution
from ragstone.lab.load.exchange import Exchange
from ragstone.lab.load.generator import Generator
from ragstone.lab.load.outcome import Outcome
from ragstone.lab.load.page import page_of
from ragstone.lab.load.plan import LoadPlan, Trace, plan_load
from ragstone.lab.load.questions import Key, Question
from ragstone.lab.load.recorder import ROW, Recorder
from ragstone.lab.load.report import LoadReport, Prices, report_of
from ragstone.lab.load.requests import RequestForm, RequestWriter
from ragstone.lab.load.runner import LoadResult
from ragstone.lab.load.schedule import Behaviour
from tests.virtual_loop import run, running_clock

URL = "http://127.0.0.1:9"


def plan_of(**more: object) -> LoadPlan:
    settings = {"rate": 10.0, "duration": 10.0, "shape": "constant", "processes": 0, **more}
    return plan_load(URL, **settings)  # type: ignore[arg-type]


class Server:
    """Stands for client and target: ends each exchange when `ends_at` says."""

    def __init__(self, ends_at: Callable[[float], float], outcome: Outcome = Outcome.OK) -> None:
        self._ends_at, self._outcome = ends_at, outcome
        self.sent: list[float] = []

    def start(self, exchange: Exchange, request: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.sent.append(loop.time())
        ends = self._ends_at(loop.time())
        if ends < math.inf:
            loop.call_at(ends, lambda: exchange.finish(loop.time(), self._outcome))


def played(
    plan: LoadPlan, server: Server, *, meanwhile: Callable[[], None] = lambda: None
) -> LoadResult:
    """The plan in virtual time. `meanwhile` is called at 5 s, as something that blocks."""

    async def play() -> LoadResult:
        clock = running_clock()
        begin = clock.monotonic()
        recorder = Recorder(begin=begin, capacity=1000, keep=False)
        generator = Generator(
            plan.schedule,
            server,
            RequestWriter(plan.target, plan.form, plan.questions, plan.keys),
            recorder,
            form=plan.form,
            questions=plan.questions,
            keys=plan.keys,
            now=clock.monotonic,
        )
        asyncio.get_running_loop().call_at(begin + 5, meanwhile)
        await generator.run(begin)
        return result_of(plan, recorder.rows)

    return run(play())


def result_of(plan: LoadPlan, rows: object) -> LoadResult:
    return LoadResult(plan, rows, Distribution(), {}, {}, [], [0.1])  # type: ignore[arg-type]


def test_a_server_that_stalls_is_asked_all_the_same_and_the_wait_counts() -> None:
    """With coordinated omission one request would see the stall while the others wait unsent
    (Tene, "How NOT to Measure Latency", Strange Loop 2015)."""
    plan = plan_of()
    begin = 1_000.0  # where the virtual clock starts

    def stalls(now: float) -> float:
        return begin + 8 if 2 <= now - begin < 8 else now + 0.01

    server = Server(stalls)
    rows = played(plan, server).rows
    assert np.diff(server.sent) == pytest.approx(0.1, abs=0.01)
    stalled = rows[(rows["scheduled"] >= 2) & (rows["scheduled"] < 7.99)]
    assert len(stalled) == 60
    assert stalled["latency"] == pytest.approx(8 - stalled["scheduled"])
    assert report_of(result_of(plan, rows)).latency["p90"] > 4


def test_nothing_is_sent_before_its_moment() -> None:
    rows = played(plan_of(shape="poisson"), Server(lambda now: now)).rows
    assert (rows["lateness"] >= 0).all()
    assert (rows["latency"] >= rows["lateness"]).all()


def test_a_generator_that_lags_counts_the_lag_and_declares_the_run_invalid() -> None:
    plan, clock_of = plan_of(), running_clock
    result = played(plan, Server(lambda now: now), meanwhile=lambda: clock_of().advance(6))
    rows = result.rows

    late = rows[rows["scheduled"] >= 5]
    assert late["lateness"].max() == pytest.approx(6, abs=0.1)
    assert (late["latency"] >= late["lateness"]).all()
    report = report_of(result)
    assert not report.valid
    assert report.sent_share < 0.6
    assert "in time" in " ".join(report.reasons)


@pytest.mark.parametrize(
    ("lateness", "unsent", "valid", "reason"),
    [
        (0.009, 0, True, ""),
        (0.011, 0, False, "late in the median"),
        (0.0, 1, True, ""),
        (0.0, 2, False, "98.0% of the offered"),
    ],
)
def test_the_bounds_of_a_valid_run(lateness: float, unsent: int, valid: bool, reason: str) -> None:
    rows = rows_of(100)
    rows["lateness"] = lateness
    rows["outcome"][:unsent] = Outcome.UNSENT
    report = report_of(result_of(plan_of(), rows))
    assert report.valid is valid
    assert reason in " ".join(report.reasons)
    assert bool(report.reasons) is not valid


def test_each_request_times_out_at_its_own_deadline() -> None:
    plan = plan_of(form=RequestForm(deadline=3.0))
    rows = played(plan, Server(lambda now: math.inf)).rows
    assert set(rows["outcome"]) == {Outcome.TIMEOUT}
    assert rows["latency"] == pytest.approx(3.0, abs=0.01)


def test_leaving_clients_go_within_what_answers_usually_have() -> None:
    """Answers of a single piece are left at that piece, once the generator knows them."""
    left: list[float] = []

    class Short(Server):
        def start(self, exchange: Exchange, request: bytes) -> None:
            left.append(exchange.leave_after)
            exchange.heard.content("all of it")
            super().start(exchange, request)

    played(plan_of(rate=50.0, behaviour=Behaviour(leave=1.0)), Short(lambda now: now))
    assert max(left[:20]) > 5
    assert set(left[200:]) == {1}


def test_no_turn_begins_after_the_run_and_none_after_a_failure() -> None:
    behaviour = Behaviour(turns=50, think_seconds=1.0)
    rows = played(plan_of(rate=0.3, behaviour=behaviour), Server(lambda now: now + 0.5)).rows
    later = rows[rows["turn"] > 0]
    assert len(later) > 3
    assert (later["scheduled"] < 10).all()
    failing = Server(lambda now: now + 0.5, Outcome.ERROR)
    assert (played(plan_of(behaviour=behaviour), failing).rows["turn"] == 0).all()


def rows_of(count: int, **columns: object) -> np.ndarray:
    rows = np.zeros(count, dtype=ROW)
    rows["index"] = np.arange(count)
    rows["scheduled"] = np.linspace(0, 9.9, count)
    rows["latency"], rows["first"], rows["key"], rows["priority"] = 0.5, 0.2, -1, -1
    for name, values in columns.items():
        rows[name] = values
    return rows


def varied_report(**more: object) -> LoadReport:
    keys = (Key(key="a", name="shop <1>"), Key(key="b", priority="critical"))
    plan = plan_of(keys=keys, within=1.0, behaviour=Behaviour(turns=2), **more)
    rows = rows_of(100, turn=[0] * 90 + [1] * 10, key=[0, 1] * 50, priority=[-1, 0] * 50)
    rows["outcome"][:50] = np.arange(50) % 9
    rows["latency"][60:70] = 2.0
    rows["first"][:20] = np.nan
    rows["output_tokens"], rows["input_tokens"] = 100, 1000
    result = LoadResult(
        plan,
        rows,
        Distribution.of(np.linspace(0.01, 0.1, 50)),
        {"overloaded": 6},
        {"lexical_only": 5},
        [],
        [0.2],
    )
    return report_of(result, prices=Prices(0.5, 2.0))


def test_goodput_wants_complete_answers_in_time() -> None:
    report = varied_report()
    answered = 40 + 6 * 3  # ok, degraded, abstained among the first fifty; all are ok after
    assert sum(report.outcomes[name] for name in ("ok", "degraded", "abstained")) == answered
    assert report.throughput == pytest.approx(answered / 10)
    assert report.goodput == pytest.approx((answered - 10) / 10)
    assert report.good_share == pytest.approx((answered - 10) / (90 - report.outcomes["left"]))
    assert report.degraded_share == pytest.approx(6 / answered)
    assert report.refusals["p99"] == pytest.approx(0.5, rel=0.01)
    assert report.cost_dollars == pytest.approx((100 * 1000 * 0.5 + 100 * 100 * 2.0) / 1e6)
    assert [group.name for group in report.by_key] == ["shop <1>", "key 2"]
    assert [(group.name, group.requests) for group in report.by_priority] == [("critical", 45)]
    assert report.later_turns is not None
    assert report.later_turns.requests == 10


def test_the_course_adds_up_to_the_run() -> None:
    report = varied_report()
    course = report.course
    assert sum(course.offered) * course.width == pytest.approx(90)
    assert sum(course.good) * course.width == pytest.approx(report.goodput * 10)
    assert sum(map(sum, course.outcomes.values())) == pytest.approx(sum(course.offered))


def test_the_page_is_well_formed_and_needs_nothing_from_elsewhere() -> None:
    page = page_of(varied_report())
    root = ElementTree.fromstring(page.partition("\n")[2])
    assert len(list(root.iter("{http://www.w3.org/2000/svg}svg"))) == 4
    assert "shop &lt;1&gt;" in page
    for resource in ("<script", "<link", "<img", "src=", "href=", "url(", "@import"):
        assert resource not in page
    assert "prefers-color-scheme:dark" in page
    assert "nan" not in page.lower().replace("tenant", "")


def test_a_page_says_that_a_run_is_invalid_and_survives_one_without_answers() -> None:
    rows = rows_of(50, outcome=Outcome.ERROR, first=np.nan, lateness=0.5)
    page = page_of(report_of(result_of(plan_of(), rows)))
    ElementTree.fromstring(page.partition("\n")[2])
    assert "Not valid. The generator sent 500 ms late" in page


def test_a_report_survives_being_written_and_read(tmp_path: Path) -> None:
    report, path = varied_report(), tmp_path / "report.json"
    path.write_bytes(msgspec.json.encode(report))
    assert compare.read_report(path) == report
    assert "NaN" not in path.read_text()
    changes = {name: change for name, *_, change in compare.compared(report, report)}
    assert changes["goodput, answers/s"] == "+0.0%"


def test_a_sweep_is_shown_with_its_plot() -> None:
    points = [sweep.Point(m, varied_report()) for m in sweep.multiples_in("2,1,0.5")]
    assert [point.multiple for point in points] == [0.5, 1, 2]
    page = sweep.sweep_page(sweep.Sweep(points))
    ElementTree.fromstring(page.partition("\n")[2])
    assert page.count("<circle") == 3


@given(st.lists(st.floats(0, 3600), max_size=200), st.lists(st.floats(0, 3600), max_size=200))
def test_distributions_count_as_hdr_histograms_do_and_add_up(
    some: list[float], more: list[float]
) -> None:
    from hdrh.histogram import HdrHistogram

    one, two = Distribution(), Distribution.of(np.array(more))
    for value in some:
        one.record(value)
    both = (one + two).histogram()
    reference = HdrHistogram(1, 3_600_000_000, 3)
    for value in [*some, *more]:
        reference.record_value(round(value * 1e6))
    assert list(both.counts) == list(reference.counts)
    assert both.get_total_count() == len(some) + len(more)


def test_questions_come_as_text_or_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "questions"
    path.write_text('First?\n\n{"question": "Second?", "key": "shop", "priority": "critical"}\n')
    found = questions.read_questions(path)
    assert [one.question for one in found] == ["First?", "Second?"]
    asked, keys = questions.with_own_keys(found, (Key(key="secret", name="shop"),))
    assert asked[1].key == "shop"
    assert len(keys) == 1
    asked, keys = questions.with_own_keys(found, ())
    assert [(key.key, key.name) for key in keys] == [("shop", "key 1")]


def test_queries_of_judged_sets_are_questions_too(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text(json.dumps({"id": "q1", "text": "How long?", "metadata": {}}) + "\n")
    assert questions.read_questions(path) == (Question(question="How long?"),)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no questions"),
        ('{"question": 3}\n', "Line 1"),
        ('ok\n{"question"\n', "Line 2"),
        ('{"question": "a", "priority": "high"}\n', "Line 1"),
    ],
)
def test_questions_that_cannot_be_read_say_where(
    content: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "questions"
    path.write_text(content)
    with pytest.raises(InvalidExperiment, match=message):
        questions.read_questions(path)


def test_keys_have_names_and_weights(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text('{"key": "one", "name": "shop", "weight": 3}\ntwo\n')
    assert [(k.key, k.name, k.weight) for k in questions.read_keys(path)] == [
        ("one", "shop", 3),
        ("two", "key 2", 1),
    ]
    path.write_text('{"key": "one", "weight": 0}\n')
    with pytest.raises(InvalidExperiment, match="weights"):
        questions.read_keys(path)
    path.write_text('{"key": "one\\r\\nHost: other"}\n')
    with pytest.raises(InvalidExperiment, match="HTTP header"):
        questions.read_keys(path)


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("http://192.0.2.1:80", TargetNotConfirmed, "not this machine"),
        ("ftp://127.0.0.1", InvalidExperiment, "not the URL of a server"),
        ("http://", InvalidExperiment, "not the URL of a server"),
        ("http://127.0.0.1:99999", InvalidExperiment, "not the URL of a server"),
    ],
)
def test_targets_that_may_not_or_cannot_be_loaded_are_refused(
    url: str, error: type[InvalidExperiment], message: str
) -> None:
    with pytest.raises(error, match=message):
        plan_load(url)


def test_a_target_elsewhere_can_be_confirmed() -> None:
    assert plan_load("http://192.0.2.1:8080/rag/", own_target=True).target.prefix == "/rag"
    assert plan_load("127.0.0.1:8080").target.url == "http://127.0.0.1:8080"


def test_a_rate_beyond_the_generators_is_refused_before_it_runs() -> None:
    with pytest.raises(InvalidExperiment) as refused:
        plan_of(rate=50_000.0, duration=1.0, processes=2)
    assert "2 generator processes" in refused.value.message
    assert "--processes" in (refused.value.remedy or "")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"rate": 0.01, "duration": 1.0}, "No request falls"),
        ({"questions": ()}, "no questions"),
        ({"within": 0.0}, "cannot have a bound"),
        ({"form": RequestForm(deadline=float("nan"))}, "cannot have a deadline"),
        ({"processes": -1}, "-1 processes"),
        ({"trace": Trace(path=Path("nowhere.csv"))}, "cannot be read"),
        ({"trace": Trace(path=Path("nowhere.csv"), speed=0)}, "0 times its speed"),
    ],
)
def test_plans_that_cannot_be_are_refused(more: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidExperiment, match=message):
        plan_of(**more)


@pytest.mark.parametrize("text", ["", "a", "1,,2", "0,1", "-1", "nan"])
def test_multiples_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InvalidExperiment, match="no multiples"):
        sweep.multiples_in(text)


def test_a_report_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(InvalidExperiment, match="no report"):
        compare.read_report(tmp_path / "other.json")
    with pytest.raises(InvalidExperiment, match="cannot be read"):
        compare.read_report(tmp_path / "missing.json")
