"""Waiting for a data folder that another command has for a moment."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ragstone.domain.clock import SystemClock
from ragstone.domain.errors import HomeLocked, RagstoneError
from ragstone.home import Home, open_home, read_server
from ragstone.ports import Clock

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to try again. Another command starts or stops within seconds."""

    seconds: float = 10.0
    pause_seconds: float = 0.1
    clock: Clock = field(default_factory=SystemClock)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


async def patiently(
    attempt: Callable[[], Awaitable[_T]],
    passing: Callable[[RagstoneError], bool],
    patience: Patience,
) -> _T:
    """The result of `attempt`, made again while it raises what `passing` says will pass.

    Raises the last error once the time is over.
    """
    end = patience.clock.monotonic() + patience.seconds
    while True:
        try:
            return await attempt()
        except RagstoneError as error:
            if not passing(error) or patience.clock.monotonic() >= end:
                raise
        await patience.sleep(patience.pause_seconds)


def held_by_command(error: RagstoneError, home: Path) -> bool:
    """Whether another command has the folder, and so for a short time; a server keeps it."""
    if not isinstance(error, HomeLocked):
        return False
    server = read_server(home)
    return server is None or server.url is None


async def home_for_itself(
    path: Path, stack: AsyncExitStack, patience: Patience | None = None
) -> Home:
    """Open the data folder, made if absent. Raises as `open_home` does."""

    async def attempt() -> Home:
        return stack.enter_context(open_home(path))

    def passing(error: RagstoneError) -> bool:
        return held_by_command(error, path)

    return await patiently(attempt, passing, patience or Patience())
