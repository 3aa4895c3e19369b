"""The commands: what they print for people and machines, and how they end."""

import json
import runpy
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from ragstone.cli.main import hoisted
from tests.cli.conftest import Run, Served

QUESTION = "Within how many days of delivery can I return items?"


def test_a_folder_is_ingested_asked_and_searched(run: Run, docs: Path) -> None:
    taken = run("ingest", str(docs))
    assert taken.returncode == 1  # one file cannot be read
    assert "2 added" in taken.stdout
    assert "latin.txt" in taken.stderr
    assert "UTF-8" in taken.stderr
    again = run("ingest", str(docs / "returns.md"), str(docs / "guides"), "--json")
    counts = json.loads(again.stdout)
    assert (again.returncode, counts["failed"]) == (0, 0)
    answer = run("ask", QUESTION)
    assert answer.returncode == 0
    assert "45 days" in answer.stdout
    assert "[1] Returns  returns.md" in answer.stdout
    found = run("search", "tumble dry wool", "-k", "1", "--json")
    assert json.loads(found.stdout)["passages"][0]["external_id"] == "guides/care.txt"
    assert "plugh" not in run("search", "secret plugh").stdout
    told = run("search", "return items", "-k", "1").stdout.splitlines()
    assert told[0].startswith("1. Returns  ")
    assert told[1] == "   Return items within 45 days of delivery."  # the heading is said once


def test_the_same_folder_again_changes_nothing(run: Run, docs: Path) -> None:
    (docs / "latin.txt").unlink()
    assert run("ingest", str(docs)).returncode == 0
    second = json.loads(run("--json", "ingest", str(docs)).stdout)
    assert (second["added"], second["changed"], second["unchanged"]) == (0, 0, 2)
    (docs / "returns.md").write_text("# Returns\n\nReturn items within 60 days.\n")
    third = json.loads(run("--json", "ingest", str(docs)).stdout)
    assert (third["changed"], third["unchanged"]) == (1, 1)
    assert "60 days" in run("ask", QUESTION).stdout


def test_documents_collections_and_keys_are_managed(run: Run, docs: Path) -> None:
    run("ingest", str(docs), "--collection", "help")
    assert "help" in run("collections", "list").stdout
    rows = json.loads(run("documents", "list", "-c", "help", "--json").stdout)
    shown = run("documents", "show", rows[0]["id"])
    assert shown.stdout.strip()
    assert run("documents", "delete", rows[0]["id"]).returncode == 0
    assert run("documents", "show", rows[0]["id"]).returncode == 1
    assert run("collections", "delete", "help", "--yes").returncode == 0
    assert "No collections yet" in run("collections", "list").stdout
    secret = run("keys", "create", "--scope", "ask", "--label", "till").stdout.strip()
    assert secret.startswith("rgs_")
    listed = run("keys", "list")
    assert "till" in listed.stdout
    assert secret not in listed.stdout
    [key] = json.loads(run("keys", "list", "--json").stdout)
    assert run("keys", "revoke", key["id"]).returncode == 0


def test_commands_work_through_the_server_that_runs_on_the_folder(
    run: Run, docs: Path, served: Served
) -> None:
    run("ingest", str(docs))
    assert "45 days" in run("ask", QUESTION).stdout
    second = run("serve", "--port", "0")
    assert second.returncode == 1
    assert "in use by process" in second.stderr
    assert served.url in second.stderr
    assert "home_locked" in second.stderr


def test_a_server_stops_in_order_when_told_to(run: Run, served: Served) -> None:
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait() in (0, -signal.SIGTERM)
    assert run("collections", "list").returncode == 0


