"""The results as one page that needs nothing else."""

from collections.abc import Sequence

from ragstone.lab.chaos.scenario import Scenario
from ragstone.lab.chaos.verdict import Result, Status
from ragstone.lab.report.page import Mood, Page

_WORDS: dict[Status, str] = {
    "passed": "passed",
    "failed": "failed",
    "broken": "could not run",
    "not_applicable": "does not apply",
}
_MOODS: dict[Status, Mood] = {
    "passed": "good",
    "failed": "bad",
    "broken": "bad",
    "not_applicable": "plain",
}


def summary(results: Sequence[Result]) -> str:
    """How many passed, in a sentence."""
    counts = {status: sum(r.status == status for r in results) for status in _WORDS}
    parts = [f"{count} {_WORDS[status]}" for status, count in counts.items() if count]
    return f"{len(results)} scenarios: {', '.join(parts) or 'none'}."


def html_report(scenarios: Sequence[Scenario], results: Sequence[Result], *, quick: bool) -> str:
    """A table of all, then each with what was done and every check."""
    length = "short runs" if quick else "full runs"
    page = Page("Ragstone under faults", f"{summary(results)} ({length})")
    page.table(
        ("scenario", "faults", "seconds", "result"),
        [(r.name, _numbers(r), f"{r.seconds:g}", _WORDS[r.status]) for r in results],
        moods=[_MOODS[r.status] for r in results],
    )
    told = {scenario.name: scenario for scenario in scenarios}
    for result in results:
        _scenario(page, told[result.name], result)
    return page.html(footer="Rows are those of the table of faults in docs/lab.md.")


def _scenario(page: Page, scenario: Scenario, result: Result) -> None:
    page.heading(f"{result.name}: {_WORDS[result.status]}")
    page.text(f"{scenario.does} Expected: {scenario.expects}")
    if result.outcomes:
        ended = sorted(result.outcomes.items(), key=lambda entry: -entry[1])
        page.text("Requests: " + ", ".join(f"{count} {name}" for name, count in ended) + ".")
    if result.note:
        page.note(result.note, _MOODS[result.status])
    if result.checks:
        page.table(
            ("check", "bound", "measured"),
            [(check.what, check.bound, check.measured) for check in result.checks],
            moods=["good" if check.passed else "bad" for check in result.checks],
        )


def _numbers(result: Result) -> str:
    return ", ".join(map(str, result.faults))
