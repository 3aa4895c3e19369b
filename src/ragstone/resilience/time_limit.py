"""A bound on how long something takes, which costs next to nothing where nothing is waited for."""

import asyncio
from collections.abc import Callable
from types import TracebackType


class TimeLimit:
    """`async with TimeLimit(...)` raises `error()` when what is inside takes longer.

    As `asyncio.timeout`, but the timer is set only once the loop runs again: what ends without
    waiting needs none, and a cached answer would set three of them in vain.
    """

    __slots__ = ("_before", "_error", "_expired", "_handle", "_is_set", "_loop", "_task", "_until")

    def __init__(self, seconds: float, error: Callable[[], Exception]) -> None:
        """Begins now."""
        self._loop = asyncio.get_running_loop()
        self._until = self._loop.time() + seconds
        self._error = error
        self._is_set = self._expired = False

    async def __aenter__(self) -> "TimeLimit":
        self.begin()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end(kind)

    def begin(self) -> None:
        """In the task that is to be bounded."""
        task = asyncio.current_task(self._loop)
        assert task is not None
        self._task = task
        self._before = task.cancelling()
        self._handle: asyncio.Handle = self._loop.call_soon(self._set)

    def end(self, kind: type[BaseException] | None) -> None:
        """`kind`: what ended it. Raises `error()` where that was the limit."""
        self._handle.cancel()
        # A cancellation from elsewhere, in the same moment or before, goes first.
        if (
            self._expired
            and self._task.uncancel() <= self._before
            and kind is asyncio.CancelledError
        ):
            raise self._error() from None

    def postpone(self, until: float) -> None:
        """Ends at `until`, by the loop's clock, instead."""
        self._until = until
        if self._is_set and not self._expired:
            self._handle.cancel()
            self._set()

    def _set(self) -> None:
        self._is_set = True
        self._handle = self._loop.call_at(self._until, self._expire)

    def _expire(self) -> None:
        self._expired = True
        self._task.cancel()
