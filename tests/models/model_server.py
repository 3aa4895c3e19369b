"""A model server on loopback that answers as a test tells it to."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ModelServer:
    """Records what it was sent; `reply` decides what it answers."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.reply: Reply = _not_told
        self.requests: list[web.Request] = []
        self.bodies: list[dict[str, Any]] = []
        self.connections: set[Any] = set()
        self.disconnected = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        self.connections.add(request.transport)
        if request.can_read_body:
            self.bodies.append(await request.json())
        try:
            return await self.reply(request)
        except asyncio.CancelledError:
            self.disconnected.set()
            raise


async def _not_told(request: web.Request) -> web.StreamResponse:
    raise AssertionError("the test did not say what to reply")


@asynccontextmanager
async def model_server() -> AsyncIterator[ModelServer]:
    server = ModelServer("")
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    server.url = f"http://{host}:{port}/v1"
    try:
        yield server
    finally:
        await runner.cleanup()


@asynccontextmanager
async def raw_server(answer: bytes) -> AsyncIterator[str]:
    """Its address: whatever it is sent, it writes `answer` and hangs up."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.close()
        await server.wait_closed()


def stream_of(
    *parts: bytes, then: asyncio.Event | None = None, content_type: str = "text/event-stream"
) -> Reply:
    """Sends the parts one by one; with `then`, keeps the stream open until it is set."""

    async def reply(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": content_type})
        await response.prepare(request)
        for part in parts:
            await response.write(part)
        if then is not None:
            await then.wait()
        return response

    return reply


def repeating(*first: bytes, again: bytes, times: int, every: float, then: list[bytes]) -> Reply:
    """Sends `first`, then `again` so many times with a pause in between, then the rest."""

    async def reply(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for part in first:
            await response.write(part)
        for _ in range(times):
            await response.write(again)
            await asyncio.sleep(every)
        for part in then:
            await response.write(part)
        return response

    return reply


def cut_off_after(*parts: bytes) -> Reply:
    """Sends the parts and breaks the connection in the middle of the body."""

    async def reply(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for part in parts:
            await response.write(part)
        assert request.transport is not None
        request.transport.close()
        return response

    return reply


def json_reply(body: object, *, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    async def reply(request: web.Request) -> web.StreamResponse:
        return web.json_response(body, status=status, headers=headers)

    return reply


def openai_event(payload: object) -> bytes:
    return b"data: " + json.dumps(payload, ensure_ascii=False).encode() + b"\n\n"


def openai_delta(text: str) -> bytes:
    return openai_event({"choices": [{"index": 0, "delta": {"content": text}}]})


def openai_answer(deltas: Sequence[str], *, reason: str = "stop") -> list[bytes]:
    return [
        openai_event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}),
        *(openai_delta(text) for text in deltas),
        openai_event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}),
        openai_event(
            {
                "choices": [],
                "usage": {
                    "prompt_tokens": 30,
                    "completion_tokens": 7,
                    "prompt_tokens_details": {"cached_tokens": 20},
                },
            }
        ),
        b"data: [DONE]\n\n",
    ]


def anthropic_event(payload: dict[str, Any]) -> bytes:
    return b"event: " + payload["type"].encode() + b"\n" + openai_event(payload)


def anthropic_delta(text: str) -> bytes:
    return anthropic_event(
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": text},
        }
    )


def anthropic_answer(deltas: Sequence[str], *, reason: str = "end_turn") -> list[bytes]:
    usage = {"input_tokens": 10, "cache_read_input_tokens": 20, "output_tokens": 1}
    return [
        anthropic_event({"type": "message_start", "message": {"content": [], "usage": usage}}),
        anthropic_event({"type": "ping"}),
        anthropic_event(
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "text", "text": ""},
            }
        ),
        *(anthropic_delta(text) for text in deltas),
        anthropic_event({"type": "content_block_stop", "index": 0}),
        anthropic_event(
            {
                "type": "message_delta",
                "delta": {"stop_reason": reason},
                "usage": {"output_tokens": 7},
            }
        ),
        anthropic_event({"type": "message_stop"}),
    ]
