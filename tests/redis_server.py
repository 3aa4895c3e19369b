"""A Redis server of the tests' own, on a free port of this machine."""

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis


@contextmanager
def redis_server(*options: str) -> Iterator[str]:
    """Its address. Skips the test where there is none, but in CI there must be."""
    program = shutil.which("valkey-server") or shutil.which("redis-server")
    if program is None:
        if os.environ.get("CI"):
            raise FileNotFoundError("Neither valkey-server nor redis-server is installed.")
        pytest.skip("neither valkey-server nor redis-server is installed")
    folder = tempfile.mkdtemp(prefix="ragstone-redis-")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = ["--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""]
    with (Path(folder) / "log").open("wb") as log:
        process = subprocess.Popen([program, *own, *options], stdout=log, stderr=log)
    try:
        _wait_for(port, process)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    with redis.Redis(port=port) as client:
        while process.poll() is None:
            try:
                client.ping()
            except redis.ConnectionError:
                time.sleep(0.01)
            else:
                return
    raise RuntimeError("The Redis server ended at once.")


async def garbage_server(reply: bytes) -> tuple[asyncio.Server, str]:
    """Answers everything with `reply`; and its address."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            writer.write(reply)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    return server, f"redis://127.0.0.1:{port}/0"
