"""Plots as inline SVG. Colours are classes of the page's style sheet, for light and dark."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from ragstone.lab.report.axes import HEIGHT, LEFT, WIDTH, Axes, Frame, short

COLOURS: Final = 10
"""Colours of series, `--c0` to `--c9` in the page, again from the first when there are more."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line, or one layer of a stack. Values that are not numbers leave a gap in a line."""

    name: str
    values: Sequence[float]
    dashed: bool = False
    colour: int | None = None
    """Which of the colours; None: by its place."""
    xs: Sequence[float] | None = None
    """Places of its own, in a line plot; None: the common ones."""


def line_plot(
    xs: Sequence[float], series: Sequence[Series], axes: Axes, *, marks: bool = False
) -> str:
    """Lines over common places. With `marks` each value of a line that is not dashed has a dot,
    and tells its number."""
    highest = axes.top or _largest([v for one in series for v in one.values])
    places = [*xs, *(x for one in series for x in one.xs or ())]
    frame = Frame(axes, places, _lowest(series) if axes.log_y else 0.0, highest)
    drawn = [frame.ground()]
    for number, one in enumerate(series):
        colour = number if one.colour is None else one.colour
        own = xs if one.xs is None else one.xs
        drawn.append(_line(frame, own, one, colour))
        if marks and not one.dashed:
            drawn.append(_marks(frame, own, one, colour))
    return _svg(drawn, series, axes)


def stacked_plot(xs: Sequence[float], series: Sequence[Series], axes: Axes) -> str:
    """Layers on one another, the first at the bottom."""
    below = [0.0] * len(xs)
    tops: list[list[float]] = []
    for one in series:
        below = [low + _number(value) for low, value in zip(below, one.values, strict=True)]
        tops.append(below)
    frame = Frame(axes, xs, 0.0, axes.top or _largest(below))
    drawn = [frame.ground()]
    for number, one in enumerate(series):
        floor = tops[number - 1] if number else [0.0] * len(xs)
        colour = number if one.colour is None else one.colour
        there = [frame.point(x, y) for x, y in zip(xs, tops[number], strict=True)]
        back = [frame.point(x, y) for x, y in zip(xs, floor, strict=True)][::-1]
        path = " ".join((*there, *back))
        drawn.append(
            f'<polygon class="f{colour % COLOURS}" points="{path}">'
            f"<title>{escape(one.name)}</title></polygon>"
        )
    return _svg(drawn, series, axes)


def histogram_plot(edges: Sequence[float], counts: Sequence[float], axes: Axes) -> str:
    """Bars between neighbouring edges, of which there is one more than counts."""
    frame = Frame(axes, edges, 0.0, axes.top or _largest(counts))
    drawn = [frame.ground()]
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        if count > 0:
            left, right, top = frame.x(low), frame.x(high), frame.y(count)
            drawn.append(
                f'<rect class="f0" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
                f'height="{frame.y(0) - top:.1f}"><title>{low:.3g} to {high:.3g}: '
                f"{count:,.0f}</title></rect>"
            )
    return _svg(drawn, (), axes)


def _line(frame: Frame, xs: Sequence[float], one: Series, colour: int) -> str:
    parts: list[list[str]] = [[]]
    for x, y in zip(xs, one.values, strict=True):
        if math.isfinite(y):
            parts[-1].append(frame.point(x, y))
        elif parts[-1]:
            parts.append([])
    dash = ' stroke-dasharray="6 5"' if one.dashed else ""
    return "".join(
        f'<polyline class="l{colour % COLOURS}"{dash} points="{" ".join(points)}">'
        f"<title>{escape(one.name)}</title></polyline>"
        for points in parts
        if points
    )


def _marks(frame: Frame, xs: Sequence[float], one: Series, colour: int) -> str:
    return "".join(
        f'<circle class="f{colour % COLOURS}" cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="4">'
        f"<title>{escape(one.name)}: {short(y)} at {short(x)}</title></circle>"
        for x, y in zip(xs, one.values, strict=True)
        if math.isfinite(y)
    )


def _svg(drawn: Sequence[str], series: Sequence[Series], axes: Axes) -> str:
    label = escape(f"{axes.y} over {axes.x}", quote=True)
    names = "".join(
        f'<g transform="translate({x} {HEIGHT + 14 + row * 20})">'
        f'<rect class="f{(n if one.colour is None else one.colour) % COLOURS}" '
        f'width="12" height="12" y="-10" rx="2"/>'
        f'<text class="tick" x="18">{escape(one.name)}</text></g>'
        for n, one, x, row in _legend(series)
    )
    rows = 1 + max((row for *_, row in _legend(series)), default=-1)
    height = HEIGHT + 20 * rows
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(drawn)}{names}</svg>'
    )


def _legend(series: Sequence[Series]) -> list[tuple[int, Series, int, int]]:
    """Number, series, place and row of each name; as many in a row as there is room."""
    found, x, row = [], LEFT, 0
    for number, one in enumerate(series):
        width = 40 + 7 * len(one.name)
        if x + width > WIDTH and x > LEFT:
            x, row = LEFT, row + 1
        found.append((number, one, x, row))
        x += width
    return found


def _largest(values: Sequence[float]) -> float:
    return max((v for v in values if math.isfinite(v)), default=1.0) * 1.05 or 1.0


def _lowest(series: Sequence[Series]) -> float:
    found = [v for one in series for v in one.values if math.isfinite(v) and v > 0]
    return min(found, default=1e-3)


def _number(value: float) -> float:
    return value if math.isfinite(value) else 0.0
