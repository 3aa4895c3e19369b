"""A signal to stop ends the server in order: what was open is closed, what was left is gone."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragstone.domain.errors import InsecureBind, StartupError
from ragstone.server.run import check_bind
from tests.server.conftest import Running


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAGSTONE_")}
    more = {"RAGSTONE_EMBEDDER__PROVIDER": "fake", "RAGSTONE_HOME": str(tmp_path / "home")}
    with subprocess.Popen(
        [sys.executable, "-m", "ragstone.cli", "serve", "--port", "0"],
        cwd=tmp_path,
        env={**kept, **more},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        url = ""
        while not url:
            line = process.stderr.readline()
            assert line, "the server ended before it served"
            found = re.search(r"serves (http://\S+)", line)
            url = found.group(1) if found else ""
        try:
            yield process, url
        finally:
            process.kill()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_the_server_in_order(
    served: tuple["subprocess.Popen[str]", str], tmp_path: Path, number: int, status: int
) -> None:
    process, url = served
    with urllib.request.urlopen(f"{url}/health/live") as response:
        assert response.status == 200
    assert (tmp_path / "home" / "server.json").exists()
    process.send_signal(number)
    assert process.wait(timeout=60) == status
    assert not (tmp_path / "home" / "server.json").exists()


@pytest.mark.parametrize("host", ["no such host", "x" * 70])
async def test_an_unknown_host_is_called_unknown_not_insecure(server: Running, host: str) -> None:
    with pytest.raises(StartupError, match="no host") as refused:
        await check_bind(server.system, host)
    assert not isinstance(refused.value, InsecureBind)
