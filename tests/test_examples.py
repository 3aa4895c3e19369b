"""The examples run as a newcomer runs them, against a real server in another process."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ragstone.sample import write_corpus
from tests.conftest import UNHURRIED

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
_RAGSTONE = [sys.executable, "-m", "ragstone.cli"]


@dataclass(frozen=True)
class Server:
    url: str
    environment: dict[str, str]
    sample: Path


def _environment(home: Path) -> dict[str, str]:
    """Nothing of the caller's settings; an embedder that needs no model."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAGSTONE_")}
    return {**kept, **UNHURRIED, "RAGSTONE_EMBEDDER__PROVIDER": "fake", "RAGSTONE_HOME": str(home)}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With a little of the sample corpus in the collections `help` and `products`."""
    folder = tmp_path_factory.mktemp("examples")
    environment = _environment(folder / "home")
    write_corpus(folder / "sample", products=60)
    process = subprocess.Popen(
        [*_RAGSTONE, "serve", "--port", "0"],
        env={**environment, "RAGSTONE_RETRIEVAL__DEFAULT_COLLECTION": "help"},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        cwd=folder,
    )
    assert process.stderr is not None
    try:
        url = next(line.split()[2] for line in process.stderr if "Ragstone serves " in line)
        sample = folder / "sample"
        for collection, path in (
            ("help", sample / "help" / "shipping"),
            ("products", sample / "products"),
        ):
            subprocess.run(
                [*_RAGSTONE, "ingest", str(path), "--collection", collection],
                env=environment,
                check=True,
                capture_output=True,
                cwd=folder,
            )
        yield Server(url, environment, sample)
    finally:
        process.kill()
        process.communicate()


def _run(server: Server, example: str, *arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, str(EXAMPLES / example), *arguments],
        env=server.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("example", ["01_ask.py", "02_openai_client.py"])
def test_an_answer_streams_in_with_its_citations(server: Server, example: str) -> None:
    printed = _run(server, example, "--url", server.url)
    answer, _, citations = printed.partition("\n\n")
    assert "[1]" in answer
    assert citations.startswith("[1] Click and collect: ")


def test_a_folder_is_uploaded_and_found(server: Server) -> None:
    folder = str(server.sample / "help" / "care")
    printed = _run(server, "03_ingest_folder.py", folder, "--url", server.url)
    assert "done             linen.md" in printed.splitlines()
    assert "failed" not in printed
    asked = ("How do I wash linen?", "--collection", "handbook", "--url", server.url)
    assert "Linen" in _run(server, "01_ask.py", *asked)


def test_filters_leave_out_what_does_not_fit(server: Server) -> None:
    printed = _run(server, "04_filters.py", "--url", server.url)
    rows = [line.split()[1:3] for line in printed.splitlines()]
    assert rows
    assert all(float(price) <= 150 and pattern != "floral" for price, pattern in rows)


def test_a_key_sees_what_its_groups_may_read(server: Server) -> None:
    printed = _run(server, "05_access_groups.py").splitlines()
    customer, colleague = (line.partition(": ")[2] for line in printed)
    assert "18:30" not in customer
    assert "18:30" in colleague


def test_load_is_answered(server: Server) -> None:
    printed = _run(server, "06_load_test.py", "--url", server.url, "--rate", "5", "--seconds", "2")
    assert "offered" in printed
    assert "error" not in printed


def test_every_example_has_a_test() -> None:
    here = Path(__file__).read_text(encoding="utf-8")
    assert [path.name for path in EXAMPLES.glob("[0-9]*") if f'"{path.name}"' not in here] == []
