"""`keys`: who may use the server."""

from typing import Annotated, Any

import typer

from ragstone.cli.client import Client, quoted
from ragstone.cli.context import context_of, run_with_client
from ragstone.cli.printing import print_deleted, print_json, print_rows

keys_app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)


@keys_app.command("create")
def create_key(
    typer_context: typer.Context,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="ask, ingest or admin; repeatable.", show_default="ask"),
    ] = None,
    user: Annotated[str | None, typer.Option(help="For whom it speaks.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="Their groups; repeatable.")] = None,
    tenant: Annotated[
        str | None, typer.Option(help="Whose documents it sees.", show_default="default")
    ] = None,
    label: Annotated[str, typer.Option(help="A note for yourself.")] = "",
    priority: Annotated[
        str | None,
        typer.Option(
            help="Under overload: critical is served first, sheddable is refused first.",
            show_default="the application's",
            metavar="critical|standard|sheddable",
        ),
    ] = None,
    requests_per_minute: Annotated[
        int | None,
        typer.Option(min=0, help="0: as many as it likes.", show_default="the settings'"),
    ] = None,
    tokens_per_minute: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Of the language model; 0: as many as it likes.",
            show_default="the settings'",
        ),
    ] = None,
) -> None:
    """Make a key. Its secret is shown once."""
    context = context_of(typer_context)
    body = {
        "scopes": scope or ["ask"],
        "user": user,
        "groups": group or [],
        "label": label,
        "tenant": tenant,
        "priority": priority,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
    }

    async def work(client: Client) -> Any:
        return await client.post("/v1/keys", body)

    made = run_with_client(context, work, create=True)
    if context.as_json:
        print_json(made)
        return
    typer.echo(made["secret"])
    typer.echo("This is the only time that it is shown. Send it as:", err=True)
    typer.echo("  Authorization: Bearer KEY", err=True)


@keys_app.command("list")
def list_keys(typer_context: typer.Context) -> None:
    """All keys, without their secrets."""

    async def work(client: Client) -> list[dict[str, Any]]:
        return [key async for page in client.pages("/v1/keys") for key in page["keys"]]

    context = context_of(typer_context)
    columns = (
        *("id", "tenant", "label", "user", "groups", "scopes", "priority"),
        *("requests_per_minute", "tokens_per_minute", "revoked_at"),
    )
    print_rows(context, run_with_client(context, work), columns, empty="No keys yet.")


@keys_app.command("revoke")
def revoke_key(typer_context: typer.Context, key_id: str) -> None:
    """Revoke a key; it is refused within a second."""
    context = context_of(typer_context)

    async def work(client: Client) -> Any:
        return await client.delete(f"/v1/keys/{quoted(key_id)}")

    print_deleted(context, run_with_client(context, work), done="Revoked")
