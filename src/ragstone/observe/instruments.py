"""Counters, gauges and histograms that cost a question next to nothing.

A question counts about twenty times, nearly always in the thread of the event loop. That thread,
the owner, has numbers that it alone writes, so it needs no lock (which costs more than all the
rest); all other threads together have a second set, written under one. Readers add the two up:
nothing is lost, whichever threads count.
"""

import threading
from _thread import get_ident
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import cache
from typing import Final, Generic, Protocol, TypeVar

from ragstone.observe.cells import Cells

_T_co = TypeVar("_T_co", covariant=True)


class _TwoSets:
    __slots__ = ("_cells", "_lock", "_new_cells", "_others", "_owner")

    def __init__(self, new_cells: Callable[[], Cells], owner: int) -> None:
        self._new_cells = new_cells
        self._owner = owner
        self._cells = new_cells()
        self._others: Cells | None = None
        self._lock = threading.RLock()  # a finalizer may count in the midst of counting

    def _of_others(self) -> Cells:
        """To be called with the lock."""
        if self._others is None:
            self._others = self._new_cells()
        return self._others


class _Number(_TwoSets):
    __slots__ = ()

    @property
    def value(self) -> float:
        """What this process has counted."""
        return self._cells[0] + (self._others[0] if self._others is not None else 0.0)


class Counter(_Number):
    """A number that only rises."""

    __slots__ = ()

    def inc(self, amount: float = 1.0) -> None:
        """Raises `ValueError` for a negative amount."""
        if amount < 0:
            raise ValueError(f"a counter cannot fall: {amount}")
        if get_ident() == self._owner:
            self._cells[0] += amount
        else:
            with self._lock:
                self._of_others()[0] += amount


class Gauge(_Number):
    """A number that rises and falls."""

    __slots__ = ()

    def inc(self, amount: float = 1.0) -> None:
        if get_ident() == self._owner:
            self._cells[0] += amount
        else:
            with self._lock:
                self._of_others()[0] += amount

    def dec(self, amount: float = 1.0) -> None:
        self.inc(-amount)

    def set(self, value: float) -> None:
        with self._lock:  # keeps the other set, if this thread is the owner
            if get_ident() != self._owner:
                self._of_others()[0] = value - self._cells[0]
            elif self._others is None:
                self._cells[0] = value
            else:
                self._cells[0] = value - self._others[0]


class Histogram(_TwoSets):
    """How many values lie up to each bound and above the bound before it, and their sum."""

    __slots__ = ("_bounds",)

    def __init__(self, new_cells: Callable[[], Cells], owner: int, bounds: Sequence[float]) -> None:
        """The cells are a number for each bound, one for what lies above all, and the sum."""
        super().__init__(new_cells, owner)
        self._bounds = bounds

    def observe(self, value: float) -> None:
        if get_ident() == self._owner:
            cells = self._cells
            cells[bisect_left(self._bounds, value)] += 1.0
            cells[-1] += value
        else:
            with self._lock:
                cells = self._of_others()
                cells[bisect_left(self._bounds, value)] += 1.0
                cells[-1] += value


class _Find(Protocol[_T_co]):
    def __call__(self, *values: str) -> _T_co: ...


class Family(Generic[_T_co]):
    """The children of a metric with labels, one for each combination of their values."""

    def __init__(self, labels: Sequence[str], new: Callable[[tuple[str, ...]], _T_co]) -> None:
        self._count = len(labels)
        self._new = new
        self._children: dict[tuple[str, ...], _T_co] = {}
        self._lock = threading.RLock()
        self.labels: Final[_Find[_T_co]] = cache(self._child)
        """The child for these values of the labels, always the same one: it may be kept.

        Raises `ValueError` for more or fewer values than there are labels.
        """

    def _child(self, *values: str) -> _T_co:
        if len(values) != self._count:
            raise ValueError(f"{self._count} labels, but {len(values)} values: {values}")
        with self._lock:  # two threads may look for a new one at once
            if values not in self._children:
                self._children[values] = self._new(values)
            return self._children[values]
