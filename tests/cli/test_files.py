"""Which files `ingest` takes, how it names them, and that a bad one is left out alone."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from ragstone.cli.files import select_files
from ragstone.cli.ingestion import Outcome, _batches
from ragstone.domain.errors import InvalidRequest
from tests.cli.conftest import Run


def written(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"# {folder.name} {name}\n\nText of {folder.name}/{name}.\n")
    return folder


def names_of(*paths: Path) -> list[str]:
    return [name for name, _ in select_files(list(paths)).files]


def test_of_one_folder_names_are_relative_and_of_several_they_begin_with_the_folder(
    tmp_path: Path,
) -> None:
    a = written(tmp_path / "a", "readme.md", "deep/er.md", ".hidden", ".git/config")
    b = written(tmp_path / "b", "readme.md")
    assert names_of(a) == ["deep/er.md", "readme.md"]
    assert names_of(a, b) == ["a/deep/er.md", "a/readme.md", "b/readme.md"]
    assert names_of(a / "readme.md", b) == ["readme.md", "b/readme.md"]


def test_two_files_of_one_name_are_refused_naming_both(tmp_path: Path) -> None:
    first = written(tmp_path / "x" / "docs", "readme.md")
    second = written(tmp_path / "y" / "docs", "readme.md")
    with pytest.raises(InvalidRequest) as caught:
        select_files([first, second])
    assert str(first / "readme.md") in caught.value.message
    assert str(second / "readme.md") in caught.value.message
    with pytest.raises(InvalidRequest):
        select_files([first / "readme.md", second / "readme.md"])


def test_a_file_given_twice_is_taken_once(tmp_path: Path) -> None:
    a = written(tmp_path / "a", "readme.md", "more.md")
    assert names_of(a, a) == ["a/more.md", "a/readme.md"]
    assert names_of(a / "more.md", a / "more.md") == ["more.md"]


def test_an_empty_folder_and_an_absent_path_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no files in"):
        select_files([tmp_path])
    with pytest.raises(InvalidRequest, match="no file or folder"):
        select_files([tmp_path / "absent"])


def test_folders_with_equal_file_names_lose_nothing(run: Run, tmp_path: Path) -> None:
    written(tmp_path / "a", "readme.md")
    written(tmp_path / "b", "readme.md")
    taken = run("ingest", "a", "b")
    assert taken.returncode == 0
    assert "2 added, 0 changed" in taken.stdout


def test_files_that_cannot_be_read_or_sent_are_named_and_the_others_go_on(
    run: Run, tmp_path: Path
) -> None:
    folder = written(tmp_path / "docs", "good.md", 'say "hello".md', "line\nbreak.md")
    (folder / "dangling.md").symlink_to(folder / "absent.md")
    # Reading one's own memory from its start is an input/output error for everybody.
    (folder / "broken.md").symlink_to("/proc/self/mem")
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.md")).write_text("Coffee.")
    taken = run("ingest", "docs", "--json")
    assert taken.returncode == 1
    assert "Traceback" not in taken.stderr
    outcome = json.loads(taken.stdout)
    assert (outcome["added"], outcome["failed"]) == (2, 4)
    assert {error["code"] for error in outcome["errors"]} == {"unreadable"}
    assert {error["external_id"] for error in outcome["errors"]} == {
        "dangling.md",
        "broken.md",
        "line\\nbreak.md",
        "caf\\xe9.md",
    }
    rows = json.loads(run("documents", "list", "--json").stdout)
    assert {row["external_id"] for row in rows} == {"good.md", 'say "hello".md'}


def test_a_file_that_goes_between_finding_and_reading_is_named(tmp_path: Path) -> None:
    folder = written(tmp_path / "docs", "gone.md", "kept.md")
    selection = select_files([folder])
    (folder / "gone.md").unlink()
    outcome = Outcome()

    async def read() -> list[str]:
        return [name async for batch in _batches(selection, outcome) for name, _ in batch]

    assert asyncio.run(read()) == ["kept.md"]
    assert [error["external_id"] for error in outcome.refused] == ["gone.md"]
