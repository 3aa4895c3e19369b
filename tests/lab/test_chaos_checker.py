"""The checker finds each thing that must not be, in what a client received."""

import json
from typing import Any

import pytest

from ragstone.lab.chaos.checker import always_true, started_in_time
from ragstone.lab.chaos.inspection import metric_total
from ragstone.lab.chaos.money import Standing, overspent
from ragstone.lab.chaos.report import html_report, summary
from ragstone.lab.chaos.scenario import Scenario
from ragstone.lab.chaos.transcript import Ask, Transcript
from ragstone.lab.chaos.verdict import Check, Result, among, at_least, at_most, percentile
from ragstone.lab.simulate.text import question_hash

CANARIES = {"acme": "zyxacme", "globex": "qwvglobex"}
PASSAGES = [{"chunk_id": "c1", "text": "Return boots within 30 days. Or later."}]
CITATION = {"number": 1, "chunk_id": "c1", "text": "Return boots within 30 days."}


def answer(text: str = "Within 30 days [1]", **fields: Any) -> dict[str, Any]:
    return {
        "answer": text,
        "answer_kind": "generated",
        "passages": PASSAGES,
        "citations": [CITATION],
        "degraded": [],
        **fields,
    }


def event(name: str, **data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode()


def streamed(*events: bytes, **fields: Any) -> Transcript:
    """A stream in one chunk; by default as it should be."""
    good = (event("delta", text="Within 30 days"), event("delta", text=" [1]"))
    told = events or (*good, event("done", answer=answer()))
    return Transcript(
        ask=Ask(question="How long?"),
        scheduled=0.0,
        status=200,
        headers={"content-type": "text/event-stream; charset=utf-8"},
        chunks=[(1.0, b"".join(told))],
        ended=2.0,
        **{"end": "whole", **fields},
    )


def whole(status: int, body: dict[str, Any], **headers: str) -> Transcript:
    return Transcript(
        ask=Ask(question="How long?", stream=False),
        scheduled=0.0,
        status=status,
        headers={"content-type": "application/json", **headers},
        chunks=[(1.0, json.dumps(body).encode())],
        end="whole",
    )


def found(*transcripts: Transcript) -> list[str]:
    """The checks that failed."""
    return [check.what for check in always_true(transcripts, CANARIES) if not check.passed]


ERROR = event("error", error={"code": "model_failed"})


@pytest.mark.parametrize(
    "transcript",
    [
        streamed(),
        streamed(event("delta", text="Within"), ERROR),
        streamed(event("delta", text="Within"), end="left"),
        whole(200, answer()),
        whole(503, {"error": {"code": "overloaded"}}, **{"retry-after": "1"}),
    ],
)
def test_what_is_right_is_not_found_fault_with(transcript) -> None:
    assert found(transcript) == []


@pytest.mark.parametrize(
    ("transcript", "check"),
    [
        (streamed(end="broken"), "requests without exactly one end"),
        (streamed(end="open"), "requests without exactly one end"),
        (streamed(event("delta", text="Within")), "requests without exactly one end"),
        (streamed(ERROR, ERROR), "requests without exactly one end"),
        (streamed(ERROR, event("delta", text="more")), "requests without exactly one end"),
        (whole(503, {"error": {"code": "overloaded"}}), "refusals without Retry-After"),
        (
            whole(429, {"error": {"code": "x"}}, **{"retry-after": "soon"}),
            "refusals without Retry-After",
        ),
        (
            streamed(
                event("delta", text="Within 30 days [1]"),
                event("delta", text="Within 30 days [1]"),
                event("done", answer=answer()),
            ),
            "text told twice or otherwise",
        ),
        (
            whole(200, answer(citations=[{**CITATION, "chunk_id": "c9"}])),
            "citations that do not exist",
        ),
        (
            whole(200, answer(citations=[{**CITATION, "text": "Never said."}])),
            "citations that do not exist",
        ),
        (whole(200, answer("Within 30 days")), "citations that do not exist"),
        (whole(200, answer(passages=[*PASSAGES, {"chunk_id": "q", "text": "qwvglobex"}])),
         "passages of another tenant"),
        (whole(500, {"error": {"code": "internal_error"}}), "internal errors"),
    ],
)  # fmt: skip
def test_what_must_not_be_is_found(transcript, check) -> None:
    assert found(streamed(), transcript) == [check]


def test_events_are_read_wherever_the_network_cuts_them() -> None:
    body = streamed().body
    expected = [(name, data) for _, name, data in streamed().events]
    for cut in range(len(body)):
        transcript = streamed()
        transcript.chunks = [(1.0, body[:cut]), (3.0, body[cut:])]
        assert [(name, data) for _, name, data in transcript.events] == expected
    assert streamed(b": keep-alive\n\n", ERROR).outcome == "model_failed"


def test_an_answer_after_its_deadline_is_not_good() -> None:
    transcript = streamed()
    transcript.ask = Ask(question="How long?", deadline_ms=1_500)
    assert (transcript.good, transcript.outcome) == (False, "late")


def test_bounds_hold_at_their_value() -> None:
    assert at_most("x", 1.1, 1.1).passed
    assert not at_most("x", 1.11, 1.1).passed
    assert at_least("x", 0.95, 0.95).passed
    assert not at_least("x", 0.94, 0.95).passed
    assert among("x", ["a", "a"], ["a", "b"]).passed
    assert not among("x", ["a", "c"], ["a", "b"]).passed
    assert percentile([3, 1, 2], 0.5) == 2
    assert percentile([], 0.99) == 0


def test_metrics_are_summed_over_labels() -> None:
    page = 'rag_x{a="1",b="2"} 3.0\nrag_x{a="2",b="2"} 4.0\nrag_x_total 9.0\nrag_y 1.0\n'
    assert metric_total(page, "rag_x") == 7
    assert metric_total(page, "rag_x", 'a="1"') == 3
    assert metric_total(page, "rag_y") == 1


def test_the_report_tells_every_check_and_escapes() -> None:
    scenario = Scenario(name="s", faults=(1, 2), does="Does <this>.", expects="That.")
    result = Result(
        name="s", faults=[1, 2], status="failed", checks=[Check("a<b", "3", "<= 2", False)]
    )
    page = html_report([scenario], [result], quick=True)
    assert "a&lt;b" in page
    assert "Does &lt;this&gt;." in page
    assert summary([result]) == "1 scenarios: 1 failed."


def test_calls_that_began_after_the_deadline_are_told() -> None:
    def sent(at: float, question: str = "How long?") -> Transcript:
        ask = Ask(question=question, deadline_ms=1_000)
        return Transcript(ask=ask, scheduled=at, sent=at)

    def late(*times: float, question: str = "How long?") -> Check:
        starts = [(question_hash(question), at) for at in times]
        return started_in_time(starts, [sent(10.0), sent(20.0)])

    assert late(10.5, 20.9).passed
    assert not late(10.5, 12.0).passed
    assert not late(10.5, 22.0).passed
    assert late(9.0).passed, "of a question asked before, and not told to the checker"
    assert late(50.0, question="Another one?").passed


def test_a_budget_is_overspent_by_one_nanodollar_too_much() -> None:
    kept = Standing(what="acme tenant", settled=6, reserved=4, limit=10)
    beyond = Standing(what="acme key k1", settled=6, reserved=5, limit=10)
    assert overspent([kept]) == []
    assert overspent([kept, beyond]) == ["acme key k1: 6 + 5 > 10"]
