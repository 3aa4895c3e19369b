"""Axes of a plot: from values to places on the paper, grid and numbers."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 720
HEIGHT: Final = 280
"""Of the plot itself; the names of its series come below."""

LEFT: Final = 64
_RIGHT, _TOP, _BOTTOM = 12, 12, 44


@dataclass(frozen=True, slots=True)
class Axes:
    """What the axes are called, and how far they reach."""

    x: str
    y: str
    log_x: bool = False
    log_y: bool = False
    top: float | None = None
    """The highest value of y; None: what fits."""


class Frame:
    """From values to places on the paper."""

    def __init__(self, axes: Axes, xs: Sequence[float], low: float, high: float) -> None:
        self._axes = axes
        self._x = _scale(min(xs, default=0), max(xs, default=1), axes.log_x)
        self._y = _scale(low, high, axes.log_y)

    def x(self, value: float) -> float:
        return LEFT + self._x.part(value) * (WIDTH - LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - _BOTTOM - self._y.part(value) * (HEIGHT - _TOP - _BOTTOM)

    def point(self, x: float, y: float) -> str:
        return f"{self.x(x):.1f},{self.y(y):.1f}"

    def ground(self) -> str:
        """Grid, numbers and names."""
        parts = []
        for tick in self._y.ticks():
            y = self.y(tick)
            parts.append(
                f'<line class="grid" x1="{LEFT}" x2="{WIDTH - _RIGHT}" '
                f'y1="{y:.1f}" y2="{y:.1f}"/>'
                f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">'
                f"{short(tick)}</text>"
            )
        bottom = HEIGHT - _BOTTOM
        parts += [
            f'<text class="tick" x="{self.x(tick):.1f}" y="{bottom + 18}" '
            f'text-anchor="middle">{short(tick)}</text>'
            for tick in self._x.ticks()
        ]
        middle = (LEFT + WIDTH - _RIGHT) / 2
        parts.append(
            f'<line class="axis" x1="{LEFT}" x2="{WIDTH - _RIGHT}" y1="{bottom}" y2="{bottom}"/>'
            f'<text class="name" x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">'
            f"{escape(self._axes.x)}</text>"
            f'<text class="name" transform="translate(14 {bottom / 2}) rotate(-90)" '
            f'text-anchor="middle">{escape(self._axes.y)}</text>'
        )
        return "".join(parts)


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float
    to: Callable[[float], float]
    log: bool

    def part(self, value: float) -> float:
        """Where a value lies between the ends, 0 to 1."""
        value = min(max(value, self.low), self.high)
        return (self.to(value) - self.to(self.low)) / (self.to(self.high) - self.to(self.low))

    def ticks(self) -> list[float]:
        if self.log:
            powers = range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
            found = [10.0**power for power in powers]
            return found if len(found) > 1 else sorted({self.low, *found, self.high})
        step = _round_step((self.high - self.low) / 5)
        first = math.ceil(self.low / step - 1e-9)
        return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


def _scale(low: float, high: float, log: bool) -> _Scale:
    if log:
        low = max(low, 1e-6)
        return _Scale(low, max(high, low * 10), math.log10, log=True)
    # What is closer together than floats can divide is one value.
    return _Scale(
        low, high if high - low > abs(high) * 1e-9 + 1e-300 else low + 1, float, log=False
    )


def _round_step(rough: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power: float = 10.0 ** math.floor(math.log10(rough))
    return next(power * m for m in (1, 2, 5, 10) if power * m >= rough * (1 - 1e-9))


def short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
