"""What relaying one streamed chunk costs: CPU of parsing, decoding and encoding again.

A simulated model server in another process streams chat completion chunks; this process
consumes them through the adapter and writes each delta as our own server-sent event. The
floor does the least that any client could: it reads the same bytes and drops them.

    python benchmarks/relay_chunk.py [--streams 100] [--tokens 200] [--rate 50] [--pause 0.15]

The figure is CPU time of this process over the chunks, network stack and event loop
included. Streams begin at different moments and each chunk is sent on its own, as models
do. A machine that is nearly idle shows more for a chunk: it pays for waking up.
"""

import argparse
import asyncio
import json
import multiprocessing
import time
from collections.abc import Awaitable, Callable
from functools import partial
from multiprocessing.connection import Connection

import aiohttp
import msgspec
import uvloop

from ragstone.domain.answer import Delta
from ragstone.domain.clock import SystemClock
from ragstone.models.llms.connection import open_session
from ragstone.models.llms.openai_chat import OpenAIChat
from ragstone.ports import Prompt, PromptMessage, TextDelta

Work = Callable[[aiohttp.ClientSession, str], Awaitable[int]]

PROMPT = Prompt(system="", messages=[PromptMessage("user", "x")], max_tokens=100_000)


def chunk_bytes(text: str) -> bytes:
    """A chunk with everything around the text that OpenAI's servers send."""
    payload = {
        "id": "chatcmpl-AbCdEfGhIjKlMnOpQrStUvWxYz012",
        "object": "chat.completion.chunk",
        "created": 1767225600,
        "model": "some-model-2026-01-01",
        "service_tier": "default",
        "system_fingerprint": "fp_0123456789",
        "choices": [
            {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
        ],
        "usage": None,
    }
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


async def _serve(pipe: Connection, tokens: int, rate: float) -> None:
    """HTTP by hand, so that the server is never what is measured."""
    delta = chunk_bytes(" word")
    stop = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'

    def framed(data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        due = time.perf_counter()
        for _ in range(tokens):
            due += 1 / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            writer.write(framed(delta))
        writer.write(framed(stop) + b"0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    pipe.send(server.sockets[0].getsockname()[1])
    async with server:
        await server.serve_forever()


def serve(pipe: Connection, tokens: int, rate: float) -> None:
    uvloop.run(_serve(pipe, tokens, rate))


async def relay(session: aiohttp.ClientSession, url: str, pause: float = 0.0) -> int:
    """The adapter, and our own event for each delta; how many there were.

    `pause`: seconds that the reader waits between two reads, as on the rung `chunks_joined`.
    """
    encoder = msgspec.json.Encoder()
    count = written = 0
    model = OpenAIChat(session, model="m", clock=SystemClock(), base_url=url, pace=lambda: pause)
    async for event in model.stream(PROMPT, deadline=time.monotonic() + 600):
        if isinstance(event, TextDelta):
            written += len(b"event: delta\ndata: " + encoder.encode(Delta(event.text)) + b"\n\n")
            count += 1
    return count


async def floor(session: aiohttp.ClientSession, url: str) -> int:
    """The same bytes, read and dropped; how many reads it took."""
    reads = 0
    async with session.post(f"{url}/chat/completions", data=b"{}") as response:
        while await response.content.readany():
            reads += 1
    return reads


def parse_only(chunks: int) -> float:
    """CPU microseconds of the parser and the decoding alone."""
    from ragstone.models.llms.openai_chat import _ChatReading
    from ragstone.models.llms.sse import EventStreamParser
    from ragstone.models.llms.upstream_errors import UpstreamErrors

    errors = UpstreamErrors(server="x", model="m", api_key="", clock=SystemClock())
    reading, parser, data = _ChatReading(errors), EventStreamParser(), chunk_bytes(" word")
    began = time.process_time()
    for _ in range(chunks):
        for event in parser.feed(data):
            reading.event(event)
    return (time.process_time() - began) / chunks * 1e6


async def _run_streams(work: Work, url: str, streams: int, rate: float) -> int:
    async with await open_session(max_connections=streams) as session:

        async def one(position: int) -> int:
            await asyncio.sleep(position / streams / rate)
            return await work(session, url)

        return sum(await asyncio.gather(*(one(position) for position in range(streams))))


def measure(work: Work, streams: int, tokens: int, rate: float) -> tuple[float, int]:
    """CPU microseconds a chunk, and how many reads or deltas were seen."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=serve, args=(theirs, tokens, rate)
    )
    process.start()
    try:
        url = f"http://127.0.0.1:{ours.recv()}/v1"
        began = time.process_time()
        seen = uvloop.run(_run_streams(work, url, streams, rate))
        return (time.process_time() - began) / (streams * tokens) * 1e6, seen
    finally:
        process.terminate()
        process.join()


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU of relaying one streamed chunk")
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rate", type=float, default=50.0, help="tokens a second and stream")
    parser.add_argument("--pause", type=float, default=0.0, help="between reads, in seconds")
    arguments = parser.parse_args()
    streams, tokens, rate = arguments.streams, arguments.tokens, arguments.rate
    print(f"parse and decode alone: {parse_only(streams * tokens):.1f} us a chunk")
    least, reads = measure(floor, streams, tokens, rate)
    print(f"floor: {least:.1f} us a chunk ({streams * tokens} chunks in {reads} reads)")
    paced = partial(relay, pause=arguments.pause)
    own, deltas = measure(paced, streams, tokens, rate)
    print(f"relay: {own:.1f} us a chunk ({deltas} deltas)")


if __name__ == "__main__":
    main()
