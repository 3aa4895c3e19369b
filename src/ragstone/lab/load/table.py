"""A run's report for the terminal, and its progress while it runs."""

from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ragstone.lab.load.outcome import ANSWERED, REFUSED, Outcome
from ragstone.lab.load.page import GROUP_COLUMNS, group_cells, percentile_rows
from ragstone.lab.load.report import Group, LoadReport
from ragstone.lab.load.worker import Progress as Course

_SHOWN: Final = ("p50", "p90", "p99", "p99.9", "max")


def print_report(report: LoadReport, console: Console) -> None:
    """The figures, the outcomes, and whether the run counts."""
    console.print(f"{report.load} on {report.target}", markup=False, highlight=False)
    _print_rates(report, console)
    times = _table("seconds", *_SHOWN)
    for name, of in percentile_rows(report):
        times.add_row(name, *(f"{of[percentile]:.4f}" for percentile in _SHOWN))
    console.print(times)
    for title, counts in (
        ("outcome", report.outcomes),
        ("code", report.codes),
        ("left out", report.rungs),
    ):
        _print_counts(title, counts, console)
    later = [report.later_turns] if report.later_turns else []
    for title, groups in (
        ("key", report.by_key),
        ("priority", report.by_priority),
        ("closed loop", later),
    ):
        print_rows([title, *GROUP_COLUMNS[1:]], _cells(groups), console)
    if not report.valid:
        console.print("This run is not valid.", style="bold red")
        for reason in report.reasons:
            console.print(f"  {reason}", style="red", highlight=False)


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> None:
    """A table, unless there is nothing in it."""
    if rows:
        table = _table(*columns)
        for row in rows:
            table.add_row(*row)
        console.print(table)


class ProgressBar:
    """One line that follows a run."""

    def __init__(self, console: Console, total: int, *, shown: bool) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[said]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not shown,
        )
        self._task = self._progress.add_task("Load", total=total, said="")

    def __enter__(self) -> "ProgressBar":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def show(self, course: Course) -> None:
        self._progress.update(self._task, completed=course.launched, said=_said(course))


def _said(course: Course) -> str:
    answered = sum(course.outcomes[one] for one in ANSWERED)
    refused = sum(course.outcomes[one] for one in REFUSED)
    left = course.outcomes[Outcome.LEFT]
    failed = sum(course.outcomes) - answered - refused - left
    waiting = course.launched - sum(course.outcomes)
    return (
        f"{course.launched:,} sent, {answered:,} answered, {refused:,} refused, "
        f"{failed:,} failed, {waiting:,} waiting"
    )


def _print_rates(report: LoadReport, console: Console) -> None:
    rates = _table("", "requests/s", "share")
    rates.add_row("offered", f"{report.offered:,.2f}", "")
    rates.add_row("answered", f"{report.throughput:,.2f}", "")
    rates.add_row(f"good, within {report.within:g} s", f"{report.goodput:,.2f}",
                  f"{report.good_share:.1%}")  # fmt: skip
    rates.add_row("degraded, of the answers", "", f"{report.degraded_share:.1%}")
    rates.add_row("output tokens", f"{report.output_tokens_per_second:,.0f}", "")
    if report.cost_dollars is not None:
        rates.add_row("cost, dollars", f"{report.cost_dollars:,.4f}", "")
    console.print(rates)


def _print_counts(title: str, counts: dict[str, int], console: Console) -> None:
    print_rows((title, "requests"), [(n, f"{c:,}") for n, c in counts.items() if c], console)


def _cells(groups: Sequence[Group]) -> list[tuple[str, ...]]:
    return [group_cells(group) for group in groups]


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    return table
