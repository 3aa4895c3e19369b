"""Programs under test and around it, each in a process of its own."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from ragstone.domain.errors import InvalidExperiment

_START_SECONDS: Final = 300.0
"""On a machine that does much else a start takes more than a minute."""
_STOP_SECONDS: Final = 30.0


class Program:
    """One `ragstone` command in the background."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, first_line: str) -> None:
        self.name = name
        self.process = process
        self.first_line = first_line

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.returncode is None

    def send(self, number: signal.Signals) -> None:
        if self.running:
            self.process.send_signal(number)

    async def ended(self) -> int:
        """Waits for it. Raises `TimeoutError`."""
        async with asyncio.timeout(_STOP_SECONDS):
            return await self.process.wait()

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL when that is not enough."""
        self.send(signal.SIGTERM)
        try:
            await self.ended()
        except TimeoutError:
            self.send(signal.SIGKILL)
            await self.process.wait()


async def start(
    name: str, arguments: Sequence[str], *, environment: Mapping[str, str], log: Path
) -> Program:
    """Runs `ragstone ARGUMENTS` and waits for its first line; its errors go to `log`.

    Raises `InvalidExperiment` when it ends instead.
    """
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ragstone.cli", *arguments,
            stdout=asyncio.subprocess.PIPE, stderr=errors, env=dict(environment),
        )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_START_SECONDS):
            line = await process.stdout.readline()
    except TimeoutError:
        line = b""
    if not line.startswith((b"{", b"http")) or b'"error"' in line:
        if process.returncode is None:
            process.kill()
        await process.wait()
        said = line.decode() or _end_of(log)
        raise InvalidExperiment(f"{name} did not start: {said.strip()}")
    return Program(name, process, line.decode().strip())


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-500:]


def clean_environment(settings: Mapping[str, Mapping[str, object]]) -> dict[str, str]:
    """Nothing of the caller's settings, and these instead, by group and name."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAGSTONE_")}
    for group, values in settings.items():
        for name, value in values.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            kept[f"RAGSTONE_{group}__{name}".upper()] = text
    return kept
