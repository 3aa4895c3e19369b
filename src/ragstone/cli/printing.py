"""What commands write to the terminal: JSON for programs, tables and counts for people."""

import sys
from typing import TYPE_CHECKING, Any

import typer

from ragstone.cli.context import Context

if TYPE_CHECKING:
    from rich.table import Table


def print_json(value: object) -> None:
    import msgspec

    typer.echo(msgspec.json.encode(value).decode())


def print_rows(
    context: Context, rows: list[dict[str, Any]], columns: tuple[str, ...], *, empty: str
) -> None:
    """A table for people, or the whole rows as JSON."""
    if context.as_json:
        print_json(rows)
        return
    if not rows:
        typer.echo(empty)
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold", no_wrap=column == "id")
    for row in rows:
        table.add_row(*(_cell(row[column]) for column in columns))
    print_table(table)


def print_table(table: "Table") -> None:
    """To standard output; lines are not broken where a program reads them."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 1000).print(table, markup=False)


def _cell(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def print_deleted(context: Context, answer: Any, *, done: str = "Deleted") -> None:
    """What a route that deletes has answered; `done`: what that is called here."""
    if context.as_json:
        print_json(answer)
    else:
        typer.echo(f"{done} {answer['deleted']}.")


def counted(count: int, one: str) -> str:
    """Such as "1 document" and "1,200 documents"."""
    return f"{count:,} {one}{'' if count == 1 else 's'}"
