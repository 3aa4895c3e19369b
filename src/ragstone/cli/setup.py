"""`init`, `serve` and `demo`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ragstone.cli.context import Context, context_of

if TYPE_CHECKING:
    import asyncio

DEMO_HOME: Final = Path(".ragstone-demo")

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
    from ragstone.home import open_home
    from ragstone.settings import home_folder, load_settings

    settings = load_settings(context.home)
    with open_home(home_folder(context.home)) as home:
        _write_starter(home.path, "default")
        if not context.as_json:
            typer.echo(f"Data folder: {home.path}")
        identity = prepare_embedder(settings)
    if context.as_json:
        _print_json({"home": str(home.path), "embedder": identity.name})
        return
    typer.echo(f"Embedder:    {identity.name}")
    typer.echo("\nNext: ragstone ingest ./docs")


def serve(
    typer_context: typer.Context,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port; 0 takes a free one.", show_default="8080")
    ] = None,
) -> None:
    """Serve the API and the web page."""
    context = context_of(typer_context)
    asked = {"host": host, "port": port}
    given = {name: value for name, value in asked.items() if value is not None}
    _run_server(context, {"server": given}, _announce)


def demo(
    typer_context: typer.Context,
    port: Annotated[
        int | None, typer.Option(help="Port; 0 takes a free one.", show_default="8080")
    ] = None,
    products: Annotated[int, typer.Option(min=1, help="How many products to make.")] = 5000,
) -> None:
    """Ingest the sample corpus of a fictional shop and serve it."""
    import asyncio

    from ragstone.cli.demonstration import ingest_sample

    context = context_of(typer_context)
    context = Context(home=context.home or DEMO_HOME, as_json=context.as_json)
    home = context.home or DEMO_HOME
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write_starter(home, "help")
    background: set[asyncio.Task[None]] = set()

    def announce(url: str) -> None:
        task = asyncio.get_running_loop().create_task(ingest_sample(home, url, products))
        background.add(task)
        task.add_done_callback(_raise_from_background)

    overrides: dict[str, dict[str, Any]] = {"log": {"level": "warning"}}
    if port is not None:
        overrides["server"] = {"port": port}
    _run_server(context, overrides, announce)


def _run_server(context: Context, overrides: dict[str, dict[str, Any]], announce: Any) -> None:
    import uvloop

    from ragstone.assembly import open_system
    from ragstone.console import routes
    from ragstone.observe.logging import configure_logging
    from ragstone.server.app import build_app
    from ragstone.server.run import serve as run
    from ragstone.settings import load_settings

    async def main() -> None:
        settings = load_settings(context.home, overrides)
        configure_logging(settings.log.level, settings.log.format)
        async with open_system(settings) as system:
            app = build_app(system, routes())
            await run(system, app, settings.server.host, settings.server.port, announce)

    try:
        uvloop.run(main())
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _announce(url: str) -> None:
    typer.echo(f"Ragstone serves {url}  (API documentation: {url}/docs)", err=True)


def _raise_from_background(task: "asyncio.Task[None]") -> None:
    """An error in the demo's ingestion ends the program with its sentence."""
    if not task.cancelled() and (error := task.exception()) is not None:
        task.get_loop().call_exception_handler({"message": str(error), "exception": error})


def _write_starter(home: Path, collection: str) -> None:
    file = home / "ragstone.toml"
    if not file.exists():
        file.write_text(_STARTER.format(collection=collection), encoding="utf-8")


def _print_json(value: object) -> None:
    import msgspec

    typer.echo(msgspec.json.encode(value).decode())
