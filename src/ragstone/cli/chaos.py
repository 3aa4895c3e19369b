"""`chaos`: faults against real processes, and what clients then receive."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragstone.cli.context import context_of
from ragstone.cli.printing import print_json, print_table

if TYPE_CHECKING:
    from ragstone.lab.chaos.scenario import Scenario
    from ragstone.lab.chaos.verdict import Result

chaos_app = typer.Typer(
    help="Faults against real processes, and what clients then receive.", no_args_is_help=True
)


@chaos_app.command("list")
def list_scenarios(typer_context: typer.Context) -> None:
    """The scenarios, and why some do not apply."""
    from rich.table import Table

    from ragstone.lab.chaos.scenarios import SCENARIOS

    if context_of(typer_context).as_json:
        print_json([_described(scenario) for scenario in SCENARIOS])
        return
    table = Table("scenario", "faults", "what is done", "what is expected", box=None)
    for scenario in SCENARIOS:
        expected = scenario.expects
        if scenario.run is None:
            expected = f"Does not apply: {scenario.not_applicable}"
        faults = ", ".join(map(str, scenario.faults))
        table.add_row(scenario.name, faults, scenario.does, expected)
    print_table(table)


@chaos_app.command()
def run(
    typer_context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="[name]...")] = None,
    every: Annotated[bool, typer.Option("--all", help="All scenarios.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Short runs; with --all only those that have them.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write an HTML page of the results there.")
    ] = None,
) -> None:
    """Run scenarios on servers of their own.

    Ends with status 1 when one fails.
    """
    import uvloop

    from ragstone.lab.chaos.report import html_report
    from ragstone.lab.chaos.run import run_all
    from ragstone.lab.chaos.scenarios import SCENARIOS

    as_json = context_of(typer_context).as_json
    selected = _selected(names or [], every=every, quick=quick)

    def told(result: "Result") -> None:
        if not as_json:
            _print_result(result)

    try:
        results = uvloop.run(run_all(selected, quick=quick, told=told))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if report is not None:
        _write(report, html_report(SCENARIOS, results, quick=quick))
    if as_json:
        print_json(results)
    else:
        _print_summary(results)
    if any(result.status in ("failed", "broken") for result in results):
        raise typer.Exit(1)


def _selected(names: list[str], *, every: bool, quick: bool) -> "list[Scenario]":
    from ragstone.domain.errors import InvalidExperiment
    from ragstone.lab.chaos.run import chosen
    from ragstone.lab.chaos.scenarios import SCENARIOS

    if every == bool(names):
        raise InvalidExperiment(
            "Say which scenarios to run." if not every else "Give names or --all, not both.",
            remedy="`ragstone chaos list` shows them; --all runs all of them.",
            field="names",
        )
    if not every:
        return chosen(SCENARIOS, names)
    return [scenario for scenario in SCENARIOS if scenario.quick or not quick]


def _described(scenario: "Scenario") -> dict[str, object]:
    return {
        "name": scenario.name,
        "faults": scenario.faults,
        "does": scenario.does,
        "expects": scenario.expects,
        "quick": scenario.quick,
        "not_applicable": scenario.not_applicable or None,
    }


def _print_result(result: "Result") -> None:
    colours = {"passed": "green", "failed": "red", "broken": "red", "not_applicable": None}
    typer.secho(f"{result.status:<15}", fg=colours[result.status], nl=False)
    typer.echo(f"{result.name}  ({result.seconds:g} s, {len(result.checks)} checks)")
    for check in result.checks:
        if not check.passed:
            typer.echo(f"    {check.what}: {check.measured}, not {check.bound}")
    if result.note:
        typer.echo("    " + result.note.strip().replace("\n", "\n    "))


def _print_summary(results: "list[Result]") -> None:
    from ragstone.lab.chaos.report import summary

    typer.echo(f"\n{summary(results)}")


def _write(path: Path, page: str) -> None:
    from ragstone.domain.errors import InvalidExperiment

    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InvalidExperiment(
            f"The report cannot be written to {path}: {(error.strerror or str(error)).lower()}.",
            remedy="Give --report a file in a folder that there is.",
            field="report",
        ) from None
