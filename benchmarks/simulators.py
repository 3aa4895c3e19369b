"""What a simulator holds on one core: short answers a second, and streams at once.

The simulator has a process and a core of its own, the client the other core. Short answers:
16 tokens at once, streamed, asked by 64 connections one after another. Streams: 2,000 open
at once at 10 tokens/s; the gaps that the client sees, and the processor time of the simulator.

    python benchmarks/simulators.py [--seconds 6] [--streams 2000] [--rate 10]
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from array import array
from contextlib import contextmanager
from typing import cast

import psutil
import uvloop

_PASSAGES = "\n\n".join(
    f"[{number}] Returns\n" + "Return items within 45 days of delivery in their box. " * 12
    for number in range(1, 6)
)
_ASK = f"<passages>\n{_PASSAGES}\n</passages>\n\n<question>\nHow long?\n</question>"
_BODY = json.dumps(
    {
        "model": "simulated",
        "messages": [
            {"role": "system", "content": "Answer from the passages, and cite them."},
            {"role": "user", "content": _ASK},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
).encode()
_REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b"
    % (len(_BODY), _BODY)
)


class _Asker(asyncio.Protocol):
    """Asks again as soon as it has an answer; notes the gaps between the pieces."""

    def __init__(self, gaps: array) -> None:
        self.answers = 0
        self._gaps = gaps
        self._last = 0.0
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def ask(self) -> None:
        self._last = 0.0
        self._transport.write(_REQUEST)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        if self._last:
            self._gaps.append(now - self._last)
        self._last = now
        self._tail = (self._tail + data)[-5:]
        if self._tail == b"0\r\n\r\n":
            self._tail = b""
            self.answers += 1
            self.ask()


async def _load(port: int, connections: int, seconds: float, warm: float) -> tuple[int, array]:
    loop = asyncio.get_running_loop()
    gaps = array("d")
    askers = []
    for _ in range(connections):
        _, asker = await loop.create_connection(lambda: _Asker(gaps), "127.0.0.1", port)
        askers.append(asker)
    for asker in askers:
        asker.ask()
        await asyncio.sleep(warm / connections)
    before = sum(asker.answers for asker in askers)
    del gaps[:]
    await asyncio.sleep(seconds)
    return sum(asker.answers for asker in askers) - before, gaps


@contextmanager
def _simulator(core: int, behaviour: dict[str, object]):
    """Its process and port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ragstone.cli", "simulate", "llm",
         "--behaviour", json.dumps(behaviour)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.sched_setaffinity(process.pid, {core})
    try:
        assert process.stdout is not None
        yield psutil.Process(process.pid), int(process.stdout.readline().rpartition(":")[2])
    finally:
        process.terminate()
        process.wait()


def _busy(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def main() -> None:
    parser = argparse.ArgumentParser(description="What a simulator holds on one core")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=10.0, help="tokens a second of a stream")
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})

    with _simulator(cores[0], {"tokens": 16}) as (process, port):
        answers, _ = uvloop.run(_load(port, 64, arguments.seconds, warm=0.5))
        print(f"short answers: {answers / arguments.seconds:,.0f} a second")

    slow = {
        "tokens": round(arguments.rate * (arguments.seconds + 10)),  # none ends while we look
        "token_seconds": 1 / arguments.rate,
        "first_token_seconds": 0.1,
    }
    with _simulator(cores[0], slow) as (process, port):
        began = _busy(process), time.perf_counter()
        # The warm-up spreads the beginnings over two seconds, so that tokens are spread too.
        _, gaps = uvloop.run(_load(port, arguments.streams, arguments.seconds, warm=2.0))
        share = (_busy(process) - began[0]) / (time.perf_counter() - began[1])
        late = sorted(gap - 1 / arguments.rate for gap in gaps)
        print(
            f"{arguments.streams:,} streams at {arguments.rate:g} tokens/s: "
            f"{len(gaps) / arguments.seconds:,.0f} tokens a second, gaps late by "
            f"{1000 * late[len(late) // 2]:.1f} ms (median), "
            f"{1000 * late[len(late) * 99 // 100]:.1f} ms (p99), "
            f"{100 * share:.0f} % of one core, {process.memory_info().rss / 1e6:.0f} MB"
        )


if __name__ == "__main__":
    main()
