"""How much memory request bodies may take while they come in.

Admission counts a request once its body is there. Before that, a client may send all but the
last byte and wait, on as many connections as it likes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ragstone.domain.errors import Overloaded

_RETRY_SECONDS: Final = 1.0


class BodyRoom:
    """The bytes of all bodies that are being read, or read and not yet decoded."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held = 0
        """Bytes that are spoken for."""

    @contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """Room for `size` bytes while the context lasts. Raises `Overloaded` where there is none.

        A body that is alone always has room: its own limit decides about it.
        """
        if self.held and self.held + size > self._limit:
            raise Overloaded(
                "The server is reading as many request bodies as it has room for.",
                remedy="Send the request again in a moment; raise server.max_bodies_bytes where "
                "there is memory for more.",
                retry_after=_RETRY_SECONDS,
            )
        self.held += size
        try:
            yield
        finally:
            self.held -= size


class BodyRooms:
    """Those of one process. Documents have their own: slow uploads keep no question out."""

    def __init__(self, limit: int) -> None:
        self.bodies = BodyRoom(limit)
        self.documents = BodyRoom(limit)
