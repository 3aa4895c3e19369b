"""How a class declares its metrics, one line for each, and what becomes of such a line."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeVar

from ragstone.observe.cells import Cells, Store
from ragstone.observe.instruments import Counter, Family, Gauge, Histogram

_T = TypeVar("_T")

_SECONDS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0),
)
"""Overload must not vanish in the last bucket."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """What is told of a metric beside its numbers."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    text: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    """Of a histogram, from the lowest, without the infinite one."""
    joined: Literal["sum", "max"] = "sum"
    """How the numbers of several processes become one."""

    @property
    def cells(self) -> int:
        """How many numbers a child has: see `Histogram` for the order of its own."""
        return len(self.bounds) + 2 if self.kind == "histogram" else 1


class Declared(Generic[_T]):
    """An attribute of a class that each object has for itself once `bind` was called for it."""

    def __init__(self, line: Line, made: Callable[[Store, int], _T]) -> None:
        self.line = line
        self.made = made

    def __get__(self, holder: object, kind: type) -> _T:
        # The attribute of an object goes before this.
        raise AttributeError(f"{self.line.name} is not bound")


def bind(holder: object, store: Store, owner: int) -> tuple[Line, ...]:
    """Make the metrics that the class of `holder` declares; `owner` is a thread's number."""
    lines = []
    for name, declared in vars(type(holder)).items():
        if isinstance(declared, Declared):
            setattr(holder, name, declared.made(store, owner))
            lines.append(declared.line)
    return tuple(lines)


def counter(name: str, text: str) -> Declared[Counter]:
    return _alone(Line(kind="counter", name=name, text=text), Counter)


def counters(name: str, text: str, labels: str) -> Declared[Family[Counter]]:
    return _family(
        Line(kind="counter", name=name, text=text, labels=tuple(labels.split())), Counter
    )


def gauge(name: str, text: str, *, joined: Literal["sum", "max"] = "sum") -> Declared[Gauge]:
    return _alone(Line(kind="gauge", name=name, text=text, joined=joined), Gauge)


def gauges(
    name: str, text: str, labels: str, *, joined: Literal["sum", "max"] = "sum"
) -> Declared[Family[Gauge]]:
    line = Line(kind="gauge", name=name, text=text, labels=tuple(labels.split()), joined=joined)
    return _family(line, Gauge)


def histogram(name: str, text: str, *, bounds: Sequence[float] = _SECONDS) -> Declared[Histogram]:
    """By default of seconds."""
    line = Line(kind="histogram", name=name, text=text, bounds=_checked(bounds))
    return _alone(line, _histogram(line))


def histograms(
    name: str, text: str, labels: str, *, bounds: Sequence[float] = _SECONDS
) -> Declared[Family[Histogram]]:
    """By default of seconds."""
    line = Line(
        kind="histogram",
        name=name,
        text=text,
        labels=tuple(labels.split()),
        bounds=_checked(bounds),
    )
    return _family(line, _histogram(line))


_New = Callable[[Callable[[], Cells], int], _T]
"""Of cells, when more are needed, and the number of the owning thread."""


def _alone(line: Line, new: _New[_T]) -> Declared[_T]:
    return Declared(line, lambda store, owner: _child(line, new, store, owner)(()))


def _family(line: Line, new: _New[_T]) -> Declared[Family[_T]]:
    return Declared(line, lambda store, owner: Family(line.labels, _child(line, new, store, owner)))


def _child(line: Line, new: _New[_T], store: Store, owner: int) -> Callable[[tuple[str, ...]], _T]:
    def of(values: tuple[str, ...]) -> _T:
        return new(
            lambda: store.add((line.name, values), line.cells, lives=line.kind == "gauge"), owner
        )

    return of


def _histogram(line: Line) -> _New[Histogram]:
    return lambda new_cells, owner: Histogram(new_cells, owner, line.bounds)


def _checked(bounds: Sequence[float]) -> tuple[float, ...]:
    found = tuple(float(bound) for bound in bounds)
    if not found or found[0] < 0 or found[-1] == math.inf or list(found) != sorted(set(found)):
        raise ValueError(f"bounds rise, from 0 or above to a finite one: {found}")
    return found
