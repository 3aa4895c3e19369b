"""A request's body that knows when it was sent.

Between asking and that moment lie turns of our own event loop: for a place in the pool, for a
connection, for the write. Under load they are late, and a model must not be blamed for it.
"""

from collections.abc import Callable

import aiohttp
from aiohttp.abc import AbstractStreamWriter


class Sending:
    """When a body was sent. Without the body, which is not to live as long as the answer."""

    __slots__ = ("_at", "_now")

    def __init__(self, now: Callable[[], float]) -> None:
        """`now` is a monotonic clock, in seconds."""
        self._now = now
        self._at: float | None = None

    def ended(self) -> None:
        self._at = self._now()

    def ago(self) -> float | None:
        """Seconds since the whole of it was written; None before that."""
        return None if self._at is None else self._now() - self._at


class SentBody(aiohttp.BytesPayload):
    """JSON that is posted."""

    def __init__(self, body: bytes, sending: Sending) -> None:
        super().__init__(body, content_type="application/json")
        self._sending = sending

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        await super().write_with_length(writer, content_length)
        self._sending.ended()
