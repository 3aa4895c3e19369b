"""Server-sent events with heartbeats; a client that leaves or stops reading ends the work."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Final

import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from ragstone.server.leaving import Client

ABORT: Final = "ragstone.abort"
"""The ASGI extension with which the server lets a response drop its connection."""

_HEARTBEAT: Final = b": keep-alive\n\n"
_LAST_WORD_SECONDS: Final = 1.0
"""How long a client that is behind may keep a stopping server from saying that it stops."""
_log = structlog.get_logger("ragstone.request")


class EventStream(Response):
    """Sends encoded events as they come; each item of `events` is one or more whole events.

    `opening` was taken from `events` already: closing a generator that has not begun would
    not run what it does at its end. A cancellation while `client` is not gone is the server's
    stop: it is thrown into `events`, and what they give then is sent as the last.

    A stream costs one task besides the request's own, and one timer for all of its sends: at a
    thousand streams more of either would be felt.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        *,
        heartbeat_seconds: float,
        client: Client | None = None,
        send_seconds: float = 30.0,
        opening: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(
            None,
            200,
            # A proxy that buffers would turn a stream into one late answer.
            {"Cache-Control": "no-store", "X-Accel-Buffering": "no", **(headers or {})},
        )
        del self.headers["content-length"]
        self._opening = opening
        self._events = events
        self._client = client
        self._heartbeat_seconds = heartbeat_seconds
        self._send_seconds = send_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = self._client or Client(receive)
        sending = _Sending(send, client, self._heartbeat_seconds, self._send_seconds)
        try:
            try:
                async with client.listening():
                    try:
                        await self._relay(sending)
                    except asyncio.CancelledError:
                        if client.gone:
                            raise
                        await self._say_last(sending)
            finally:
                try:
                    await sending.close()
                finally:
                    await self._events.aclose()
        except ClientDisconnect:
            return
        except asyncio.CancelledError:
            if not client.gone:  # else nobody is there to whom a stop could be said
                raise
        if sending.gave_up:
            _log.info("client stopped reading", seconds=self._send_seconds)
            await drop(scope, receive)

    async def _relay(self, sending: "_Sending") -> None:
        await sending.send(
            {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        )
        del self.raw_headers, self._headers  # not to be kept for as long as the stream lasts
        opening, self._opening = self._opening, b""  # passages: more than the rest of a stream
        if opening:
            await sending.send(_body(opening))
            del opening
        async for event in self._events:
            if event:
                await sending.send(_body(event))
        await sending.send(_END)

    async def _say_last(self, sending: "_Sending") -> None:
        """What could not be sent yet, and what the events say of the cancellation."""
        unsent = sending.unsent
        last = [] if unsent is None or unsent is _END else [unsent]
        with suppress(StopAsyncIteration, asyncio.CancelledError):
            # None from events that have ended already, whatever their type says.
            last.append(_body(await self._events.athrow(asyncio.CancelledError()) or b""))
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORD_SECONDS):
                for message in (*last, _END):
                    await sending.send(message)


class _Sending:
    """Sends, breaks long silences, and gives a client up that takes nothing for too long."""

    __slots__ = (
        "_beating",
        "_client",
        "_heartbeat_seconds",
        "_last_sent",
        "_loop",
        "_now",
        "_send",
        "_send_seconds",
        "_sending_since",
        "_task",
        "_timer",
        "gave_up",
        "unsent",
    )

    def __init__(
        self, send: Send, client: Client, heartbeat_seconds: float, send_seconds: float
    ) -> None:
        self._send = send
        self._client = client
        self._heartbeat_seconds = heartbeat_seconds
        self._send_seconds = send_seconds
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._now = self._loop.time
        self._last_sent = self._now()
        self._sending_since: float | None = None
        self._beating: asyncio.Task[None] | None = None
        self.gave_up = False
        self.unsent: Message | None = None
        """What was to be sent when the send was cancelled. The server waits before it writes,
        not after, so nothing of it was sent."""
        self._look()

    async def send(self, message: Message) -> None:
        self._last_sent = self._sending_since = self._now()
        try:
            await self._send(message)
        except asyncio.CancelledError:
            self.unsent = message
            raise
        finally:
            self._sending_since = None

    async def close(self) -> None:
        self._timer.cancel()
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)

    def _look(self) -> None:
        """One timer looks at many sends: a timer for each would cost more than the sends."""
        now = self._now()
        if self._sending_since is not None:
            pause = self._sending_since + self._send_seconds - now
            if pause <= 0:
                self._give_up()
                return
        else:
            pause = self._last_sent + self._heartbeat_seconds - now
            if pause <= 0:
                pause = self._heartbeat_seconds
                self._beating = self._loop.create_task(self._beat())
        self._timer = self._loop.call_later(min(pause, self._send_seconds), self._look)

    async def _beat(self) -> None:
        with suppress(OSError):
            await self.send(_body(_HEARTBEAT))

    def _give_up(self) -> None:
        self._client.gone = self.gave_up = True
        if self._task is not None:
            self._task.cancel()


_END: Final[Message] = {"type": "http.response.body", "body": b"", "more_body": False}


def _body(data: bytes) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": True}


async def drop(scope: Scope, receive: Receive) -> None:
    """End the connection at once, where the server lets us."""
    extension = scope.get("extensions", {}).get(ABORT)
    if extension is not None:
        extension["call"]()
        while (await receive())["type"] != "http.disconnect":
            pass
