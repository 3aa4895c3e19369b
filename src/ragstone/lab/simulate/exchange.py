"""One request from its arrival to its end: it waits for a place and runs its script."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from ragstone.lab.simulate.http import Connection
from ragstone.lab.simulate.script import NEXT_TURN, End, Step
from ragstone.lab.simulate.wheel import TimerWheel

_LATE_SECONDS: Final = 0.25
"""Who is later than this, as after a freeze, goes on from now and does not catch up."""


class Exchange:
    """Sends what a script says, when it says so."""

    __slots__ = (
        "_connection",
        "_due",
        "_ended",
        "_next",
        "_on_end",
        "_outcome",
        "_script",
        "_wheel",
    )

    def __init__(
        self,
        connection: Connection,
        script: Iterator[Step],
        outcome: str,
        wheel: TimerWheel,
        on_end: Callable[["Exchange", str], None],
    ) -> None:
        """`on_end` gets `outcome`, or `left` if the client goes before the end."""
        self._connection = connection
        self._script = script
        self._outcome = outcome
        self._wheel = wheel
        self._on_end = on_end
        self._ended = False
        self._due = 0.0
        self._next: bytes | End = b""
        connection.on_lost = self._left

    def start(self) -> None:
        """Begin; not before the wheel is frozen no more."""
        self._due = self._wheel.now()
        if self._wheel.frozen:
            self._wheel.at(self._due, self._go_on)
        else:
            self._run()

    def _run(self) -> None:
        ready: list[bytes] = []
        for wait, data in self._script:
            if wait:
                self._send(ready)
                self._next = data
                self._wait(wait)
                return
            if isinstance(data, End):
                self._send(ready)
                self._stop(data)
                return
            ready.append(data)
        self._send(ready)
        self._end(self._outcome)
        self._connection.finish()

    def _send(self, ready: list[bytes]) -> None:
        if data := b"".join(ready):
            self._connection.write(data)

    def _wait(self, seconds: float) -> None:
        if seconds == NEXT_TURN:
            asyncio.get_running_loop().call_soon(self._go_on)
            return
        now = self._wheel.now()
        self._due = (self._due if now - self._due < _LATE_SECONDS else now) + seconds
        self._wheel.at(self._due, self._go_on)

    def _go_on(self) -> None:
        if self._ended:
            return
        data, self._next = self._next, b""
        if isinstance(data, End):
            self._stop(data)
            return
        if data:
            self._connection.write(data)
        self._run()

    def _stop(self, end: End) -> None:
        if end is End.NEVER:
            return
        self._end(self._outcome)
        if end is End.RESET:
            self._connection.reset()
        else:
            self._connection.cut()

    def _left(self) -> None:
        self._end("left")

    def _end(self, outcome: str) -> None:
        if not self._ended:
            self._ended = True
            self._on_end(self, outcome)


class Places:
    """How many are worked on at once; the others wait in order."""

    def __init__(self) -> None:
        self.limit = 0
        self.running = 0
        self._waiting: deque[Exchange] = deque()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def enter(self, exchange: Exchange) -> None:
        """Starts it now, or when there is a place."""
        self._waiting.append(exchange)
        self.fill()

    def leave(self, exchange: Exchange) -> None:
        """It has ended, or its client left while it waited."""
        try:
            self._waiting.remove(exchange)
        except ValueError:
            self.running -= 1
            self.fill()

    def fill(self) -> None:
        """Start who waits, as far as there are places."""
        while self._waiting and (not self.limit or self.running < self.limit):
            self.running += 1
            self._waiting.popleft().start()
