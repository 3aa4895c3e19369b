"""Units in use by all gateway processes, in one shared file, so that one limit holds over them.

Each process has a row that it alone writes, and reads the others'. No lock is taken: a process
first announces the units that it wants in its own row, then adds up all rows, and takes the
announcement back when that is above the limit. Whichever of two announcements comes second sees
the first, so they are never both kept, while both may be taken back; then those who wait look
again in some milliseconds. So no process ever waits for one that is stopped or was killed, which
a lock could not promise. (An overshoot would need a store to stay invisible to another core for
the microseconds until the sum is read; it is bounded by one request for each other process.)

A process shows that it lives in whatever it does here and by `Board.beat`, which it has to call
several times in two seconds. A row without a sign of life for so long is left out of every sum:
a process that was killed, stopped or hangs keeps nothing from the others (its supervisor also
calls `Board.clear` for one that ended). One that goes on after a stop counts again with its next
step, and until it has finished what it held the limit may be exceeded by that.

A row, in 64-bit integers: units in use, the place in line of its first waiter (from 1; 0: nobody
waits), when that was last said (ms), its limit, when the pauses of four endpoints end (ms), the
last sign of life (ms), then units in use by tenant, in cells by hash: tenants that meet in one
cell share their share.
"""

import asyncio
import math
import mmap
import os
import zlib
from pathlib import Path
from typing import Final

from ragstone.ports import Clock

_ROW: Final = 512
_IN_USE, _WANTED, _SAID, _LIMIT, _PAUSES, _SEEN, _TENANTS = 0, 1, 2, 3, 4, 8, 9
PAUSES: Final = _SEEN - _PAUSES
"""How many endpoints can share their pauses."""
_CELLS: Final = _ROW - _TENANTS
_ROW_BYTES: Final = _ROW * 8
BEAT_SECONDS: Final = 0.25
"""How often `beat` is to be called: a loop that lags by a second is not yet taken for dead."""
_LIVES_MS: Final = 2_000
"""Without a sign of life for longer than this, a process is not counted."""
_FRESH_MS: Final = 50
"""A process that has not renewed its want for so long cannot use a unit left to it now."""


