"""What every command shares: the data folder, the output format, and how it runs."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import typer

from ragstone.cli.client import Client

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Context:
    """The options before the command."""

    home: Path | None
    as_json: bool


def context_of(typer_context: typer.Context) -> Context:
    found = typer_context.obj
    assert isinstance(found, Context)
    return found


def run_with_client(
    context: Context, work: Callable[[Client], Awaitable[_T]], *, create: bool = False
) -> _T:
    """Runs `work` with a client of the data folder's server; Ctrl-C ends it cleanly.

    `create` makes a data folder that is absent; else that is `HomeMissing`.
    """
    import asyncio

    from ragstone.cli.connection import connect

    async def run() -> _T:
        async with connect(context.home, create=create) as client:
            return await work(client)

    try:
        return asyncio.run(run())
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
