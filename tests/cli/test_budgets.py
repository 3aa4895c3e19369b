"""`budgets`, `usage`, `cache` and estimates: what they print, and how wrong input is answered.

The commands run in this process: a process of its own would take seconds for each, most of them
to import what is imported here already.
"""

import asyncio
import csv
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ragstone.cli.budgets import all_pages
from ragstone.cli.client import Client
from ragstone.cli.main import main
from ragstone.cli.usage import all_pages as usage_report
from ragstone.domain.budget import Account, AccountReport, LedgerReport, UsageRow, Want
from ragstone.domain.clock import SystemClock
from ragstone.domain.usage import Usage
from ragstone.records.engine import sqlite_url
from ragstone.records.sql_records import SqlRecords
from tests.cli.conftest import Run

CENT = 10_000_000


@pytest.fixture
def run(
    environment: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Runs a command to its end, here."""
    monkeypatch.setattr("os.environ", environment)
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
        monkeypatch.setattr(sys, "argv", ["ragstone", *arguments])
        capsys.readouterr()
        code: object = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        said = capsys.readouterr()
        assert isinstance(code, int)
        return subprocess.CompletedProcess(arguments, code, said.out, said.err)

    return command


async def _spend(file: Path, budget: dict[str, object], start: int) -> None:
    records = SqlRecords.open(sqlite_url(file), SystemClock())
    account = Account(str(budget["id"]), "ann", start, "limit")
    want = Want(account=account, tenant="default", least=1, most=10 * CENT)
    await records.budgets.lease("h1", [want], seconds=3_600)
    row = UsageRow(
        hour=int(time.time()),
        tenant="default",
        application="assistant",
        model="small",
        key_id="",
        user="[bold]ann",
        questions=4,
        cached=1,
        usage=Usage(input_tokens=12_000, output_tokens=345, estimated=True),
        nanodollars=7 * CENT,
        saved_nanodollars=CENT,
    )
    report = LedgerReport(
        holder="h1", sequence=1, accounts=[AccountReport(account, 7 * CENT, 0)], usage=[row]
    )
    await records.budgets.report(report, seconds=3_600)
    await records.close()


def test_budgets_are_set_listed_and_removed(run: Run, tmp_path: Path) -> None:
    made = run("budgets", "set", "--limit", "0.2", "--per", "day", "--user", "each", "--json")
    budget = json.loads(made.stdout)
    assert (budget["scope"], budget["name"], budget["period"]) == ("user", "*", "day")
    said = run("budgets", "set", "--limit", "1500", "--hard-limit", "1600.5").stdout
    assert "$1,500.00 (hard $1,600.50) a month for tenant default." in said
    run("budgets", "set", "--limit", "900000", "--unit", "tokens", "--app", "ragstone")
    (line,) = json.loads(run("budgets", "list", "--json").stdout)[0]["standing"]
    asyncio.run(_spend(tmp_path / "home" / "records.sqlite3", budget, line["period_start"]))
    listed = run("budgets", "list").stdout
    assert "user ann of default" in listed
    assert "$0.1000" in listed
    assert "50%" in listed
    assert "900,000 tokens" in listed
    removed = run("budgets", "remove", budget["id"])
    assert removed.stdout == f"Removed {budget['id']}.\n"
    again = run("budgets", "remove", budget["id"])
    assert again.returncode == 1
    assert "ragstone budgets list" in again.stderr


def test_usage_is_shown_as_table_csv_and_json(run: Run, tmp_path: Path) -> None:
    budget = json.loads(run("budgets", "set", "--limit", "5", "--user", "each", "--json").stdout)
    assert "Nothing was used since 20" in run("usage").stdout
    asyncio.run(_spend(tmp_path / "home" / "records.sqlite3", budget, 0))
    table = run("usage", "--by", "user", "--since", "1d").stdout
    assert "[bold]ann" in table
    assert "12,000" in table
    assert "25%" in table
    assert "$0.0700" in table
    assert "total" in table
    assert "counted here" in table
    assert "embedded" not in table  # there was none
    (row,) = csv.DictReader(run("usage", "--by", "app", "--csv").stdout.splitlines())
    assert (row["application"], row["dollars"], row["questions"]) == ("assistant", "0.07", "4")
    found = json.loads(run("usage", "--by", "model", "--json").stdout)
    assert found["lines"][0]["by"] == "small"
    assert found["total"]["saved_nanodollars"] == CENT


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("budgets", "set", "--limit", "5o"), "Give a number above 0"),
        (("budgets", "set", "--limit", "5", "--user", "a", "--app", "b"), "not for several"),
        (("usage", "--by", "modle", "--home", "made"), "Did you mean 'model'?"),
        (("usage", "--csv", "--json"), "Give one of them."),
    ],
)
def test_wrong_input_is_answered_in_a_clear_sentence(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    (tmp_path / "made").mkdir()
    refused = run(*arguments)
    assert refused.returncode == 1
    assert words in refused.stdout + refused.stderr
    assert "Traceback" not in refused.stderr


def test_no_data_folder_is_made_to_look_into_it(run: Run) -> None:
    for command in (("budgets", "list"), ("usage",)):
        assert "home_missing" in run(*command).stderr


def test_cache_stats_say_which_tier_is_off(run: Run) -> None:
    run("budgets", "set", "--limit", "5")  # makes the data folder
    shown = run("cache", "stats")
    assert shown.returncode == 0, shown.stderr
    assert "The semantic tier is off: cache.semantic." in shown.stdout
    assert json.loads(run("--json", "cache", "stats").stdout)["semantic"] is False


def test_an_estimate_names_what_it_cannot_read_once(run: Run, tmp_path: Path) -> None:
    (tmp_path / "odd.bin").write_bytes(b"\x00\x01")
    (tmp_path / "fine.md").write_text("Wool is washed by hand.")
    told = run("ingest", "--estimate", "odd.bin", "fine.md")
    assert told.returncode == 1
    assert told.stdout.startswith("1 document, 0 of them unchanged; 1 chunk with about ")
    assert told.stderr.startswith("odd.bin cannot be read: it is a binary file")


class Paged(Client):
    """A server that tells what it has in these pages."""

    def __init__(self, path: str, pages: Mapping[str, object]) -> None:
        self.path, self.told = path, pages

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        assert query is not None
        assert (path, query["tenant"]) == (self.path, "acme")
        return self.told[query.get("after", "")]


async def test_a_budget_that_goes_on_over_pages_is_one() -> None:
    pages = {
        "": {"budgets": [{"id": "a", "standing": [1]}, {"id": "b", "standing": [2]}], "next": "x"},
        "x": {"budgets": [{"id": "b", "standing": [3]}], "next": "y"},
        "y": {"budgets": [{"id": "c", "standing": [4]}], "next": None},
    }

    found = await all_pages(Paged("/v1/budgets", pages), {"tenant": "acme"})
    assert [(budget["id"], budget["standing"]) for budget in found] == [
        ("a", [1]),
        ("b", [2, 3]),
        ("c", [4]),
    ]


async def test_a_usage_report_of_several_pages_is_one() -> None:
    """A line that came again, since more was used meanwhile, counts as it was told last."""
    pages = {
        "": {"total": 6, "lines": [{"by": "ann", "n": 3}, {"by": "bob", "n": 2}], "next": "x"},
        "x": {"total": 7, "lines": [{"by": "bob", "n": 3}, {"by": "eve", "n": 1}], "next": None},
    }
    found = await usage_report(Paged("/v1/usage", pages), {"tenant": "acme"})
    assert found["total"] == 7
    assert {line["by"]: line["n"] for line in found["lines"]} == {"ann": 3, "bob": 3, "eve": 1}
