"""A page of headings, tables and figures in one file that needs nothing else."""

from collections.abc import Sequence
from html import escape
from typing import Final, Literal, Self

Mood = Literal["good", "bad", "plain"]

_PALETTE: Final = (
    ("#2f6fb5", "#6ea8e0"),
    ("#c8741a", "#e9a14f"),
    ("#5f8f3a", "#93c36b"),
    ("#b04a5a", "#e28693"),
    ("#7a5aa8", "#b397dd"),
    ("#8a7a2a", "#cdbb62"),
    ("#2f8f8a", "#66c5bf"),
    ("#6b7280", "#a3abb8"),
    ("#9c3587", "#dc86c9"),
    ("#3d4f60", "#c9d3dd"),
)
"""For light and for dark ground, each with a contrast of at least 3:1 (WCAG 2.2, 1.4.11)."""

_PLOT_STYLE: Final = """
.plot { width: 100%; height: auto; font: 12px system-ui, sans-serif; }
.plot .grid { stroke: var(--line); }
.plot .axis { stroke: var(--ink); }
.plot text { fill: var(--ink); }
.plot polyline { fill: none; stroke-width: 2; stroke-linejoin: round; }
"""

_STYLE: Final = """
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem; background: var(--ground);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; margin: 1rem 0; }
th, td { padding: .3rem .9rem .3rem 0; text-align: right; border-bottom: 1px solid var(--line);
  font-variant-numeric: tabular-nums; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 1rem 0; } figcaption { color: var(--soft); font-size: .9rem; }
.note { padding: .6rem 1rem; border-left: 4px solid var(--line); }
.good { border-color: var(--good); } .bad { border-color: var(--bad); }
td.good { color: var(--good); } td.bad { color: var(--bad); font-weight: 600; }
footer { margin-top: 3rem; color: var(--soft); font-size: .9rem; }
"""


class Page:
    """Put together from top to bottom; everything that is text is escaped."""

    def __init__(self, title: str, subtitle: str = "") -> None:
        self._title = title
        self._parts = [f"<h1>{escape(title)}</h1>"]
        if subtitle:
            self.text(subtitle)

    def heading(self, text: str) -> Self:
        return self._add(f"<h2>{escape(text)}</h2>")

    def text(self, text: str) -> Self:
        return self._add(f"<p>{escape(text)}</p>")

    def note(self, text: str, mood: Mood = "plain") -> Self:
        """A paragraph that stands out, as a verdict does."""
        return self._add(f'<p class="note {mood}">{escape(text)}</p>')

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[str]],
        *,
        moods: Sequence[Mood] | None = None,
    ) -> Self:
        """`moods` colours the last cell of each row."""
        head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
        body = "".join(
            _row(row, moods[number] if moods else "plain") for number, row in enumerate(rows)
        )
        return self._add(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")

    def figure(self, svg: str, caption: str) -> Self:
        """`svg` as the functions of `plots` make it."""
        return self._add(f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>")

    def html(self, *, footer: str = "") -> str:
        """The whole document; its markup is well-formed XML too."""
        end = f"<footer>{escape(footer)}</footer>" if footer else ""
        return (
            '<!DOCTYPE html>\n<html lang="en" xmlns="http://www.w3.org/1999/xhtml"><head>'
            '<meta charset="utf-8"/>'
            '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
            f"<title>{escape(self._title)}</title>"
            f"<style>{_colours()}{_PLOT_STYLE}{_STYLE}</style></head><body><main>"
            f"{''.join(self._parts)}</main>{end}</body></html>\n"
        )

    def _add(self, markup: str) -> Self:
        self._parts.append(markup)
        return self


def standalone(svg: str) -> str:
    """A plot as an SVG file of its own, as a README shows it, for light and dark ground."""
    head, _, rest = svg.partition(">")
    ground = '<rect width="100%" height="100%" fill="var(--ground)"/>'
    return f"{head}><style>{_colours()}{_PLOT_STYLE}</style>{ground}{rest}\n"


def _row(cells: Sequence[str], mood: Mood) -> str:
    *first, last = cells
    kind = "" if mood == "plain" else f' class="{mood}"'
    return (
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in first)
        + f"<td{kind}>{escape(last)}</td></tr>"
    )  # fmt: skip


def _colours() -> str:
    light = (
        "--ground:#fff;--ink:#1d2530;--soft:#5b6675;--line:#dfe3e8;--good:#2c7a3f;--bad:#b3261e;"
    )
    dark = (
        "--ground:#14181e;--ink:#e6e9ee;--soft:#a3abb8;--line:#333b46;--good:#7fcf8f;--bad:#ff9a90;"
    )
    for number, (on_light, on_dark) in enumerate(_PALETTE):
        light += f"--c{number}:{on_light};"
        dark += f"--c{number}:{on_dark};"
    series = "".join(
        f".l{n}{{stroke:var(--c{n})}}.f{n}{{fill:var(--c{n})}}" for n in range(len(_PALETTE))
    )
    return (
        f":root{{color-scheme:light dark;{light}}}"
        f"@media (prefers-color-scheme:dark){{:root{{{dark}}}}}{series}"
    )
