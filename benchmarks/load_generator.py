"""What the load generator itself costs, and how much one of its processes holds.

A server that does next to nothing (a fixed answer to each request, or streams of fixed pieces at
a fixed pace) on core 0; one generator process on core 1. A run counts only if it is valid by its
own rules: at most 10 ms late in the median, at least 99 % of the requests sent in time.

    flock /tmp/bench.lock python benchmarks/load_generator.py
"""

import argparse
import asyncio
import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Final

import msgspec
import uvloop

from ragstone.lab.load.plan import plan_load
from ragstone.lab.load.questions import sample_questions
from ragstone.lab.load.report import LoadReport, report_of
from ragstone.lab.load.requests import RequestForm
from ragstone.lab.load.runner import run_load
from ragstone.lab.load.schedule import Behaviour

SHORT_RATES: Final = (500, 1000, 2000, 3000)
STREAMS: Final = ((1000, 10), (1000, 30), (2000, 10))
"""Streams at once, and pieces a second of each."""

_WORDS: Final = "twenty-one days from delivery or purchase ".split()
_USAGE: Final = {"input_tokens": 900, "output_tokens": 40}
_ANSWER: Final = {"answer": "x" * 300, "answer_kind": "generated", "degraded": [], "usage": _USAGE}


def _event(name: str, data: object) -> bytes:
    event = b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(data))
    return b"%x\r\n%b\r\n" % (len(event), event)


_HEAD: Final = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + _event("passages", {})
_DONE: Final = _event("done", {"answer": _ANSWER}) + b"0\r\n\r\n"
_DELTAS: Final = [_event("delta", {"text": word}) for word in _WORDS]
_BODY: Final = msgspec.json.encode(_ANSWER)
_WHOLE: Final = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)


class Trivial(asyncio.Protocol):
    """Takes a request in one piece, as the generator sends it, without looking at it."""

    pieces = 0
    """Of each stream; 0: whole answers at once."""
    every = 0.0
    """Seconds from one to the next."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if not self.pieces:
            self._transport.write(_WHOLE)
            return
        self._transport.write(_HEAD)
        self._left = self.pieces
        asyncio.get_running_loop().call_later(self.every, self._piece)

    def _piece(self) -> None:
        if self._transport.is_closing():
            return
        if self._left == 0:
            self._transport.write(_DONE)
            return
        self._left -= 1
        self._transport.write(_DELTAS[self._left % len(_DELTAS)])
        asyncio.get_running_loop().call_later(self.every, self._piece)


def _serve(pieces: int, every: float, port: Connection) -> None:
    os.sched_setaffinity(0, {0})
    Trivial.pieces, Trivial.every = pieces, every

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Trivial, "127.0.0.1", 0, backlog=4096)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(serve())


def measure(pieces: int, every: float, rate: float, duration: float) -> LoadReport:
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=_serve, args=(pieces, every, theirs), daemon=True)
    server.start()
    try:
        plan = plan_load(
            f"http://127.0.0.1:{ours.recv()}",
            rate=rate,
            duration=duration,
            questions=sample_questions(),
            behaviour=Behaviour(zipf=1.0),
            form=RequestForm(stream=pieces > 0, deadline=60.0),
            processes=1,
        )
        return report_of(asyncio.run(run_load(plan)))
    finally:
        server.kill()
        server.join()


def short(seconds: float) -> None:
    print("whole answers        valid   late p50   late p99   latency p99   us CPU a request")
    for rate in SHORT_RATES:
        report = measure(0, 0.0, rate, seconds)
        _print(f"{rate:,} requests/s", report, report.generator_cpu * seconds / report.requests)


def streams(seconds: float) -> None:
    print("streams              valid   late p50   late p99   gap p99       us CPU a piece")
    for count, pace in STREAMS:
        pieces = round(pace * seconds)
        rate = count / seconds  # so that, from the first one's end on, `count` are open
        report = measure(pieces, 1.0 / pace, rate, 2 * seconds)
        cpu = report.generator_cpu * 2 * seconds
        _print(f"{count:,} at {pace}/s", report, cpu / (report.requests * pieces), gaps=True)


def _print(name: str, report: LoadReport, cost: float, *, gaps: bool = False) -> None:
    shown = report.gaps if gaps else report.latency
    failed = report.requests - report.outcomes["ok"]
    times = [report.lateness["p50"], report.lateness["p99"], shown["p99"]]
    cells = "".join(f"{seconds * 1000:8.1f} ms" for seconds in times)
    verdict = "yes" if report.valid and not failed else f"no ({failed} failed) {report.reasons}"
    print(f"{name:20} {verdict:5} {cells}   {cost * 1e6:12.0f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # the generators inherit it
    parts: tuple[Callable[[float], None], ...] = (short, streams)
    for part in parts:
        part(options.seconds)
