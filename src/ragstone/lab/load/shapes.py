"""How the rate of arrivals goes over a run: one small class a shape, with one method.

A shape is written `NAME` or `NAME:key=value,...`, as in `spike:factor=12,start=0.4,end=0.6`.
Heights are multiples of the run's rate and places are fractions of its length, so the same shape
can be run longer, or at another rate.
"""

import inspect
from collections.abc import Callable
from typing import Final, Protocol

from ragstone.domain.errors import InvalidExperiment, did_you_mean


class Shape(Protocol):
    """The load of a run as a function of time."""

    def rate(self, part: float) -> float:
        """Multiple of the run's rate when the fraction `part` (0 to 1) of the run has passed."""
        ...


class Constant:
    """The same rate from beginning to end."""

    def rate(self, part: float) -> float:
        return 1.0


class Ramp:
    """Straight from one rate to another."""

    def __init__(self, start: float = 0.0, end: float = 1.0) -> None:
        self._start, self._end = _height("start", start), _height("end", end)

    def rate(self, part: float) -> float:
        return self._start + (self._end - self._start) * part


class Steps:
    """Equally long steps, each higher than the one before by the same amount."""

    def __init__(self, count: float = 5, start: float = 0.2, end: float = 1.0) -> None:
        if count < 2 or count != int(count):
            raise InvalidExperiment(
                f"A shape of {count:g} steps is not one.",
                remedy="Give `count` a whole number from 2 up.",
            )
        self._count = int(count)
        self._ramp = Ramp(start, end)

    def rate(self, part: float) -> float:
        step = min(int(part * self._count), self._count - 1)
        return self._ramp.rate(step / (self._count - 1))


class Spike:
    """The run's rate, but `factor` times as much between two moments."""

    def __init__(self, factor: float = 12.0, start: float = 0.4, end: float = 0.6) -> None:
        if not 0 <= start < end <= 1:
            raise InvalidExperiment(
                f"A spike cannot last from {start:g} to {end:g} of the run.",
                remedy="Give `start` and `end` as fractions from 0 to 1, the start first.",
            )
        self._factor, self._start, self._end = _height("factor", factor), start, end

    def rate(self, part: float) -> float:
        return self._factor if self._start <= part < self._end else 1.0


class BlackFriday:
    """A day of a shop with an offer at midnight, squeezed into the run; 1 is its highest hour.

    The hours are ours, after what shops publish of that day: a rush at midnight when the offers
    open, a quiet night, a climb through the morning, a high noon, and the peak at eight in the
    evening. Between full hours the rate goes straight, but for the rush, which begins at once.
    """

    HOURS: Final = (0.95, 0.60, 0.30, 0.16, 0.11, 0.12, 0.22, 0.38, 0.55, 0.70, 0.80, 0.86,
                    0.90, 0.84, 0.78, 0.74, 0.74, 0.78, 0.86, 0.95, 1.00, 0.92, 0.72, 0.45,
                    0.30)  # fmt: skip
    """Multiples of the run's rate at 0:00, 1:00, ... 24:00."""

    def rate(self, part: float) -> float:
        hour = min(part * 24, 24 - 1e-9)
        before = int(hour)
        low, high = self.HOURS[before], self.HOURS[before + 1]
        return low + (high - low) * (hour - before)


SHAPES: Final[dict[str, Callable[..., Shape]]] = {
    "constant": Constant,
    "poisson": Constant,
    "ramp": Ramp,
    "steps": Steps,
    "spike": Spike,
    "black-friday": BlackFriday,
}
"""`constant` arrives evenly, all others at random (see `schedule.py`)."""


def shape_named(text: str) -> Shape:
    """The shape that `NAME` or `NAME:key=value,...` describes. Raises `InvalidExperiment`."""
    name, _, rest = text.partition(":")
    make = SHAPES.get(name)
    if make is None:
        raise InvalidExperiment(
            f"There is no load shape {name[:40]!r}.",
            remedy=did_you_mean(name[:40], SHAPES, what="shapes"),
        )
    known = list(inspect.signature(make).parameters)
    return make(**dict(_parameter(part, name, known) for part in rest.split(",") if part))


def arrives_evenly(text: str) -> bool:
    """Whether the shape's arrivals are evenly spaced, and not at random."""
    return text.partition(":")[0] == "constant"


def _parameter(text: str, shape: str, known: list[str]) -> tuple[str, float]:
    key, _, value = text.partition("=")
    if key not in known:
        raise InvalidExperiment(
            f"The shape {shape!r} has no parameter {key[:40]!r}.",
            remedy=did_you_mean(key[:40], known, what="parameters")
            if known
            else f"Write {shape!r} alone.",
        )
    try:
        return key, float(value)
    except ValueError:
        raise InvalidExperiment(
            f"The shape {shape!r} takes a number for `{key}`, not {value[:40]!r}.",
            remedy=f"Write {shape}:{key}=1.5, for example.",
        ) from None


def _height(name: str, value: float) -> float:
    if not 0 <= value < 1e6:
        raise InvalidExperiment(
            f"A shape cannot have the `{name}` {value:g}.", remedy="Give it a number from 0 up."
        )
    return value
