"""A request's body that knows when it was sent.

Between asking and that moment lie turns of our own event loop: for a place in the pool, for a
connection, for the write. Under load they are late, and a model must not be blamed for it.
"""

from collections.abc import Callable

import aiohttp
from aiohttp.abc import AbstractStreamWriter


class SentBody(aiohttp.BytesPayload):
    """JSON that is posted."""

    def __init__(self, body: bytes, now: Callable[[], float]) -> None:
        """`now` is a monotonic clock, in seconds."""
        super().__init__(body, content_type="application/json")
        self._now = now
        self._sent_at: float | None = None

    def ago(self) -> float | None:
        """Seconds since the whole of it was written; None before that."""
        return None if self._sent_at is None else self._now() - self._sent_at

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        await super().write_with_length(writer, content_length)
        self._sent_at = self._now()
