"""A client that leaves ends the work that was for it, also before a first byte was sent."""

import asyncio
from types import TracebackType

from starlette.requests import ClientDisconnect
from starlette.types import Receive


class Client:
    """Who waits for a response."""

    __slots__ = ("_receive", "gone")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.gone = False
        """They left, or were given up. A cancellation without it is the server's stop."""

    def listening(self) -> "_Listening":
        """Cancels what runs inside when the client leaves, and raises `ClientDisconnect`.

        The request's body must have been read. All runs in the task of the caller, so that
        timeouts and cancellations inside of generators meet the task that began them.
        """
        return _Listening(self, self._receive)


class _Listening:
    """A class, not a generator, and listening only once the loop runs again: around a cached
    answer, which waits for nothing, it costs next to nothing."""

    __slots__ = ("_before", "_client", "_left", "_receive", "_starting", "_task", "_watching")

    def __init__(self, client: Client, receive: Receive) -> None:
        self._client = client
        self._receive = receive
        self._watching: asyncio.Task[None] | None = None
        self._left = False

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._before = task.cancelling()
        self._starting = asyncio.get_running_loop().call_soon(self._start)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._starting.cancel()
        if self._watching is not None:
            self._watching.remove_done_callback(self._end)
            self._watching.cancel()
        if (
            kind is not None
            and issubclass(kind, asyncio.CancelledError)
            and self._left
            and self._task.uncancel() <= self._before
        ):
            raise ClientDisconnect from None

    def _start(self) -> None:
        self._watching = asyncio.create_task(_until_left(self._receive))
        self._watching.add_done_callback(self._end)

    def _end(self, watching: "asyncio.Task[None]") -> None:
        if not watching.cancelled():
            self._client.gone = self._left = True
            self._task.cancel()


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
