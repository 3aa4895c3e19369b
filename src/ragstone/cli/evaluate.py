"""`eval`: how well a collection is searched."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ragstone.cli.client import Client
from ragstone.cli.context import context_of, run_with_client
from ragstone.cli.printing import print_json, print_table

if TYPE_CHECKING:
    from ragstone.lab.evaluation import Estimate, Evaluation

_DEPTH: Final = 100
"""Passages asked for, the most that a search gives: several may belong to one document, and
recall@50 needs fifty documents."""


def evaluate(
    typer_context: typer.Context,
    collection: Annotated[str, typer.Option("--collection", "-c", help="Collection.")],
    queries: Annotated[Path, typer.Option(help="JSON lines with id and text.")],
    qrels: Annotated[Path, typer.Option(help="Tab-separated query_id, document_id, grade.")],
) -> None:
    """Measure dense, lexical and hybrid search on judged queries."""
    from rich.console import Console
    from rich.progress import Progress

    from ragstone.lab.evaluation import MODES
    from ragstone.lab.evaluation import evaluate as run
    from ragstone.lab.judged_set import read_judged_set

    context = context_of(typer_context)
    judged = read_judged_set(queries, qrels)
    degraded: dict[str, int] = {}

    async def work(client: Client) -> "Evaluation":
        async def search(text: str, mode: str) -> list[str]:
            body = {"query": text, "collection": collection, "top_k": _DEPTH, "mode": mode}
            found = await client.post("/v1/search", body)
            for rung in found["degraded"]:
                degraded[rung] = degraded.get(rung, 0) + 1
            return [passage["external_id"] for passage in found["passages"]]

        console = Console(stderr=True)
        shown = console.is_terminal and not context.as_json
        with Progress(console=console, transient=True, disable=not shown) as progress:
            task = progress.add_task("Searching", total=len(judged.queries) * len(MODES))
            return await run(judged, search, lambda: progress.advance(task))

    result = run_with_client(context, work)
    if context.as_json:
        print_json({"collection": collection, **asdict(result), "degraded": degraded})
        return
    _print_table(result)
    for rung, count in degraded.items():
        typer.secho(f"{count} searches were degraded: {rung}.", fg="yellow", err=True)


def _print_table(result: "Evaluation") -> None:
    from rich.table import Table

    modes = list(result.estimates)
    table = Table("measure", *modes, box=None, pad_edge=False)
    differences = Table("measure", "hybrid - better leg", box=None, pad_edge=False)
    for measure, difference in result.hybrid_minus_best_leg.items():
        table.add_row(measure, *(_cell(result.estimates[mode][measure]) for mode in modes))
        differences.add_row(measure, _cell(difference, signed=True))
    print_table(table)
    typer.echo()
    print_table(differences)
    left_out = f"; {result.unjudged_queries} left out (nothing relevant is known for them)"
    typer.echo(
        f"\n{result.queries} queries{left_out if result.unjudged_queries else ''}. "
        "In brackets: 95 % confidence (bootstrap over queries)."
    )


def _cell(value: "Estimate", *, signed: bool = False) -> str:
    form = "{:+.3f} [{:+.3f}, {:+.3f}]" if signed else "{:.3f} [{:.3f}, {:.3f}]"
    return form.format(value.mean, value.low, value.high)
