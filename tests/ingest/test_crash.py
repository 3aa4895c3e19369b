"""Killed at any point, an ingestion ends with the same documents: none lost, none doubled."""

import json
import multiprocessing
import shutil
import signal
from collections.abc import AsyncIterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import NamedTuple

import pytest

from ragstone.domain.passage import Passage
from ragstone.domain.query import SearchRequest
from tests.ingest.crash_child import COLLECTION, OPERATOR, Steps, open_parts, run

KILLS = 24
"""Kill points, spread over the whole run."""


def canaries(document: str, version: int, sentences: int) -> str:
    """Every sentence holds the word by which all are found, and one of its own."""
    return " ".join(
        f"Canary {document}v{version}s{number} sings about the wool." for number in range(sentences)
    )


class Corpus(NamedTuple):
    before: Steps
    after: Steps
    expected: dict[str, str]
    """External id to text, at the end."""


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Processes that have imported everything before they are forked."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.ingest.crash_child"])
    return context


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Files with several documents, then changed, added, deleted, and the same again."""
    folder = tmp_path_factory.mktemp("corpus")
    first = {f"r{number}": canaries(f"r{number}", 1, 1 + number % 9) for number in range(30)}
    second = {
        name: canaries(name, 2, 2 + number % 7) if number % 3 == 0 else text
        for number, (name, text) in enumerate(first.items())
    }
    second |= {f"n{number}": canaries(f"n{number}", 1, 3) for number in range(10)}
    notes = {f"note{number}.txt": canaries(f"note{number}", 1, 12) for number in range(4)}
    changed = {"note0.txt": canaries("note0", 2, 20), "note4.txt": canaries("note4", 1, 5)}
    before = [_jsonl(folder / "before" / "records.jsonl", first)]
    before += [_text(folder / "before" / name, text) for name, text in notes.items()]
    after = [_jsonl(folder / "after" / "records.jsonl", second)]
    after += [("delete", "r0"), ("delete", "n9"), ("delete", "note1.txt")]
    after += [_text(folder / "after" / name, text) for name, text in changed.items()]
    after += [_text(folder / "again" / "note2.txt", notes["note2.txt"])]
    after += [_jsonl(folder / "after" / "last.jsonl", {"r3": canaries("r3", 3, 4)})]
    expected = {**second, **notes, **changed, "r3": canaries("r3", 3, 4)}
    for name in ("r0", "note1.txt"):
        del expected[name]
    return Corpus(before, after, expected)


@pytest.fixture(scope="module")
def prepared(
    corpus: Corpus, processes: ForkServerContext, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, int]:
    """A home with the first state of the corpus, and the kill points on the way to the second."""
    home = tmp_path_factory.mktemp("crash") / "prepared"
    home.mkdir()
    assert _child(processes, home, corpus.before, None) == 0
    (home / "journal").unlink()
    trial = home.with_name("trial")
    shutil.copytree(home, trial)
    assert _child(processes, trial, corpus.after, None) == 0
    return home, int((trial / "points").read_text())


@pytest.fixture
def home(prepared: tuple[Path, int], tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared[0], tmp_path / "home"))


@pytest.mark.parametrize("kill", range(KILLS))
async def test_killed_once_it_ends_with_the_same_documents(
    kill: int,
    home: Path,
    corpus: Corpus,
    prepared: tuple[Path, int],
    processes: ForkServerContext,
) -> None:
    at = 1 + kill * (prepared[1] - 1) // (KILLS - 1)
    exit_code = _child(processes, home, corpus.after, at)
    assert exit_code in (-signal.SIGKILL, 0)  # batches differ from run to run, by a few calls
    await require_whole_versions(home)
    assert _child(processes, home, corpus.after, None) == 0
    await require_expected(home, corpus.expected)


async def test_killed_again_and_again_it_ends_with_the_same_documents(
    home: Path, corpus: Corpus, processes: ForkServerContext
) -> None:
    # A job may be running in two crashes; each run therefore comes further than the one before.
    for at in (9, 23):
        assert _child(processes, home, corpus.after, at) == -signal.SIGKILL
        await require_whole_versions(home)
    assert _child(processes, home, corpus.after, None) == 0
    await require_expected(home, corpus.expected)


def _jsonl(file: Path, texts: dict[str, str]) -> tuple[str, str]:
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps({"id": name, "text": text}) for name, text in texts.items())
    file.write_text("\n".join(lines), encoding="utf-8")
    return "submit", str(file)


def _text(file: Path, text: str) -> tuple[str, str]:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return "submit", str(file)


def _child(processes: ForkServerContext, home: Path, steps: Steps, kill_at: int | None) -> int:
    process = processes.Process(target=run, args=(home, steps, kill_at))
    process.start()
    process.join(500)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError("the ingestion did not come to an end")
    code: int = process.exitcode
    process.close()
    return code


async def _passages(home: Path) -> AsyncIterator[tuple[str, list[Passage]]]:
    """Every document in the index with its passages in order."""
    records, index = open_parts(home)
    request = SearchRequest(collection=COLLECTION, mode="lexical", text="canary", limit=2000)
    found: dict[str, list[Passage]] = {}
    for passage in (await index.search(OPERATOR, request)).passages:
        found.setdefault(passage.external_id, []).append(passage)
    await index.close()
    await records.close()
    for name, passages in found.items():
        yield name, sorted(passages, key=lambda passage: (passage.version, passage.ordinal))


async def require_whole_versions(home: Path) -> None:
    """Right after the kill: each document in one version, with all of its chunks."""
    async for name, passages in _passages(home):
        assert len({passage.version for passage in passages}) == 1, name
        assert [passage.ordinal for passage in passages] == list(range(len(passages))), name


async def require_expected(home: Path, expected: dict[str, str]) -> None:
    """Records and index hold just the expected documents, and nothing is left to do."""
    found = {name: passages async for name, passages in _passages(home)}
    texts = {
        name: " ".join(passage.text for passage in passages) for name, passages in found.items()
    }
    assert texts == expected
    records, index = open_parts(home)
    documents = await records.documents("acme", COLLECTION, limit=1000)
    assert sorted(document.external_id for document in documents) == sorted(expected)
    for document in documents:
        passages = found[document.external_id]
        assert await records.document_text("acme", document.id) == expected[document.external_id]
        assert {passage.version for passage in passages} == {document.version}
        assert len(passages) == document.chunk_count
    collection = await records.collection("acme", COLLECTION)
    assert collection is not None
    assert collection.document_count == len(documents)
    assert collection.chunk_count == sum(document.chunk_count for document in documents)
    assert await records.unfinished_jobs() == []
    assert await records.tombstones() == []
    assert {job.state for job in await records.jobs("acme")} == {"done"}
    await index.close()
    await records.close()
