"""A client that leaves ends the work that was for it, also before a first byte was sent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect
from starlette.types import Receive


class Client:
    """Who waits for a response."""

    __slots__ = ("_receive", "gone")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.gone = False
        """They left, or were given up. A cancellation without it is the server's stop."""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Cancels what runs inside when the client leaves, and raises `ClientDisconnect`.

        The request's body must have been read. All runs in the task of the caller, so that
        timeouts and cancellations inside of generators meet the task that began them.
        """
        task = asyncio.current_task()
        assert task is not None
        before = task.cancelling()
        left = False

        def end(watching: "asyncio.Task[None]") -> None:
            nonlocal left
            if not watching.cancelled():
                self.gone = left = True
                task.cancel()

        watching: asyncio.Task[None] | None = None

        def listen() -> None:
            nonlocal watching
            watching = asyncio.create_task(_until_left(self._receive))
            watching.add_done_callback(end)

        # Not before the loop runs again: what ends without waiting needs nobody to listen.
        listening = asyncio.get_running_loop().call_soon(listen)
        try:
            yield
        except asyncio.CancelledError:
            if left and task.uncancel() <= before:
                raise ClientDisconnect from None
            raise
        finally:
            listening.cancel()
            if watching is not None:
                watching.remove_done_callback(end)
                watching.cancel()


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
