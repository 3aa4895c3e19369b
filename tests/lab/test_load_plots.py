"""Plots and pages: well-formed, escaped, and in their places."""

import math
import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.lab.report.axes import HEIGHT, WIDTH, Axes
from ragstone.lab.report.page import Page, standalone
from ragstone.lab.report.plots import Series, histogram_plot, line_plot, stacked_plot

_NUMBERS = st.lists(st.floats(0, 1e6) | st.just(math.nan), min_size=1, max_size=30)


def points(svg: str) -> list[tuple[float, float]]:
    texts = re.findall(r'points="([^"]*)"', svg)
    pairs = [pair.split(",") for text in texts for pair in text.split()]
    return [(float(x), float(y)) for x, y in pairs]


@given(values=_NUMBERS, log=st.booleans())
def test_lines_and_layers_stay_on_the_paper(values: list[float], log: bool) -> None:
    xs = [float(n) for n in range(len(values))]
    series = [Series("a", values), Series("b", values[::-1])]
    for svg in (
        line_plot(xs, series, Axes("x", "y", log_y=log), marks=True),
        stacked_plot(xs, series, Axes("x", "y")),
    ):
        ElementTree.fromstring(svg)
        assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points(svg))


def test_a_gap_in_the_values_is_a_gap_in_the_line() -> None:
    svg = line_plot([0, 1, 2, 3], [Series("a", [1, math.nan, 2, 3])], Axes("x", "y"))
    assert svg.count("<polyline") == 2


def test_higher_values_stand_higher_and_later_ones_further_right() -> None:
    (x0, y0), (x1, y1) = points(line_plot([0, 1], [Series("a", [1, 2])], Axes("x", "y")))
    assert x1 > x0
    assert y1 < y0


def test_bars_are_as_many_as_counts_that_are_not_zero() -> None:
    svg = histogram_plot([0.01, 0.1, 1, 10], [3, 0, 5], Axes("s", "n", log_x=True))
    assert len(ElementTree.fromstring(svg).findall(".//{*}rect")) == 2


def test_a_plot_of_nothing_is_a_plot() -> None:
    ElementTree.fromstring(line_plot([], [], Axes("x", "y")))
    ElementTree.fromstring(stacked_plot([0.0], [Series("a", [0.0])], Axes("x", "y")))
    ElementTree.fromstring(histogram_plot([0, 1], [0], Axes("x", "y")))


def test_what_is_text_is_escaped_everywhere() -> None:
    evil = '<script>"&'
    page = Page(evil, evil).heading(evil).note(evil, "bad").table([evil], [[evil]], moods=["good"])
    page.figure(line_plot([0, 1], [Series(evil, [1, 2])], Axes(evil, evil)), evil)
    html = page.html(footer=evil)
    ElementTree.fromstring(html.partition("\n")[2])
    assert "<script" not in html


def test_a_plot_can_stand_alone_with_its_colours() -> None:
    svg = standalone(line_plot([0, 1], [Series("a", [1, 2])], Axes("x", "y")))
    root = ElementTree.fromstring(svg)
    assert root.find("{*}style") is not None
    assert "prefers-color-scheme:dark" in svg


@pytest.mark.parametrize("ground", ["#ffffff", "#14181e"])
def test_series_can_be_told_from_the_ground(ground: str) -> None:
    """WCAG 2.2, 1.4.11: at least 3:1."""
    html = Page("t").html()
    light, dark = html.split("@media")[:2]
    part = light if ground == "#ffffff" else dark
    colours = re.findall(r"--c\d+:(#[0-9a-f]{6})", part)
    assert len(colours) == 10
    assert all(_contrast(colour, ground) >= 3 for colour in colours)


def _contrast(one: str, other: str) -> float:
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts
    )  # fmt: skip
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
