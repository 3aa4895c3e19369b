"""Bounded retries of a dependency that may heal."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from ragstone.domain.errors import RagstoneError

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """Waits between attempts, in seconds; then the last error is the caller's."""

    delays: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 6.0, 10.0)
    """About twenty seconds in all: a restart of a dependency, not an outage."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def call(self, action: Callable[[], Awaitable[_T]], *, what: str) -> _T:
        """The action's result. Only errors that say `retriable` are tried again, and never
        before their `retry_after`."""
        for delay in self.delays:
            try:
                return await action()
            except RagstoneError as error:
                if not error.retriable or (error.retry_after or 0) > self.delays[-1]:
                    raise
                wait = max(delay, error.retry_after or 0)
                _log.warning("%s failed (%s); again in %.1f s", what, error.code, wait)
            await self.sleep(wait)
        return await action()
