"""Commands as a person runs them: in a process of their own, on a fresh data folder."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import UNHURRIED

Run = Callable[..., "subprocess.CompletedProcess[str]"]

_COMMAND = [sys.executable, "-m", "ragstone.cli"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Nothing of the caller's settings; an embedder that needs no model."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAGSTONE_")}
    return {
        **kept,
        **UNHURRIED,
        "RAGSTONE_EMBEDDER__PROVIDER": "fake",
        "RAGSTONE_HOME": str(tmp_path / "home"),
        "COLUMNS": "120",
    }


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Run:
    """Runs a command to its end."""

    def command(*arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*_COMMAND, *arguments],
            cwd=tmp_path,
            env={**environment, **more},
            capture_output=True,
            text=True,
            check=False,
        )

    return command


class Served:
    """`ragstone serve` in the background."""

    def __init__(self, process: "subprocess.Popen[str]", url: str) -> None:
        self.process = process
        self.url = url


@pytest.fixture
def served(environment: dict[str, str], tmp_path: Path) -> Iterator[Served]:
    """A server on the data folder, on a free port."""
    process = subprocess.Popen(
        [*_COMMAND, "serve", "--port", "0"],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if "Ragstone serves " in line:
                yield Served(process, line.split()[2])
                break
        else:
            pytest.fail("the server did not start")
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A folder with two good files, one that cannot be read, and a hidden one."""
    folder = tmp_path / "docs"
    (folder / "guides").mkdir(parents=True)
    (folder / "returns.md").write_text("# Returns\n\nReturn items within 45 days of delivery.\n")
    (folder / "guides" / "care.txt").write_text("Never tumble dry wool coats.\n")
    (folder / "latin.txt").write_bytes(b"caf\xe9 au lait")
    (folder / ".hidden.md").write_text("Secret plugh.")
    return folder
