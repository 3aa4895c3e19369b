"""One direction of a connection: pieces wait for their time and leave in order."""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Final

from ragstone.lab.fault_proxy.faults import Direction

MAX_WAITING_BYTES: Final = 256 << 10
"""Beyond this, the source is not read: a slow link pushes back."""

_END: Final = b""


class Pipe:
    """Takes bytes from one transport and writes them to another."""

    def __init__(
        self,
        rules: Callable[[], Direction],
        chance: random.Random,
        reset: Callable[[], None],
        counted: Callable[[int], None],
    ) -> None:
        """`rules` are asked for each piece; `reset` ends the whole connection."""
        self._rules = rules
        self._chance = chance
        self._reset = reset
        self._counted = counted
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._waiting_bytes = 0
        self._passed = 0
        self._free_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.on_ended: Callable[[], None] | None = None
        """Called when the end of the stream has been passed on."""
        self.has_ended = False
        self.source: asyncio.Transport | None = None
        self.target: asyncio.Transport | None = None

    def feed(self, data: bytes) -> None:
        """Bytes that the source sent."""
        rules = self._rules()
        self._counted(len(data))
        if rules.swallow:
            return
        limit = rules.reset_after_bytes
        cut = bool(limit) and self._passed + len(data) >= limit
        if cut:
            data = data[: max(0, limit - self._passed)]
        self._passed += len(data)
        size = rules.slice_bytes or len(data)
        for start in range(0, len(data), max(1, size)):
            self._put(data[start : start + size], rules)
        self._schedule()
        if cut:
            self._reset()

    def end(self) -> None:
        """The source will send no more."""
        rules = self._rules()
        if not rules.swallow:
            self._append(max(self._last_due(), self._loop.time()) + rules.close_seconds, _END)
            self._schedule()

    def stop(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()

    def flush(self) -> None:
        """Write what is due."""
        self._timer = None
        while self._waiting and self._waiting[0][0] <= self._loop.time():
            _, data = self._waiting.popleft()
            self._waiting_bytes -= len(data)
            self._write(data)
            if self._rules().slice_bytes:
                break  # one write in each turn of the loop, so that slices stay apart
        if self._waiting:
            self._timer = self._loop.call_at(self._waiting[0][0], self.flush)
        if self._waiting_bytes <= MAX_WAITING_BYTES:
            self.resume()

    def pause(self) -> None:
        if self.source is not None and self.source.is_reading():
            self.source.pause_reading()

    def resume(self) -> None:
        if self.source is not None and not self.source.is_closing():
            self.source.resume_reading()

    def _put(self, data: bytes, rules: Direction) -> None:
        due = self._loop.time() + rules.latency_seconds
        if rules.jitter_seconds:
            due += rules.jitter_seconds * self._chance.random()
        if rules.bytes_per_second:
            self._free_at = max(self._free_at, due) + len(data) / rules.bytes_per_second
            due = self._free_at
        self._append(max(due, self._last_due()), data)

    def _append(self, due: float, data: bytes) -> None:
        self._waiting.append((due, data))
        self._waiting_bytes += len(data)
        if self._waiting_bytes > MAX_WAITING_BYTES:
            self.pause()

    def _schedule(self) -> None:
        if self._timer is None and self.target is not None:
            self.flush()

    def _last_due(self) -> float:
        return self._waiting[-1][0] if self._waiting else 0.0

    def _write(self, data: bytes) -> None:
        if self.target is None or self.target.is_closing():
            return
        if data:
            self.target.write(data)
            return
        self.has_ended = True
        self.target.write_eof()
        if self.on_ended is not None:
            self.on_ended()
