"""`usage`: what was used, and what it cost."""

import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from ragstone.cli.budgets import shown_dollars
from ragstone.cli.client import Client
from ragstone.cli.context import context_of, run_with_client
from ragstone.cli.printing import print_json, print_table
from ragstone.domain.errors import InvalidRequest

_TOKENS = (
    ("in", "input_tokens"),
    ("cached in", "cached_input_tokens"),
    ("out", "output_tokens"),
    ("embedded", "embedding_tokens"),
    ("reranked", "rerank_tokens"),
)


def usage(
    typer_context: typer.Context,
    by: Annotated[
        str,
        typer.Option(help="Sum up by.", metavar="tenant|app|model|key|user|day|hour"),
    ] = "day",
    since: Annotated[
        str, typer.Option(help="36h, 7d or 2w back, or a date, in UTC.", metavar="WHEN")
    ] = "7d",
    until: Annotated[
        str | None, typer.Option(help="Likewise.", metavar="WHEN", show_default="now")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Only this one's.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Questions, tokens and dollars: the dearest first, or by time."""
    context = context_of(typer_context)
    if as_csv and context.as_json:
        raise InvalidRequest("Both --csv and --json were given.", remedy="Give one of them.")
    given = {"by": by, "since": since, "until": until, "tenant": tenant}
    query = {name: value for name, value in given.items() if value is not None}

    async def work(client: Client) -> Any:
        if as_csv:
            return await client.text("/v1/usage", {**query, "format": "csv"})
        return await all_pages(client, query)

    found = run_with_client(context, work)
    if as_csv:
        sys.stdout.write(found.replace("\r\n", "\n"))
    elif context.as_json:
        print_json(found)
    elif not found["lines"]:
        since_then = datetime.fromtimestamp(found["since"], UTC)
        typer.echo(f"Nothing was used since {since_then:%Y-%m-%d %H:%M} UTC.")
    else:
        _print_table(found)


async def all_pages(client: Client, query: dict[str, str]) -> dict[str, Any]:
    """As one. What is used meanwhile may bring a line twice: the later one counts."""
    lines: dict[str, dict[str, Any]] = {}
    report: dict[str, Any] = {}
    async for page in client.pages("/v1/usage", query):
        report = page
        for line in page["lines"]:
            lines[line["by"]] = line
    return {**report, "lines": list(lines.values())}


def _print_table(found: dict[str, Any]) -> None:
    from rich.table import Table

    lines, total = found["lines"], found["total"]
    tokens = [(title, field) for title, field in _TOKENS if total[field]]
    table = Table(box=None, pad_edge=False, show_footer=True)
    table.add_column(found["by"], "total", overflow="fold")
    table.add_column("questions", f"{total['questions']:,}", justify="right")
    table.add_column("cached", _share(total), justify="right")
    for title, field in tokens:
        table.add_column(f"{title} tokens", f"{total[field]:,}", justify="right")
    table.add_column("cost", shown_dollars(total["nanodollars"]), justify="right")
    table.add_column("saved", shown_dollars(total["saved_nanodollars"]), justify="right")
    for line in lines:
        table.add_row(
            _label(line["by"]),
            f"{line['questions']:,}",
            _share(line),
            *(f"{line[field]:,}" for _, field in tokens),
            shown_dollars(line["nanodollars"]),
            shown_dollars(line["saved_nanodollars"]),
        )
    print_table(table)
    if total["estimated"]:
        typer.echo("Some tokens were counted here, since a provider gave no count.")


def _label(name: str) -> Any:
    from rich.text import Text

    return Text(name) if name else Text("(none)", style="dim")


def _share(line: dict[str, Any]) -> str:
    return f"{line['cached'] / line['questions']:.0%}" if line["questions"] else ""
