"""`init`, `serve` and `demo`."""

import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from ragstone.cli.context import Context, context_of
from ragstone.cli.printing import print_json
from ragstone.domain.errors import HomeNotWritable

DEMO_HOME: Final = Path(".ragstone-demo")

_PORT: Final[Any] = typer.Option(
    min=0, max=65535, help="Port; 0 takes a free one.", show_default="8080"
)

_STARTER: Final = """\
# Settings of this data folder. Every setting has an environment variable too, such as
# RAGSTONE_LLM__MODEL; docs/settings.md lists them all.

[retrieval]
default_collection = "{collection}"

# Without a model, answers are sentences taken from the documents.
# [llm]
# base_url = "http://127.0.0.1:11434/v1"   # Ollama, vLLM, llama.cpp, OpenAI, ...
# model = "llama3.2"
# api_key = ""                             # better in RAGSTONE_LLM__API_KEY
"""


def init(typer_context: typer.Context) -> None:
    """Make the data folder and fetch the embedding model."""
    context = context_of(typer_context)
    from ragstone.assembly import prepare_embedder
    from ragstone.home import read_server
    from ragstone.processes.workers import require_data_here
    from ragstone.settings import load_settings

    settings = load_settings(context.home)
    require_data_here(settings)
    server = read_server(settings.home)
    if server is None:
        _prepare_home(settings.home, "default")
    if not context.as_json:
        typer.echo(f"Data folder: {settings.home.absolute()}")
    identity = prepare_embedder(settings)
    if context.as_json:
        print_json({"home": str(settings.home.absolute()), "embedder": identity.name})
        return
    typer.echo(f"Embedder:    {identity.name}")
    if server is not None:
        typer.echo(f"\nAlready set up, and served at {server.address}.")
    else:
        typer.echo("\nNext: ragstone ingest ./docs")


def serve(
    typer_context: typer.Context,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")
    ] = None,
    port: Annotated[int | None, _PORT] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Gateway processes before one engine; 0: all in one process.",
            show_default="by cores",
        ),
    ] = None,
) -> None:
    """Serve the API and the web page."""
    context = context_of(typer_context)
    asked = {"host": host, "port": port, "workers": workers}
    given = {name: value for name, value in asked.items() if value is not None}
    _run_server(context, {"server": given})


def demo(
    typer_context: typer.Context,
    port: Annotated[int | None, _PORT] = None,
    products: Annotated[int, typer.Option(min=1, help="How many products to make.")] = 5000,
) -> None:
    """Ingest the sample corpus of a fictional shop and serve it."""
    from ragstone.cli.demonstration import ingest_sample
    from ragstone.processes.workers import require_data_here
    from ragstone.settings import load_settings

    context = context_of(typer_context)
    home = context.home or DEMO_HOME
    require_data_here(load_settings(home))
    context = Context(home=home, as_json=context.as_json)
    overrides: dict[str, dict[str, Any]] = {"log": {"level": "warning"}}
    if port is not None:
        overrides["server"] = {"port": port}
    _prepare_home(home, "help")
    _run_server(
        context, overrides, lambda url: ingest_sample(home, url, products, quiet=context.as_json)
    )


def _run_server(
    context: Context,
    overrides: dict[str, dict[str, Any]],
    beside: Callable[[str], Coroutine[Any, Any, None]] | None = None,
) -> None:
    """Serve until told to stop; `beside` runs meanwhile, and its failure ends the server."""
    import asyncio

    from ragstone.processes.workers import gateways_for
    from ragstone.settings import load_settings

    settings = load_settings(context.home, overrides)
    gateways = gateways_for(settings)

    def announce(url: str) -> None:
        if context.as_json:
            print_json({"url": url})
        elif beside is None:
            typer.echo(f"Ragstone serves {url}  (API documentation: {url}/docs)", err=True)

    try:
        if gateways:
            # The supervisor loads nothing of what serves.
            from ragstone.cli.supervising import run_supervisor

            asyncio.run(run_supervisor(settings, gateways, announce, beside))
        else:
            import uvloop

            from ragstone.cli.serving import run_server

            uvloop.run(run_server(settings, announce, beside))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _prepare_home(path: Path, collection: str) -> None:
    """Make the data folder with a starter file. Raises as `open_home` does."""
    import asyncio
    from contextlib import AsyncExitStack

    from ragstone.processes.patience import home_for_itself

    async def prepare() -> None:
        async with AsyncExitStack() as stack:
            home = await home_for_itself(path, stack)
            _write_starter(home.path, collection)

    asyncio.run(prepare())


def _write_starter(home: Path, collection: str) -> None:
    file = home / "ragstone.toml"
    if os.path.lexists(file):
        return
    try:
        file.write_text(_STARTER.format(collection=collection), encoding="utf-8")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise HomeNotWritable(
            f"The settings file {file} cannot be written: {reason}.",
            remedy="Give --home a folder that this user may write.",
        ) from error
