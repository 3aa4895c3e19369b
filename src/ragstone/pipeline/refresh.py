"""Answers that are about to expire are made anew in the background, before anybody waits for it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog

from ragstone.domain.errors import RagstoneError

MOST_AT_ONCE: Final = 4
"""In a process; the next request for an answer tries again."""

_log = structlog.get_logger("ragstone.cache")


class Refreshes:
    """Those under way in one process, one for each key."""

    def __init__(self, *, most: int = MOST_AT_ONCE) -> None:
        self._most = most
        self._tasks: dict[bytes, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def begin(self, key: bytes, work: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Runs `work` by itself, unless it is under way or there is no room for it."""
        if key in self._tasks or len(self._tasks) >= self._most:
            return False
        self._tasks[key] = asyncio.create_task(self._run(key, work))
        return True

    async def close(self) -> None:
        """Ends those under way."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()

    async def _run(self, key: bytes, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
        except RagstoneError as error:  # the kept answer lives on until it expires
            _log.info("not refreshed", code=error.code)
        except Exception:
            _log.exception("unexpected")
        finally:
            self._tasks.pop(key, None)
