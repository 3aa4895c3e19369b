"""`load`: how the server behaves under load."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from ragstone.cli import load_options as options
from ragstone.cli.context import context_of
from ragstone.domain.errors import InvalidExperiment

if TYPE_CHECKING:
    from rich.console import Console

    from ragstone.lab.load.plan import LoadPlan
    from ragstone.lab.load.questions import Key, Question
    from ragstone.lab.load.report import LoadReport, Prices
    from ragstone.lab.load.sweep import Sweep
    from ragstone.lab.load.table import ProgressBar

_T = TypeVar("_T")

_INVALID = 2
"""Exit status of a run whose generator did not keep to the schedule."""


def load(
    typer_context: typer.Context,
    url: options.Url,
    rate: options.Rate = 10.0,
    duration: options.Duration = 30.0,
    shape: options.Shape = "poisson",
    trace: options.TraceFile = None,
    trace_start: options.TraceStart = 0.0,
    speed: options.Speed = 1.0,
    questions: options.QuestionsFile = None,
    collection: options.Collection = None,
    zipf: options.Zipf = 1.0,
    in_order: options.InOrder = False,
    once: options.Once = False,
    turns: options.Turns = 1,
    think: options.ThinkSeconds = 5.0,
    leave: options.LeaveShare = 0.0,
    key: options.ApiKey = None,
    keys: options.KeysFile = None,
    endpoint: options.Endpoint = "answers",
    whole: options.Whole = False,
    model: options.ModelName = None,
    deadline: options.DeadlineSeconds = 30.0,
    within: options.WithinSeconds = None,
    processes: options.Processes = None,
    seed: options.Seed = 1,
    sweep: options.Multiples = None,
    prices: options.PricesText = None,
    save: options.SaveTo = None,
    html: options.PageTo = None,
    against: options.Against = None,
    own_target: options.OwnTarget = False,
) -> None:
    """Measure a server under open-loop load. Exit status 2: the run is not valid."""
    from ragstone.lab.load.compare import read_report
    from ragstone.lab.load.plan import Trace, plan_load
    from ragstone.lab.load.requests import RequestForm
    from ragstone.lab.load.schedule import Behaviour

    behaviour = Behaviour(
        zipf=None if in_order else zipf, once=once, turns=turns, think_seconds=think, leave=leave
    )
    form = RequestForm(
        endpoint=endpoint, stream=not whole, deadline=deadline, collection=collection
    )
    form = form.of_model(model) if model else form
    asked, given = _questions(questions), _keys(key, keys)
    _check_writable(save, html)

    def plan(multiple: float) -> LoadPlan:
        return plan_load(
            url,
            rate=rate * multiple,
            duration=duration,
            shape=shape,
            trace=Trace(path=trace, start=trace_start, speed=speed * multiple) if trace else None,
            questions=asked,
            keys=given,
            behaviour=behaviour,
            form=form,
            within=within,
            seed=seed,
            processes=processes,
            own_target=own_target,
        )

    out = _Output(context_of(typer_context).as_json, save, html)
    before = read_report(against) if against else None
    if sweep is None:
        out.run(plan(1.0), _prices(prices), before)
    else:
        out.sweep(plan, sweep, _prices(prices))


@dataclass(frozen=True, slots=True)
class _Output:
    """Where the report goes."""

    as_json: bool
    save: Path | None
    html: Path | None

    def run(self, plan: LoadPlan, prices: Prices | None, before: LoadReport | None) -> None:
        from ragstone.lab.load.compare import compared
        from ragstone.lab.load.page import page_of
        from ragstone.lab.load.report import report_of
        from ragstone.lab.load.runner import run_load
        from ragstone.lab.load.table import print_report, print_rows

        with self._bar(plan) as bar:
            result = _awaited(run_load(plan, on_progress=bar.show))
        report = report_of(result, prices=prices)

        def tell(console: Console) -> None:
            print_report(report, console)
            if before is not None:
                columns = ("", "before", "now", "change")
                print_rows(columns, compared(before, report), console)

        self._tell(report, page_of(report), tell, valid=report.valid)

    def sweep(
        self, plan: Callable[[float], LoadPlan], multiples: str, prices: Prices | None
    ) -> None:
        from ragstone.lab.load.sweep import (
            SWEEP_COLUMNS,
            multiples_in,
            run_sweep,
            sweep_page,
            sweep_rows,
        )
        from ragstone.lab.load.table import print_rows

        plans = {multiple: plan(multiple) for multiple in multiples_in(multiples)}

        def started(multiple: float, plan: LoadPlan) -> None:
            if not self.as_json:
                typer.echo(f"{multiple:g}x: {plan.description}", err=True)

        found: Sweep = _awaited(run_sweep(plans, prices=prices, on_start=started))

        def tell(console: Console) -> None:
            print_rows(SWEEP_COLUMNS, sweep_rows(found), console)

        self._tell(found, sweep_page(found), tell, valid=found.valid)

    def _bar(self, plan: LoadPlan) -> ProgressBar:
        from rich.console import Console

        from ragstone.lab.load.table import ProgressBar

        console = Console(stderr=True)
        shown = console.is_terminal and not self.as_json
        return ProgressBar(console, len(plan.schedule), shown=shown)

    def _tell(
        self, report: object, page: str, tell: Callable[[Console], None], *, valid: bool
    ) -> None:
        import msgspec
        from rich.console import Console

        if self.save is not None:
            self.save.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
        if self.html is not None:
            self.html.write_text(page, encoding="utf-8")
        if self.as_json:
            typer.echo(msgspec.json.encode(report).decode())
        else:
            tell(Console())
        if not valid:
            raise typer.Exit(_INVALID)


def _awaited(work: Coroutine[Any, Any, _T]) -> _T:
    import asyncio

    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _questions(path: Path | None) -> tuple[Question, ...] | None:
    from ragstone.lab.load.questions import read_questions

    return read_questions(path) if path else None


def _keys(key: str | None, path: Path | None) -> tuple[Key, ...]:
    from ragstone.lab.load.questions import Key, read_keys

    if path:
        return read_keys(path)
    return (Key(key=key),) if key else ()


def _prices(text: str | None) -> Prices | None:
    from ragstone.lab.load.report import Prices

    if text is None:
        return None
    try:
        into, out = (float(part) for part in text.split(","))
    except ValueError:
        raise InvalidExperiment(
            f"{text[:40]!r} are not two prices.", remedy="Write --prices 0.15,0.60."
        ) from None
    return Prices(into, out)


def _check_writable(*paths: Path | None) -> None:
    """Before the run: nobody wants to learn it afterwards."""
    for path in paths:
        if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
            raise InvalidExperiment(
                f"The report cannot be written to {path}.",
                remedy="Give a file in a folder that is there.",
            )
