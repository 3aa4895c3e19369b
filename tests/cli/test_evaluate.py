"""`ragstone eval`: figures for people and machines, and faults in one sentence."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ragstone.cli import evaluate
from ragstone.cli.client import ServerError
from ragstone.cli.context import Context
from ragstone.cli.main import main

FOUND = {
    "dense": {"silk": ["b", "a", "a"], "wool": ["a"]},
    "lexical": {"silk": ["a"], "wool": ["b"]},
    "hybrid": {"silk": ["a", "b"], "wool": ["b"]},
}


class FakeClient:
    """Answers searches from `FOUND`, or with an error."""

    def __init__(self, error: ServerError | None = None, degraded: list[str] | None = None) -> None:
        self.asked: list[dict[str, Any]] = []
        self._error = error
        self._degraded = degraded or []

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        assert path == "/v1/search"
        self.asked.append(body)
        if self._error:
            raise self._error
        passages = [{"external_id": name} for name in FOUND[body["mode"]][body["query"]]]
        return {"passages": passages, "degraded": self._degraded}


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """The options that name a queries file and a qrels file."""
    queries, qrels = tmp_path / "queries.jsonl", tmp_path / "qrels.tsv"
    queries.write_text('{"id": "1", "text": "silk"}\n{"id": "2", "text": "wool"}\n')
    qrels.write_text("query_id\tdocument_id\tgrade\n1\ta\t1\n2\tb\t1\n")
    return ["--queries", str(queries), "--qrels", str(qrels)]


def connected_to(monkeypatch: pytest.MonkeyPatch, client: FakeClient) -> FakeClient:
    def run(context: Context, work: Callable[[FakeClient], Awaitable[Any]]) -> Any:
        async def begin() -> Any:
            return await work(client)

        return asyncio.run(begin())

    monkeypatch.setattr(evaluate, "run_with_client", run)
    return client


def run_eval(monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    """The exit status of `ragstone eval --collection help OPTIONS`."""
    arguments = ["ragstone", "eval", "--collection", "help", *options]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        main()
    code = ended.value.code
    return code if isinstance(code, int) else 0


def test_the_three_modes_stand_side_by_side(
    files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    client = connected_to(monkeypatch, FakeClient())
    assert run_eval(monkeypatch, *files) == 0
    lines = capsys.readouterr().out.splitlines()
    measures = ["nDCG@10", "recall@5", "recall@10", "recall@50", "MRR"]
    assert lines[0].split() == ["measure", *FOUND]
    assert [line.split()[0] for line in lines[1:6]] == measures
    assert lines[5].split()[1::3] == ["0.250", "1.000", "1.000"]
    assert lines[7].split() == ["measure", "hybrid", "-", "better", "leg"]
    assert [line.split()[0] for line in lines[8:13]] == measures
    assert lines[12].split()[1:] == ["+0.000", "[+0.000,", "+0.000]"]
    assert lines[-1].startswith("2 queries. In brackets: 95 % confidence")
    assert {body["collection"] for body in client.asked} == {"help"}
    assert {body["top_k"] for body in client.asked} == {100}


def test_json_holds_every_figure(
    files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    connected_to(monkeypatch, FakeClient(degraded=["lexical_only"]))
    assert run_eval(monkeypatch, *files, "--json") == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert set(result["estimates"]) == set(FOUND)
    assert result["estimates"]["lexical"]["MRR"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert result["hybrid_minus_best_leg"]["recall@5"]["mean"] == 0.0
    assert (result["queries"], result["unjudged_queries"]) == (2, 0)
    assert result["degraded"] == {"lexical_only": 6}
    assert printed.err == ""


def test_degraded_searches_are_counted_beside_the_table(
    files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    connected_to(monkeypatch, FakeClient(degraded=["lexical_only"]))
    run_eval(monkeypatch, *files)
    assert "6 searches were degraded: lexical_only." in capsys.readouterr().err


def test_an_unknown_collection_is_the_servers_sentence(
    files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    unknown = {
        "code": "unknown_collection",
        "message": "There is no collection 'help'.",
        "remedy": "Did you mean 'helpdesk'?",
    }
    connected_to(monkeypatch, FakeClient(error=ServerError(unknown)))
    assert run_eval(monkeypatch, *files) == 1
    assert capsys.readouterr().err.splitlines() == [
        "Error: There is no collection 'help'.",
        "  Did you mean 'helpdesk'?",
        "  [unknown_collection]",
    ]


def test_a_fault_in_a_file_is_told_before_anything_is_searched(
    files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client = connected_to(monkeypatch, FakeClient())
    Path(files[1]).write_text('{"id": "1", "text": "silk"}\n{"id": "2"\n')
    assert run_eval(monkeypatch, *files) == 1
    error = capsys.readouterr().err
    assert f"{files[1]}, line 2: " in error
    assert "[invalid_request]" in error
    assert not client.asked


def test_judgments_about_another_collection_are_refused(
    files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    connected_to(monkeypatch, FakeClient())
    Path(files[3]).write_text("query_id\tdocument_id\tgrade\n1\telsewhere\t1\n")
    assert run_eval(monkeypatch, *files) == 1
    assert "No document that was found occurs in the judgments" in capsys.readouterr().err
