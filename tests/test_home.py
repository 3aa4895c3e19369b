"""The data folder is one process's at a time, and says so to the others."""

import errno
import multiprocessing
import multiprocessing.connection
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ragstone import home as home_module
from ragstone.domain.errors import HomeLocked, HomeNotWritable, HomeTooNew, StartupError
from ragstone.home import FORMAT, Home, ServerInfo, open_home, read_server

HOLDER = """
import os, sys
from pathlib import Path
from ragstone.home import ServerInfo, open_home
home = open_home(Path(sys.argv[1]))
if sys.argv[2] == "serve":
    home.publish_server(ServerInfo(pid=os.getpid(), url="http://127.0.0.1:8123", token="t"))
print("ready", flush=True)
sys.stdin.read()
home.close()
"""


@contextmanager
def holder(path: Path, role: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the folder open; it lets go when its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), role],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def test_a_new_home_is_private_and_complete(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "home"
    with open_home(path) as home:
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert (path / "VERSION").read_text() == f"{FORMAT}\n"
        assert home.records == path / "records.sqlite3"
        assert home.index.is_dir()
        assert home.tmp.is_dir()


def test_a_home_has_a_name_of_its_own_that_stays(tmp_path: Path) -> None:
    names = []
    for folder in ("one", "one", "other"):
        with open_home(tmp_path / folder) as home:
            names.append(home.installation)
    assert names[0] == names[1] != names[2]
    (tmp_path / "one" / "installation").write_bytes(b"\xff../..")
    with open_home(tmp_path / "one") as home:
        assert home.installation not in (names[0], "../..")


def test_a_home_can_be_opened_again_after_it_was_closed(tmp_path: Path) -> None:
    for _ in range(2):
        with open_home(tmp_path / "home") as home:
            home.close()


def test_a_second_process_is_told_which_server_has_the_home(tmp_path: Path) -> None:
    path = tmp_path / "home"
    with holder(path, "serve") as process:
        with pytest.raises(HomeLocked) as caught:
            open_home(path)
        assert str(process.pid) in caught.value.message
        assert "http://127.0.0.1:8123" in caught.value.message
        assert caught.value.remedy


def test_a_second_process_is_told_which_command_has_the_home(tmp_path: Path) -> None:
    path = tmp_path / "home"
    with holder(path, "work") as process:
        with pytest.raises(HomeLocked, match=f"process {process.pid}"):
            open_home(path)
        assert read_server(path) is None


def test_the_same_process_cannot_open_a_home_twice(tmp_path: Path) -> None:
    with (
        open_home(tmp_path / "home"),
        pytest.raises(HomeLocked, match=str(os.getpid())),
    ):
        open_home(tmp_path / "home")


def test_commands_find_the_running_server_and_only_while_it_runs(tmp_path: Path) -> None:
    path = tmp_path / "home"
    info = ServerInfo(pid=os.getpid(), url="http://127.0.0.1:1", token="secret")
    assert read_server(path) is None
    with open_home(path) as home:
        assert read_server(path) is None
        home.publish_server(info)
        assert read_server(path) == info
        assert stat.S_IMODE((path / "server.json").stat().st_mode) == 0o600
    assert read_server(path) is None
    assert not (path / "server.json").exists()


def test_what_a_killed_server_left_behind_is_ignored_and_then_removed(tmp_path: Path) -> None:
    path = tmp_path / "home"
    with holder(path, "serve") as process:
        assert read_server(path) is not None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (path / "server.json").exists()
    assert read_server(path) is None
    with open_home(path):
        assert not (path / "server.json").exists()


def test_a_stale_address_is_not_taken_for_that_of_the_present_holder(tmp_path: Path) -> None:
    path = tmp_path / "home"
    with holder(path, "serve") as process:
        stale = (path / "server.json").read_bytes()
        process.kill()
        process.wait()
    with open_home(path):
        (path / "server.json").write_bytes(stale)
        assert read_server(path) is None


def test_a_damaged_address_file_is_no_server(tmp_path: Path) -> None:
    with open_home(tmp_path) as home:
        home.publish_server(ServerInfo(pid=os.getpid(), socket="/run/x", token="t"))
        (tmp_path / "server.json").write_text("{")
        assert read_server(tmp_path) is None


def test_a_forked_worker_does_not_keep_the_lock_of_a_dead_parent(tmp_path: Path) -> None:
    home = open_home(tmp_path / "home")
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe()
    worker = context.Process(target=_close_and_wait, args=(home, theirs))
    worker.start()
    try:
        assert mine.recv() == "closed"
        with pytest.raises(HomeLocked):
            open_home(tmp_path / "home")
        home.close()
        open_home(tmp_path / "home").close()
    finally:
        mine.send("end")
        worker.join()
        mine.close()
        theirs.close()


def _close_and_wait(home: Home, pipe: multiprocessing.connection.Connection) -> None:
    home.close()
    pipe.send("closed")
    pipe.recv()


def test_a_home_of_a_later_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "VERSION").write_text(f"{FORMAT + 1}\n")
    with pytest.raises(HomeTooNew, match=f"format {FORMAT + 1}") as caught:
        open_home(tmp_path)
    assert caught.value.code == "home_too_new"
    assert "Upgrade" in (caught.value.remedy or "")
    (tmp_path / "VERSION").write_text(f"{FORMAT}\n")
    open_home(tmp_path).close()


@pytest.mark.parametrize("content", [b"", b"one", b"\xff\xfe", "²".encode()])
def test_a_damaged_version_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "VERSION").write_bytes(content)
    with pytest.raises(StartupError, match="VERSION"):
        open_home(tmp_path)


def test_a_home_under_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "home"):
        with pytest.raises(HomeNotWritable, match="not a folder"):
            open_home(path)
        assert read_server(path) is None


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_home_where_nothing_can_be_written_is_refused() -> None:
    with pytest.raises(HomeNotWritable) as caught:
        open_home(Path("/proc/ragstone-home"))
    assert caught.value.code == "home_not_writable"
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EROFS, "read-only"),
        (errno.EACCES, "denied"),
        (errno.ENOSPC, "disk is full"),
    ],
)
def test_a_failing_disk_is_named_and_the_lock_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    def refuse(path: Path) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(home_module, "_probe", refuse)
        with pytest.raises(HomeNotWritable, match=reason):
            open_home(tmp_path)
    open_home(tmp_path).close()


def test_leftovers_of_a_killed_process_are_removed_but_not_what_they_point_to(
    tmp_path: Path,
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("mine")
    with open_home(tmp_path / "home") as home:
        (home.tmp / "folder").mkdir()
        (home.tmp / "folder" / "file").write_text("")
        (home.tmp / "link").symlink_to(kept)
    with open_home(tmp_path / "home") as home:
        assert list(home.tmp.iterdir()) == []
    assert (kept / "file").read_text() == "mine"
