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
from redis.backoff import NoBackoff
from redis.retry import Retry


@contextmanager
def redis_server(*options: str) -> Iterator[str]:
    """Its address. Skips the test where there is none, but in CI there must be."""
    program = shutil.which("valkey-server") or shutil.which("redis-server")
    if program is None:
        if os.environ.get("CI"):
            raise FileNotFoundError("Neither valkey-server nor redis-server is installed.")
        pytest.skip("neither valkey-server nor redis-server is installed")
    folder = Path(tempfile.mkdtemp(prefix="ragstone-redis-"))
    own = ["--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    try:
        with _started([program, *own, *options], folder / "log") as port:
            yield f"redis://127.0.0.1:{port}/0"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _started(command: list[str], log: Path) -> Iterator[int]:
    """Its port: until it listens somebody else may take the one that was free, then it is another
    one's turn."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        with log.open("wb") as file:
            process = subprocess.Popen([*command, "--port", str(port)], stdout=file, stderr=file)
        try:
            if _answers(port, process):
                yield port
                return
        finally:
            process.kill()
            process.wait()
        if "in use" not in (said := log.read_text(errors="replace")):
            raise RuntimeError(f"The Redis server ended at once: {said}")


def _answers(port: int, process: "subprocess.Popen[bytes]") -> bool:
    """Whether it does, and not another one at the same port; once it does, or has ended."""
    once = Retry(NoBackoff(), 0)
    with redis.Redis(port=port, socket_timeout=1, retry=once) as client:
        while process.poll() is None:
            try:
                if client.info("server")["process_id"] == process.pid:
                    return True
            except redis.RedisError:
                pass
            time.sleep(0.01)
    return False


async def garbage_server(reply: bytes) -> tuple[asyncio.Server, str]:
    """Answers everything with `reply`; and its address."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            writer.write(reply)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    return server, f"redis://127.0.0.1:{port}/0"
