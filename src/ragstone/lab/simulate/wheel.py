"""One timer for thousands of streams.

A hashed timing wheel (Varghese and Lauck, 1987): what is due in the same millisecond shares
a slot, and the event loop knows of the next slot only.
"""

import asyncio
import heapq
import math
from collections.abc import Callable
from typing import Final

TICK_SECONDS: Final = 0.001


class TimerWheel:
    """Calls functions later, not earlier than asked and at most a tick later."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._slots: dict[int, list[Callable[[], None]]] = {}
        self._order: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._frozen_until = 0.0

    def now(self) -> float:
        """Seconds of the loop's clock."""
        return self._loop.time()

    @property
    def frozen(self) -> bool:
        """Nothing is called at present."""
        return self._frozen_until > self.now()

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Call it at `when`, in seconds of the loop's clock. It cannot be taken back."""
        slot = math.ceil(when / TICK_SECONDS)
        calls = self._slots.get(slot)
        if calls is not None:
            calls.append(call)
            return
        self._slots[slot] = [call]
        heapq.heappush(self._order, slot)
        if self._order[0] == slot:
            self._set_timer()

    def freeze(self, seconds: float) -> None:
        """Call nothing for so long; then what became due is called at once. 0: go on now."""
        self._frozen_until = self.now() + seconds if seconds else 0.0
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._order:
            due = max(self._order[0] * TICK_SECONDS, self._frozen_until)
            self._timer = self._loop.call_at(due, self._turn)

    def _turn(self) -> None:
        self._timer = None
        if not self.frozen:
            reached = math.floor(self.now() / TICK_SECONDS)
            while self._order and self._order[0] <= reached:
                for call in self._slots.pop(heapq.heappop(self._order)):
                    call()
        if self._timer is None:
            self._set_timer()
