"""Errors for programs and in the words of the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ragstone.cli.main import main


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder, not opened yet."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("RAGSTONE_EMBEDDER__PROVIDER", "fake")
    monkeypatch.setenv("RAGSTONE_HOME", str(folder))
    return folder


def status(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["ragstone", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    code = ended.value.code
    return code if isinstance(code, int) else 0


def test_with_json_an_error_is_one_object_on_standard_output(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(monkeypatch, "documents", "show", "doc_x", "--json") == 1
    printed = capsys.readouterr()
    error = json.loads(printed.out)["error"]
    assert set(error) == {"code", "message", "remedy"}
    assert error["code"] == "unknown_document"
    assert printed.err == ""


def test_a_program_is_not_asked_whether_it_is_sure(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(monkeypatch, "collections", "delete", "help", "--json") == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["code"], error["remedy"]) == ("invalid_request", "Add --yes.")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["documents", "show", "doc_x"], "ragstone documents list"),
        (["documents", "delete", "doc_x"], "ragstone documents list"),
        (["keys", "revoke", "key_x"], "ragstone keys list"),
    ],
)
def test_remedies_name_commands_and_not_paths(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    named: str,
) -> None:
    assert status(monkeypatch, *arguments) == 1
    printed = capsys.readouterr().err
    assert f"`{named}`" in printed
    assert "/v1/" not in printed


def test_a_question_where_no_data_folder_is_makes_none(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home.rmdir()
    for command in (["ask", "x"], ["search", "x"], ["collections", "list"], ["keys", "list"]):
        assert status(monkeypatch, *command) == 1
        printed = capsys.readouterr().err
        assert "[home_missing]" in printed
        assert "ragstone init" in printed
    assert not home.exists()


@pytest.mark.parametrize(
    "command", [["ask"], ["search"], ["documents", "show"], ["ingest", ".", "--collection"]]
)
def test_an_argument_that_is_not_utf_8_is_refused_with_a_sentence(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
) -> None:
    latin = os.fsdecode(b"caf\xe9")
    assert status(monkeypatch, *command, latin) == 1
    assert r"'caf\xe9' is not UTF-8" in capsys.readouterr().err


def test_a_file_whose_name_is_not_utf_8_is_still_found(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    named = os.fsencode(home.parent) + b"/caf\xe9.md"
    Path(os.fsdecode(named)).write_text("# Coffee")
    assert status(monkeypatch, "ingest", os.fsdecode(named)) == 1
    assert "The file name is not UTF-8. Rename the file." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ask", "x", "--top-k", "0"], "'--top-k'"),
        (["search", "x", "--top-k", "101"], "'--top-k'"),
        (["serve", "--port", "65536"], "'--port'"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_the_name_of_its_option(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    assert status(monkeypatch, *arguments) == 2
    assert said in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_output_that_cannot_be_written_is_one_sentence(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "ragstone.cli", "--help"]
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            command, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert ended.returncode == 1
    assert ended.stderr == "Error: The output cannot be written: no space left on device.\n"


def test_without_a_standard_output_a_command_does_its_work(environment: dict[str, str]) -> None:
    shell = f"{sys.executable} -m ragstone.cli collections list >&-"
    ended = subprocess.run(
        shell, shell=True, env=environment, stderr=subprocess.PIPE, text=True, check=False
    )
    assert (ended.returncode, ended.stderr.count("Traceback")) == (1, 0)
    assert "home_missing" in ended.stderr


def test_an_empty_name_of_a_collection_is_not_the_default_one(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(monkeypatch, "documents", "list", "--collection", "") == 1
    assert "The name of the collection is empty" in capsys.readouterr().err