class Board:
    """Implements `units.Units` for the process that has row number `row`, counted from 0.

    All processes must read the same monotonic clock, as those of one machine do.
    """

    def __init__(self, path: Path, *, row: int, clock: Clock) -> None:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._map = mmap.mmap(file, 0)
        finally:
            os.close(file)
        self._cells = memoryview(self._map).cast("q")
        self.processes = len(self._cells) // _ROW
        if not 0 <= row < self.processes:
            raise ValueError(f"row {row} of a board of {self.processes}")
        self._clock = clock
        self._rows = tuple(number * _ROW for number in range(self.processes))
        self._own_row = row * _ROW
        self._others = tuple(at for at in self._rows if at != self._own_row)
        self._held: dict[str, int] = {}
        self.own = 0
        Board.clear(path, row)
        self.beat()

    @staticmethod
    def create(path: Path, *, processes: int) -> None:
        """An empty board in place of what was there. Before any process opens it."""
        path.unlink(missing_ok=True)
        path.write_bytes(bytes(processes * _ROW_BYTES))

    @staticmethod
    def clear(path: Path, row: int) -> None:
        """Forgets what a process that is no more had in use."""
        file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(file, bytes(_ROW_BYTES), row * _ROW_BYTES)
        finally:
            os.close(file)

    def close(self) -> None:
        """Gives back what is in use and forgets the file."""
        at = self._own_row
        self._cells[at : at + _ROW] = memoryview(bytes(_ROW_BYTES)).cast("q")
        self._cells.release()
        self._map.close()

    def beat(self) -> None:
        """A sign of life."""
        self._cells[self._own_row + _SEEN] = self._now()

    async def keep_beating(self) -> None:
        """Until cancelled."""
        while True:
            self.beat()
            await asyncio.sleep(BEAT_SECONDS)

    @property
    def own_tenants(self) -> int:
        return max(1, len(self._held))

    @property
    def own_most(self) -> int:
        return max(self._held.values(), default=0)

    @property
    def contested(self) -> bool:
        return any(self._wants(at) for at in self._others)

    def total(self) -> int:
        cells = self._cells
        return self.own + sum([cells[at] for at in self._living()])

    def of(self, tenant: str) -> int:
        cells, cell = self._cells, _cell(tenant)
        own = cells[self._own_row + cell]
        return own + sum([cells[at + cell] for at in self._living()])

    def own_of(self, tenant: str) -> int:
        return self._held.get(tenant, 0)

    def agree(self, limit: int) -> int:
        """The sum of what each process, of which this is one, finds right for itself."""
        cells = self._cells
        cells[self._own_row + _LIMIT] = limit
        self.beat()
        return limit + sum([cells[at + _LIMIT] for at in self._living()])

    def pause(self, number: int) -> "SharedPause":
        """Of the endpoint `number`, from 0 and below `PAUSES`, over all processes."""
        return SharedPause(self._cells, [at + _PAUSES + number for at in self._rows], self._own_row)

    def take(self, tenant: str, weight: int, limit: int) -> bool:
        before = self.total()
        if before and before + weight > limit:
            return False
        self._add(tenant, weight)
        after = self.total()
        if after > limit and after != weight:
            self._add(tenant, -weight)
            return False
        return True

    def give(self, tenant: str, weight: int) -> None:
        self._add(tenant, -weight)

    def want(self, place: int | None) -> None:
        at = self._own_row
        self.beat()
        if place is not None:
            self._cells[at + _SAID] = self._cells[at + _SEEN]
            self._cells[at + _WANTED] = place + 1
        elif self._cells[at + _WANTED]:
            self._cells[at + _WANTED] = 0

    def gives_way(self, place: int, limits: tuple[int, ...]) -> bool:
        """To whoever is before it in line; at the same place, to a process that stays within
        its part with one more unit, if this one would not."""
        total, fair = self.total(), limits[0] / max(1, self._active())
        for at in self._others:
            wanted = self._wants(at)
            if not wanted or total >= limits[(wanted - 1) % len(limits)]:
                continue
            if wanted - 1 < place:
                return True
            if wanted - 1 == place and self.own + 1 > fair >= self._cells[at] + 1:
                return True
        return False

    def _active(self) -> int:
        """Processes that use or want units, this one included."""
        return 1 + sum(1 for at in self._living() if self._cells[at] or self._wants(at))

    def _living(self) -> list[int]:
        """The rows of the others that count."""
        cells, oldest = self._cells, self._now() - _LIVES_MS
        return [at for at in self._others if cells[at + _SEEN] >= oldest]

    def _now(self) -> int:
        return int(self._clock.monotonic() * 1000)

    def _wants(self, at: int) -> int:
        wanted = self._cells[at + _WANTED]
        if not wanted:
            return 0
        said = self._cells[at + _SAID]
        return wanted if self._now() - said < _FRESH_MS else 0

    def _add(self, tenant: str, units: int) -> None:
        self.own += units
        held = self._held.get(tenant, 0) + units
        if held:
            self._held[tenant] = held
        else:
            del self._held[tenant]
        self._cells[self._own_row + _cell(tenant)] += units
        self._cells[self._own_row + _IN_USE] = self.own
        self.beat()


class SharedPause:
    """Implements `dependency_parts.Pause`: what one process was told holds for all."""

    def __init__(self, cells: memoryview, ends: list[int], own_row: int) -> None:
        self._cells = cells
        self._ends = ends
        self._own = ends[own_row // _ROW]

    @property
    def until(self) -> float:
        cells = self._cells
        return max([cells[at] for at in self._ends]) / 1000

    def extend(self, until: float) -> None:
        self._cells[self._own] = max(self._cells[self._own], math.ceil(until * 1000))


def _cell(tenant: str) -> int:
    return _TENANTS + zlib.crc32(tenant.encode()) % _CELLS
