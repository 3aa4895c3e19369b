"""Server-sent events with heartbeats; a client that leaves ends the work behind them."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_HEARTBEAT = b": keep-alive\n\n"


class EventStream(Response):
    """Sends encoded events as they come; each item of `events` is one or more whole events."""

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        *,
        heartbeat_seconds: float,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(
            None,
            200,
            # A proxy that buffers would turn a stream into one late answer.
            {"Cache-Control": "no-store", "X-Accel-Buffering": "no", **(headers or {})},
        )
        del self.headers["content-length"]
        self._events = events
        self._heartbeat_seconds = heartbeat_seconds
        self._last_sent = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        pump = asyncio.create_task(self._pump(send))
        others = [
            asyncio.create_task(self._until_client_leaves(receive)),
            asyncio.create_task(self._keep_alive(send)),
        ]
        try:
            await asyncio.wait([pump, others[0]], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*others, pump):
                task.cancel()
            await asyncio.gather(*others, pump, return_exceptions=True)
        if not pump.cancelled() and (error := pump.exception()) is not None:
            raise error

    async def _pump(self, send: Send) -> None:
        async with aclosing(self._events) as events:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for event in events:
                if not event:
                    continue
                self._last_sent = asyncio.get_running_loop().time()
                await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _until_client_leaves(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async def _keep_alive(self, send: Send) -> None:
        loop = asyncio.get_running_loop()
        self._last_sent = loop.time()
        while True:
            silent = loop.time() - self._last_sent
            if silent >= self._heartbeat_seconds:
                with suppress(OSError):
                    await send(
                        {"type": "http.response.body", "body": _HEARTBEAT, "more_body": True}
                    )
                self._last_sent = loop.time()
                silent = 0.0
            await asyncio.sleep(self._heartbeat_seconds - silent)
