"""Answers that are about to expire are made anew in the background, before anybody waits for it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog

from ragstone.domain.errors import RagstoneError

MOST_AT_ONCE: Final = 4
"""In a process; the next request for an answer tries again."""
_TRIED: Final = 1024
"""Latest answers of which it is known that they were tried."""

_log = structlog.get_logger("ragstone.cache")


class Refreshes:
    """Those under way in one process, one for each key.

    Each kept answer is tried once. What comes of it may not be fit to be kept, and then every
    request until the end of the kept one would pay for another.
    """

    def __init__(self, *, most: int = MOST_AT_ONCE) -> None:
        self._most = most
        self._tasks: dict[bytes, asyncio.Task[None]] = {}
        self._tried: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def begin(
        self,
        key: bytes,
        work: Callable[[], Coroutine[Any, Any, None]],
        *,
        made_at: float | None = None,
    ) -> bool:
        """Runs `work` by itself, unless it is under way or there is no room for it, or the answer
        that was `made_at` that time was tried before."""
        if key in self._tasks or len(self._tasks) >= self._most:
            return False
        if made_at is not None:
            if self._tried.pop(key, None) == made_at:
                self._tried[key] = made_at
                return False
            self._tried[key] = made_at
            if len(self._tried) > _TRIED:
                del self._tried[next(iter(self._tried))]
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
