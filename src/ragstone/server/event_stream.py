"""Server-sent events with heartbeats; a client that leaves or stops reading ends the work."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Final

import structlog
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

ABORT: Final = "ragstone.abort"
"""The ASGI extension with which the server lets a response drop its connection."""

_HEARTBEAT: Final = b": keep-alive\n\n"
_log = structlog.get_logger("ragstone.request")


class EventStream(Response):
    """Sends encoded events as they come; each item of `events` is one or more whole events.

    `opening` was taken from `events` already: closing a generator that has not begun would
    not run what it does at its end.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        *,
        heartbeat_seconds: float,
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
        self._heartbeat_seconds = heartbeat_seconds
        self._send_seconds = send_seconds
        self._last_sent = 0.0
        self._sending_since: float | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._now = asyncio.get_running_loop().time
        self._last_sent = self._now()
        pump = asyncio.create_task(self._pump(send))
        beat = asyncio.create_task(self._watch(send))
        left = asyncio.create_task(_until_client_leaves(receive))
        tasks = (pump, beat, left)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._events.aclose()
        errors = [task.exception() for task in (pump, beat) if not task.cancelled()]
        if any(isinstance(error, _NotReading) for error in errors):
            _log.info("client stopped reading", seconds=self._send_seconds)
            await _drop(scope, receive)
        elif (error := next(filter(None, errors), None)) is not None:
            raise error

    async def _pump(self, send: Send) -> None:
        await self._send(
            send, {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        )
        if self._opening:
            await self._send(send, _body(self._opening))
        async for event in self._events:
            if event:
                await self._send(send, _body(event))
        await self._send(send, {"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, send: Send, message: Message) -> None:
        self._last_sent = self._sending_since = self._now()
        await send(message)
        self._sending_since = None

    async def _watch(self, send: Send) -> None:
        """Breaks long silences; raises `_NotReading` when the client takes nothing for too long.

        One timer looks at many sends, since a timer for each would cost more than the sends.
        """
        while True:
            now = self._now()
            if self._sending_since is not None:
                pause = self._sending_since + self._send_seconds - now
                if pause <= 0:
                    raise _NotReading
            else:
                pause = self._last_sent + self._heartbeat_seconds - now
                if pause <= 0:
                    await self._beat(send)
                    continue
            await asyncio.sleep(min(pause, self._send_seconds))

    async def _beat(self, send: Send) -> None:
        limit = asyncio.timeout(self._send_seconds)
        try:
            async with limit:
                with suppress(OSError):
                    await send(_body(_HEARTBEAT))
        except TimeoutError:
            if limit.expired():
                raise _NotReading from None
            raise
        self._last_sent = self._now()


class _NotReading(Exception):
    """The client has not read for `send_seconds`."""


def _body(data: bytes) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": True}


async def _until_client_leaves(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _drop(scope: Scope, receive: Receive) -> None:
    extension = scope.get("extensions", {}).get(ABORT)
    if extension is not None:
        extension["call"]()
        await _until_client_leaves(receive)
