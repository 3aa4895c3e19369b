"""`cache`: how the caches are used, and clearing them."""

from typing import Annotated, Any

import typer

from ragstone.cli.client import Client, quoted
from ragstone.cli.context import context_of, run_with_client
from ragstone.cli.printing import print_json, print_rows

cache_app = typer.Typer(help="See how the caches are used; clear them.", no_args_is_help=True)


@cache_app.command("stats")
def show_stats(typer_context: typer.Context) -> None:
    """Look-ups since the server started, and what is kept, over all processes."""
    context = context_of(typer_context)

    async def work(client: Client) -> Any:
        return await client.get("/v1/cache")

    found = run_with_client(context, work)
    if context.as_json:
        print_json(found)
        return
    uses = [{**use, "hit_ratio": _percent(use["hit_ratio"])} for use in found["caches"]]
    columns = ("cache", "hit_ratio", "hits", "joined", "misses", "stale", "false_hits")
    print_rows(context, uses, columns, empty="No caches.")
    if not found["semantic"]:
        typer.echo("The semantic tier is off: cache.semantic.")
    elif off := found["semantic_off"]:
        processes = "process" if off == 1 else "processes"
        typer.echo(f"The semantic tier has switched itself off in {off} {processes}.")
    typer.echo()
    figures = ("holds", "store", "entries", "bytes", "max_bytes", "available")
    stores = [{**store, "available": _yes(store["available"])} for store in found["stores"]]
    print_rows(context, stores, figures, empty="Nothing is kept: cache.enabled is off.")


@cache_app.command("clear")
def clear(
    typer_context: typer.Context,
    collection: Annotated[
        str | None, typer.Option(help="Only its answers.", show_default="all")
    ] = None,
) -> None:
    """Forget kept answers: they are out of reach at once, in every process."""
    context = context_of(typer_context)
    query = "" if collection is None else f"?collection={quoted(collection)}"

    async def work(client: Client) -> Any:
        return await client.delete(f"/v1/cache{query}")

    cleared = run_with_client(context, work)
    if context.as_json:
        print_json(cleared)
    else:
        names = ", ".join(cleared["collections"]) or "nothing, since there is no collection"
        typer.echo(f"Cleared {names}. Entries removed here: {cleared['removed']}.")


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


def _percent(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.1%}"
