"""`ingest`, `documents`, `collections` and `jobs`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ragstone.cli.client import Client, quoted
from ragstone.cli.context import context_of, run_with_client
from ragstone.cli.printing import counted, print_deleted, print_json, print_rows
from ragstone.domain.errors import InvalidRequest
from ragstone.domain.usage import NANODOLLARS


def _not_empty(collection: str | None) -> str | None:
    if collection == "":
        raise InvalidRequest(
            "The name of the collection is empty, as that of a shell variable that is not set.",
            remedy="Give a name, or leave --collection out for the default one.",
            field="collection",
        )
    return collection


Collection = Annotated[
    str | None,
    typer.Option(
        "--collection", "-c", help="Collection.", show_default="default", callback=_not_empty
    ),
]

documents_app = typer.Typer(help="List, show and delete documents.", no_args_is_help=True)
collections_app = typer.Typer(help="List and delete collections.", no_args_is_help=True)


def ingest(
    typer_context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(help="Files and folders.")],
    collection: Collection = None,
    access: Annotated[
        list[str] | None,
        typer.Option(
            help="Who may read: *, group:NAME or user:NAME; repeatable.", show_default="*"
        ),
    ] = None,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Say what it would do and cost; do nothing.")
    ] = False,
) -> None:
    """Read documents into a collection. Unchanged ones cost nothing."""
    from rich.console import Console

    from ragstone.cli.files import select_files
    from ragstone.cli.ingestion import estimate_files, ingest_files

    context = context_of(typer_context)
    selection = select_files(paths)
    console = Console(stderr=True, quiet=context.as_json)

    async def tell_cost(client: Client) -> bool:
        found = await estimate_files(client, selection, collection=collection, access=access or [])
        if context.as_json:
            print_json(found)
        else:
            typer.echo(_estimate_in_words(found))
            _tell_errors(found["errors"])
        return not found["errors"]

    async def work(client: Client) -> bool:
        outcome = await ingest_files(
            client, selection, collection=collection, access=access or [], console=console
        )
        names = ("added", "changed", "unchanged", "failed", "chunks")
        counts = {name: outcome.count(name) for name in names}
        counts["failed"] += len(outcome.refused)
        if context.as_json:
            print_json({**counts, "errors": outcome.errors, "jobs": outcome.jobs})
        else:
            chunks = counted(counts.pop("chunks"), "chunk")
            done = [f"{count:,} {name}" for name, count in counts.items()]
            typer.echo(", ".join([*done, chunks]))
            _tell_errors(outcome.errors)
        return outcome.succeeded

    if not run_with_client(context, tell_cost if estimate else work, create=True):
        raise typer.Exit(1)


def _estimate_in_words(found: dict[str, Any]) -> str:
    read = f"{counted(found['documents'], 'document')}, {found['unchanged']:,} of them unchanged"
    tokens = counted(found["tokens"], "token")
    work = f"{counted(found['chunks'], 'chunk')} with about {tokens} to embed"
    dollars = found["nanodollars"] / NANODOLLARS
    return f"{read}; {work}: {f'about ${dollars:,.6f}' if dollars else 'free'}"


def _tell_errors(errors: list[dict[str, Any]]) -> None:
    for error in errors:
        name, message = error["external_id"], error["message"]
        told = message if message.startswith(f"{name} ") else f"{name}: {message}"
        typer.secho(told, fg="red", err=True)


def jobs(typer_context: typer.Context) -> None:
    """The newest ingestion jobs."""

    async def work(client: Client) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await client.get("/v1/jobs"))["jobs"]
        return found

    context = context_of(typer_context)
    rows = run_with_client(context, work)
    columns = ("id", "state", "collection", "source_name")
    print_rows(context, rows, columns, empty="No jobs yet.")


@collections_app.command("list")
def list_collections(typer_context: typer.Context) -> None:
    """All collections with their sizes."""

    async def work(client: Client) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await client.get("/v1/collections"))["collections"]
        return found

    context = context_of(typer_context)
    columns = ("name", "document_count", "chunk_count", "generation")
    empty = "No collections yet. Make one: ragstone ingest ./docs"
    print_rows(context, run_with_client(context, work), columns, empty=empty)


@collections_app.command("delete")
def delete_collection(
    typer_context: typer.Context,
    name: str,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a collection with all of its documents."""
    context = context_of(typer_context)
    if not yes and context.as_json:
        raise InvalidRequest(
            f"Deleting the collection {name} with all of its documents was not confirmed.",
            remedy="Add --yes.",
        )
    if not yes:
        typer.confirm(f"Delete the collection {name} with all of its documents?", abort=True)

    async def work(client: Client) -> Any:
        return await client.delete(f"/v1/collections/{quoted(name)}")

    print_deleted(context, run_with_client(context, work))


@documents_app.command("list")
def list_documents(typer_context: typer.Context, collection: Collection = None) -> None:
    """The documents of a collection."""

    async def work(client: Client) -> list[dict[str, Any]]:
        query = {} if collection is None else {"collection": collection}
        pages = client.pages("/v1/documents", query)
        return [document async for page in pages for document in page["documents"]]

    context = context_of(typer_context)
    columns = ("id", "external_id", "title", "chunk_count")
    print_rows(context, run_with_client(context, work), columns, empty="No documents yet.")


@documents_app.command("show")
def show_document(typer_context: typer.Context, document_id: str) -> None:
    """The text of a document."""

    async def work(client: Client) -> Any:
        return await client.get(f"/v1/documents/{quoted(document_id)}")

    context = context_of(typer_context)
    found = run_with_client(context, work)
    if context.as_json:
        print_json(found)
    else:
        typer.echo(found["text"])


@documents_app.command("delete")
def delete_document(typer_context: typer.Context, document_id: str) -> None:
    """Delete a document; it is unfindable at once."""

    async def work(client: Client) -> Any:
        return await client.delete(f"/v1/documents/{quoted(document_id)}")

    context = context_of(typer_context)
    print_deleted(context, run_with_client(context, work))