def test_after_a_kill_nothing_acknowledged_is_missing(run: Run, docs: Path, served: Served) -> None:
    run("ingest", str(docs))
    served.process.send_signal(signal.SIGKILL)
    served.process.wait()
    assert "45 days" in run("ask", QUESTION).stdout


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["ask", "x"], "unknown_collection", "collection"),
        (["ingest", "nowhere"], "invalid_request", "nowhere"),
        (["documents", "show", "doc_x"], "unknown_document", "doc_x"),
        (["keys", "revoke", "key_x"], "not_found", "key_x"),
        (["serve", "--host", "0.0.0.0"], "insecure_bind", "keys create"),
        (["keys", "create", "--scope", "everything"], "invalid_request", "scopes"),
        (["keys", "create", "--priority", "vip"], "invalid_request", "priority"),
    ],
)
def test_a_mistake_is_one_sentence_with_what_to_do(
    run: Run, arguments: list[str], code: str, word: str, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    result = run(*arguments)
    assert result.returncode == 1
    assert f"[{code}]" in result.stderr
    assert word in result.stderr
    assert "Traceback" not in result.stderr


def test_wrong_settings_are_named(run: Run) -> None:
    result = run("ask", "x", RAGSTONE_LLM__MODLE="x")
    assert result.returncode == 1
    assert "llm.model" in result.stderr


def test_a_port_in_use_is_said(run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = run("serve", "--port", str(taken.getsockname()[1]))
    assert result.returncode == 1
    assert "[port_in_use]" in result.stderr
    assert "--port" in result.stderr


def test_a_folder_that_cannot_be_written_is_said(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    result = run("collections", "list", RAGSTONE_HOME=str(tmp_path / "file" / "home"))
    assert result.returncode == 1
    assert "[home_not_writable]" in result.stderr


def test_a_folder_of_a_later_version_is_said(run: Run, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "VERSION").write_text("999\n")
    result = run("collections", "list")
    assert result.returncode == 1
    assert "[home_too_new]" in result.stderr


def test_another_embedder_is_refused_with_an_explanation(run: Run, docs: Path) -> None:
    run("ingest", str(docs))
    result = run("ask", QUESTION, RAGSTONE_EMBEDDER__DIMENSIONS="64")
    assert result.returncode == 1
    assert "[embedder_mismatch]" in result.stderr
    assert "384" in result.stderr


def test_a_model_that_refuses_connections_is_said_beside_the_extract(run: Run, docs: Path) -> None:
    run("ingest", str(docs))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    result = run(
        "ask",
        QUESTION,
        RAGSTONE_LLM__MODEL="m",
        RAGSTONE_LLM__BASE_URL=f"http://127.0.0.1:{port}/v1",
    )
    assert result.returncode == 0
    assert "45 days" in result.stdout
    assert "model_unreachable" in result.stderr
    assert "RAGSTONE_LLM__BASE_URL" in result.stderr


def test_options_work_before_and_after_the_command() -> None:
    assert hoisted(["ask", "x", "--json"]) == ["--json", "ask", "x"]
    assert hoisted(["ask", "--home", "h", "x"]) == ["--home", "h", "ask", "x"]
    assert hoisted(["ask", "--home=h", "x"]) == ["--home=h", "ask", "x"]
    assert hoisted(["ask", "--", "--json"]) == ["ask", "--", "--json"]
    assert hoisted(["ask", "--home"]) == ["--home", "ask"]


def test_help_is_as_the_golden_file_holds_it(run: Run) -> None:
    golden = Path(__file__).parent / "golden" / "help.txt"
    tool = Path(__file__).parents[2] / "tools" / "write_help.py"
    commands = runpy.run_path(str(tool))["COMMANDS"]
    shown = [run(*filter(None, [command]), "--help").stdout for command in commands]
    assert "\n".join(shown) == golden.read_text(encoding="utf-8")


def test_help_loads_nothing_heavy(environment: dict[str, str]) -> None:
    program = (
        "import sys; sys.argv = ['ragstone', '--help']\n"
        "import contextlib\n"
        "from ragstone.cli.main import main\n"
        "with contextlib.suppress(SystemExit): main()\n"
        "heavy = {'onnxruntime', 'sqlalchemy', 'qdrant_edge', 'starlette', 'numpy', 'pydantic',"
        " 'aiohttp', 'uvicorn', 'trafilatura'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))"
    )
    import sys

    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip().endswith("LOADED []")
