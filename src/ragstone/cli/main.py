"""`ragstone`: the entry point. Imports stay light, so that help comes at once."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ragstone.cli import (
    ask,
    budgets,
    cache,
    chaos,
    documents,
    evaluate,
    keys,
    load,
    printing,
    setup,
    simulate,
    usage,
)
from ragstone.cli.context import Context
from ragstone.domain.errors import InvalidRequest, RagstoneError

app = typer.Typer(
    name="ragstone",
    help="Answers from your own documents, with citations.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Home = Annotated[
    Path | None,
    typer.Option("--home", envvar="RAGSTONE_HOME", help="Data folder.", show_default="./.ragstone"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines, errors too.")]


def _version(wanted: bool) -> None:
    if wanted:
        from ragstone import __version__

        typer.echo(f"ragstone {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    home: Home = None,
    as_json: Json = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    context.obj = Context(home=home, as_json=as_json)


app.command()(setup.init)
app.command()(documents.ingest)
app.command()(ask.ask)
app.command()(ask.search)
app.command()(setup.serve)
app.command()(setup.demo)
app.command("eval")(evaluate.evaluate)
app.command()(load.load)
app.command()(documents.jobs)
app.add_typer(documents.collections_app, name="collections")
app.add_typer(documents.documents_app, name="documents")
app.add_typer(keys.keys_app, name="keys")
app.add_typer(budgets.budgets_app, name="budgets")
app.add_typer(cache.cache_app, name="cache")
app.command()(usage.usage)
app.add_typer(simulate.simulate_app, name="simulate")
app.add_typer(chaos.chaos_app, name="chaos")


def main() -> None:
    """Run the command line; errors become one sentence on standard error and exit status 1.

    With `--json` they become `{"error": {"code", "message", "remedy"}}` on standard output.
    """
    arguments = hoisted(sys.argv[1:])
    if sys.stdout is None:  # closed by the caller, as in `ragstone ... >&-`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process
    try:
        _require_text(arguments)
        app(arguments)
    except RagstoneError as error:
        if _asks_for_json(arguments):
            body = {"code": error.code, "message": error.message, "remedy": error.remedy}
            printing.print_json({"error": body})
        else:
            _print_error(error)
        sys.exit(1)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone, as in `ragstone ... | head`
        sys.exit(141)
    except OSError as error:
        if error.filename is not None:
            raise
        # Of no file but standard output, as on a full disk. What is left to write goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        reason = (error.strerror or str(error)).lower()
        typer.secho(f"Error: The output cannot be written: {reason}.", fg="red", err=True)
        sys.exit(1)


def _require_text(arguments: list[str]) -> None:
    """Raises `InvalidRequest` for bytes that are not UTF-8, which only a path may hold."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            if not os.path.lexists(argument):
                raise InvalidRequest(
                    f"The argument {ascii(os.fsencode(argument))[1:]} is not UTF-8.",
                    remedy="Use a terminal and a locale that are set to UTF-8.",
                ) from None


def hoisted(arguments: list[str]) -> list[str]:
    """`--json` and `--home` work after the command too: they are moved to the front."""
    front: list[str] = []
    rest: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--":
            rest += [argument, *remaining]
        elif argument == "--home":
            front += [argument, *[value for value in [next(remaining, None)] if value is not None]]
        elif argument == "--json" or argument.startswith("--home="):
            front.append(argument)
        else:
            rest.append(argument)
    return front + rest


def _asks_for_json(arguments: list[str]) -> bool:
    """Of hoisted arguments: what stands after `--` is text."""
    before = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in before


def _print_error(error: RagstoneError) -> None:
    typer.secho(f"Error: {error.message}", fg="red", err=True)
    if error.remedy:
        typer.echo(f"  {error.remedy}", err=True)
    typer.secho(f"  [{error.code}]", dim=True, err=True)
