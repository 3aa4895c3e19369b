"""Commands that meet on one data folder: they wait for one another, and carry one another."""

import asyncio
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ragstone.cli.connection import connect
from ragstone.domain.errors import HomeLocked, HomeMissing, RagstoneError, StartupError
from ragstone.home import ServerInfo, open_home
from ragstone.processes.patience import Patience, home_for_itself, patiently
from tests.clock import VirtualClock


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGSTONE_EMBEDDER__PROVIDER", "fake")


def patience(on_sleep: Callable[[int], None] = lambda count: None) -> tuple[Patience, list[float]]:
    """Virtual time; `on_sleep` is told the number of each sleep."""
    clock, slept = VirtualClock(), list[float]()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.advance(seconds)
        on_sleep(len(slept))

    return Patience(clock=clock, sleep=sleep), slept


async def test_what_passes_is_tried_again_for_ten_seconds_and_then_raised() -> None:
    async def attempt() -> None:
        raise HomeLocked("Locked.")

    waiting, slept = patience()
    with pytest.raises(HomeLocked):
        await patiently(attempt, lambda error: True, waiting)
    assert sum(slept) == pytest.approx(10, abs=0.2)
    waiting, slept = patience()
    with pytest.raises(HomeLocked):
        await patiently(attempt, lambda error: False, waiting)
    assert slept == []


async def test_a_command_waits_until_the_other_has_left_the_folder(tmp_path: Path) -> None:
    other = open_home(tmp_path / "home")
    waiting, slept = patience(lambda count: other.close() if count == 2 else None)
    async with connect(tmp_path / "home", patience=waiting) as client:
        assert (await client.get("/v1/collections"))["collections"] == []
    assert len(slept) == 2


async def test_a_command_waits_while_the_published_server_is_just_stopping(tmp_path: Path) -> None:
    other = open_home(tmp_path / "home")
    other.publish_server(ServerInfo(pid=other_pid(), socket=str(tmp_path / "gone"), token="t"))
    waiting, slept = patience(lambda count: other.close())
    async with connect(tmp_path / "home", patience=waiting) as client:
        await client.get("/v1/collections")
    assert len(slept) == 1


async def test_a_folder_that_a_server_has_is_not_waited_for(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        home = stack.enter_context(open_home(tmp_path))
        home.publish_server(ServerInfo(pid=other_pid(), url="http://127.0.0.1:1", token="t"))
        waiting, slept = patience()
        with pytest.raises(HomeLocked):
            await home_for_itself(tmp_path, stack, waiting)
        assert slept == []


async def test_a_commands_own_server_stays_for_the_commands_that_work_through_it(
    tmp_path: Path,
) -> None:
    finished: list[str] = []
    both_connected, first_is_done = asyncio.Event(), asyncio.Event()

    async def short() -> None:
        async with connect(tmp_path / "home", create=True) as client:
            await both_connected.wait()
            await client.get("/v1/collections")
            first_is_done.set()
        finished.append("short")

    async def long() -> None:
        async with connect(tmp_path / "home") as client:
            both_connected.set()
            await first_is_done.wait()
            for _ in range(20):
                await client.get("/v1/collections")
        finished.append("long")

    first = asyncio.create_task(short())
    while not (tmp_path / "home" / "server.json").exists():
        await asyncio.sleep(0)
        if first.done():
            break
    await asyncio.gather(first, long())
    assert finished == ["long", "short"]


async def test_a_command_that_reads_makes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(HomeMissing) as caught:
        async with connect(tmp_path / "home"):
            pass
    assert "--home" in str(caught.value)
    assert "ragstone init" in str(caught.value)
    assert not (tmp_path / "home").exists()


async def test_a_deep_temporary_folder_is_not_too_long_for_the_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    async with connect(tmp_path / "home", create=True) as client:
        await client.get("/v1/collections")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    with pytest.raises(StartupError, match="TMPDIR"):
        async with connect(tmp_path / "home"):
            pass


async def test_a_key_in_the_environment_is_sent_instead_of_the_local_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect(tmp_path / "home", create=True) as operator:
        key = await operator.post("/v1/keys", {"scopes": ["ask"]})
        monkeypatch.setenv("RAGSTONE_API_KEY", key["secret"])
        async with connect(tmp_path / "home") as client:
            assert (await client.get("/v1/collections"))["collections"] == []
            with pytest.raises(RagstoneError) as caught:
                await client.get("/v1/keys")
            assert caught.value.code == "forbidden"
        monkeypatch.setenv("RAGSTONE_API_KEY", "line\nbreak")
        with pytest.raises(RagstoneError, match="RAGSTONE_API_KEY"):
            async with connect(tmp_path / "home"):
                pass


def other_pid() -> int:
    """Locks are held for open files, so this process can stand for another one."""
    return os.getpid()
