"""`ragstone load`, as a person runs it, against a scripted server."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.lab.load_target import scripted_server, stream_well

SHORT = ("--rate", "40", "--duration", "0.5", "--processes", "1")


@pytest.fixture
def url() -> Iterator[str]:
    """A server that answers everything well, in a thread of its own."""
    started = threading.Event()
    found: list[str] = []
    ends: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        end = asyncio.Event()
        async with scripted_server(stream_well) as server:
            found.append(server.url)
            ends.append((asyncio.get_running_loop(), end))
            started.set()
            await end.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert started.wait(60)
        yield found[0]
    finally:
        loop, end = ends[0]
        loop.call_soon_threadsafe(end.set)
        thread.join()


def test_a_run_is_told_saved_and_drawn(url: str, run: Run, tmp_path: Path) -> None:
    result = run("load", url, *SHORT, "--save", "r.json", "--html", "r.html")

    report = json.loads((tmp_path / "r.json").read_text())
    assert result.returncode == (0 if report["valid"] else 2), result.stderr
    assert report["outcomes"]["ok"] == report["requests"] > 0
    assert "offered" in result.stdout
    ElementTree.fromstring((tmp_path / "r.html").read_text().partition("\n")[2])

    again = run("load", url, *SHORT, "--against", "r.json")
    assert "goodput, answers/s" in again.stdout


def test_json_is_one_document(url: str, run: Run) -> None:
    turns = None
    while turns is None:  # on a busy machine a run may be over before its first answer
        result = run("load", url, *SHORT, "--json", "--in-order", "--turns", "2", "--think", "0.01")
        turns = json.loads(result.stdout)["later_turns"]
    assert turns["requests"] > 0


def test_a_sweep_runs_each_multiple(url: str, run: Run) -> None:
    report = json.loads(run("load", url, *SHORT, "--sweep", "2,1", "--json").stdout)
    assert [point["multiple"] for point in report["points"]] == [1, 2]


def test_a_run_whose_requests_cannot_all_be_sent_is_invalid_and_ends_with_status_2() -> None:
    """A target that takes connections and says nothing, and fewer sockets than requests."""
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40)); "
        "from ragstone.cli.main import main; sys.argv = ['ragstone', *sys.argv[1:]]; main()"
    )
    with socket.create_server(("127.0.0.1", 0), backlog=200) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        options = ("--rate", "500", "--duration", "0.2", "--deadline", "2", "--json")
        result = subprocess.run(
            [sys.executable, "-c", program, "load", url, *options],
            capture_output=True,
            text=True,
            check=False,
        )
    report = json.loads(result.stdout)
    assert report["outcomes"]["unsent"] > 0
    assert report["codes"]["no_sockets"] == report["outcomes"]["unsent"]
    assert report["valid"] is False
    assert report["reasons"]
    assert result.returncode == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("http://127.0.0.1:9",), "Nothing answers at http://127.0.0.1:9."),
        (("http://192.0.2.7",), "--i-own-this-target"),
        (("nonsense://x",), "is not the URL of a server"),
        (("127.0.0.1:9", "--shape", "spkie"), "Did you mean 'spike'?"),
        (("127.0.0.1:9", "--trace", "nowhere.csv"), "cannot be read"),
        (("127.0.0.1:9", "--questions", "empty.txt"), "There are no questions in empty.txt"),
        (("127.0.0.1:9", "--rate", "100000", "--duration", "1"), "--processes"),
        (("127.0.0.1:9", "--rate", "-1"), "cannot have a rate of -1"),
        (("127.0.0.1:9", "--sweep", "a"), "no multiples of a rate"),
        (("127.0.0.1:9", "--prices", "1"), "not two prices"),
        (("127.0.0.1:9", "--html", "nowhere/r.html"), "cannot be written"),
        (("127.0.0.1:9", "--against", "empty.txt"), "is no report of a load"),
        (("127.0.0.1:9", "--leave", "2"), "a share of 2 leaving"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    arguments: tuple[str, ...], said: str, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "empty.txt").touch()
    result = run("load", *arguments, COLUMNS="300")
    assert result.returncode == 1
    assert said in result.stderr
    assert "Traceback" not in result.stderr
