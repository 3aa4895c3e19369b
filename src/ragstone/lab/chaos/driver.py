"""Open-loop clients: each request leaves at its time, whatever became of those before."""

import asyncio
import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import cast

import httptools
import msgspec

from ragstone.lab.chaos.transcript import Ask, End, Transcript

Timetable = Iterable[tuple[float, Ask]]
"""Seconds from the start of the load, and what is asked then."""


class Driver:
    """Clients of one server. Every connection carries one request and is closed after it, so
    that what is left open is the server's."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._loop = asyncio.get_running_loop()
        self._open: set[_Client] = set()
        self.transcripts: list[Transcript] = []
        """Of all requests so far."""

    def now(self) -> float:
        return self._loop.time()

    async def load(self, timetable: Timetable, *, patience: float = 30.0) -> list[Transcript]:
        """Send all of it. Returns when each has ended, or `patience` seconds after the last."""
        with _without_collections():
            return await self._load(timetable, patience)

    async def _load(self, timetable: Timetable, patience: float) -> list[Transcript]:
        start = self.now()
        tasks = []
        sent = []
        for offset, ask in timetable:
            due = start + offset
            if (pause := due - self.now()) > 0:
                await asyncio.sleep(pause)
            sent.append(Transcript(ask=ask, scheduled=due))
            tasks.append(self._loop.create_task(self._send(sent[-1])))
        if tasks:
            await asyncio.wait(tasks, timeout=patience)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return sent

    async def ask(self, ask: Ask, *, patience: float = 60.0) -> Transcript:
        """One request now."""
        return (await self.load([(0.0, ask)], patience=patience))[0]

    async def _send(self, transcript: Transcript) -> None:
        self.transcripts.append(transcript)
        ask = transcript.ask
        try:
            _, client = await self._loop.create_connection(
                lambda: _Client(transcript, self.now), *self._address
            )
        except OSError:
            transcript.end, transcript.ended = "refused_connection", self.now()
            return
        timer = None
        if ask.leave_after_seconds is not None:
            timer = self._loop.call_later(ask.leave_after_seconds, client.leave)
        try:
            client.send(_request(ask, self._address))
            await client.closed
        finally:
            if timer is not None:
                timer.cancel()
            client.drop()
            transcript.ended = transcript.ended or self.now()


@contextmanager
def _without_collections() -> Iterator[None]:
    """A collection looks through all transcripts so far, for 0.2 s after some thousands: time
    that would be counted as the server's."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Client(asyncio.Protocol):
    def __init__(self, transcript: Transcript, now: Callable[[], float]) -> None:
        self._transcript = transcript
        self._now = now
        self._parser = httptools.HttpResponseParser(self)
        self._deltas = 0
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def send(self, request: bytes) -> None:
        self._transcript.sent = self._now()
        self._transport.write(request)

    def leave(self) -> None:
        """As a person who closes the page."""
        if self._transcript.end == "open":
            self._finish("left")

    def drop(self) -> None:
        self._transport.abort()

    def _finish(self, end: End) -> None:
        transcript = self._transcript
        if transcript.end == "open":
            transcript.end = end
            transcript.ended = self._now()
        self._transport.close()
        if not self.closed.done():
            self.closed.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        with suppress(httptools.HttpParserError):
            self._parser.feed_data(data)
            return
        self._finish("broken")

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish("broken")

    def on_status(self, status: bytes) -> None:
        self._transcript.status = self._parser.get_status_code()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._transcript.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._transcript.chunks.append((self._now(), body))
        leave_after = self._transcript.ask.leave_after_deltas
        if leave_after is not None:
            self._deltas += body.count(b"event: delta")
            if self._deltas >= leave_after:
                self.leave()

    def on_message_complete(self) -> None:
        self._transcript.status = self._parser.get_status_code()
        self._finish("whole")


def _request(ask: Ask, address: tuple[str, int]) -> bytes:
    body = msgspec.json.encode(
        {
            "question": ask.question,
            "collection": ask.collection,
            "stream": ask.stream,
            **ask.fields,
        }
    )
    lines = [
        "POST /v1/answers HTTP/1.1",
        f"Host: {address[0]}:{address[1]}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    if ask.key:
        lines.append(f"Authorization: Bearer {ask.key}")
    if ask.deadline_ms is not None:
        lines.append(f"X-Request-Deadline-Ms: {ask.deadline_ms}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def at_rate(rate: float, seconds: float, ask: Callable[[int], Ask]) -> list[tuple[float, Ask]]:
    """Constant arrivals; `ask` gets the number of each."""
    return [(number / rate, ask(number)) for number in range(round(rate * seconds))]


def together(*timetables: Sequence[tuple[float, Ask]]) -> list[tuple[float, Ask]]:
    """Several kinds of clients at the same time."""
    return sorted((entry for table in timetables for entry in table), key=lambda entry: entry[0])


def after(seconds: float, timetable: Sequence[tuple[float, Ask]]) -> list[tuple[float, Ask]]:
    """The same, later."""
    return [(seconds + offset, ask) for offset, ask in timetable]
