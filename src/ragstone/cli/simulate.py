"""`simulate`: model servers that behave as told, and a proxy that spoils connections."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragstone.cli.context import Context, context_of
from ragstone.cli.printing import print_json

if TYPE_CHECKING:
    from ragstone.lab.simulate.simulator import Service

simulate_app = typer.Typer(
    help="Model servers that behave as told, and a faulty proxy.",
    no_args_is_help=True,
)

Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")]
FirstToken = Annotated[
    float | None, typer.Option(min=0, help="Seconds to the first token, or to the answer.")
]
TokenGap = Annotated[float | None, typer.Option(min=0, help="Seconds between two tokens.")]
Tokens = Annotated[int | None, typer.Option(min=1, help="Tokens of an answer.")]
Places = Annotated[
    int | None, typer.Option(min=0, help="Requests worked on at once; 0: all of them.")
]
ErrorRate = Annotated[float | None, typer.Option(min=0, max=1, help="Share that ends in 500.")]
Seed = Annotated[int | None, typer.Option(help="Of what is drawn.")]
BehaviourOption = Annotated[
    str | None,
    typer.Option("--behaviour", help="JSON, or a file of it; all fields are in docs/lab.md."),
]


@simulate_app.command()
def llm(
    typer_context: typer.Context,
    host: Host = "127.0.0.1",
    port: Port = 0,
    first_token: FirstToken = None,
    token_gap: TokenGap = None,
    tokens: Tokens = None,
    places: Places = None,
    error_rate: ErrorRate = None,
    seed: Seed = None,
    behaviour: BehaviourOption = None,
) -> None:
    """A language model in the formats of OpenAI and Anthropic.

    That is OpenAI's chat completions and Anthropic's messages.
    """
    from ragstone.lab.simulate.llm import ModelService

    fields = _fields(first_token, places, error_rate, seed)
    fields |= _given(token_seconds=token_gap, tokens=tokens)
    _simulate(context_of(typer_context), ModelService(), fields, behaviour, host, port)


@simulate_app.command()
def embeddings(
    typer_context: typer.Context,
    host: Host = "127.0.0.1",
    port: Port = 0,
    dimensions: Annotated[int, typer.Option(min=1, max=16_384, help="Of its vectors.")] = 384,
    first_token: FirstToken = None,
    places: Places = None,
    error_rate: ErrorRate = None,
    seed: Seed = None,
    behaviour: BehaviourOption = None,
) -> None:
    """An embedding model in OpenAI's format.

    Texts that share words are near each other.
    """
    from ragstone.lab.simulate.embeddings import EmbeddingsService

    fields = _fields(first_token, places, error_rate, seed)
    service = EmbeddingsService(dimensions)
    _simulate(context_of(typer_context), service, fields, behaviour, host, port)


@simulate_app.command()
def rerank(
    typer_context: typer.Context,
    host: Host = "127.0.0.1",
    port: Port = 0,
    first_token: FirstToken = None,
    places: Places = None,
    error_rate: ErrorRate = None,
    seed: Seed = None,
    behaviour: BehaviourOption = None,
) -> None:
    """A reranker in the format of Cohere and Jina."""
    from ragstone.lab.simulate.rerank import RerankService

    fields = _fields(first_token, places, error_rate, seed)
    _simulate(context_of(typer_context), RerankService(), fields, behaviour, host, port)


@simulate_app.command()
def proxy(
    typer_context: typer.Context,
    to: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where connections go on to.")],
    host: Host = "127.0.0.1",
    port: Port = 0,
    control_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the HTTP control; 0 takes a free one.")
    ] = 0,
    faults: Annotated[
        str | None, typer.Option(help="JSON, or a file of it; all fields are in docs/lab.md.")
    ] = None,
    i_own_this_target: Annotated[
        bool, typer.Option("--i-own-this-target", help="It is not this machine, but yours.")
    ] = False,
) -> None:
    """A TCP proxy that spoils connections.

    It adds latency, narrows the bandwidth, swallows and resets.
    """
    from ragstone.domain.errors import InvalidExperiment
    from ragstone.lab.adjustable import changed, read_change
    from ragstone.lab.fault_proxy.control import serve_proxy
    from ragstone.lab.fault_proxy.faults import Faults
    from ragstone.lab.load.target import resolve_target

    if not to.rpartition(":")[2].isdigit():
        raise InvalidExperiment(
            f"{to[:80]!r} names no port.", remedy="Write --to 127.0.0.1:6333.", field="to"
        )
    target = resolve_target(to, confirmed=i_own_this_target)
    told = changed(Faults(), read_change(faults, what="fault"), what="fault") if faults else None
    as_json = context_of(typer_context).as_json

    def announce(address: str, control: str) -> None:
        if as_json:
            print_json({"address": address, "control": control})
        else:
            print(address, flush=True)
            print(f"control: {control}", flush=True)

    _run(
        serve_proxy(
            (target.address, target.port), told or Faults(), host, port, control_port, announce
        )
    )


def _fields(
    first_token: float | None, places: int | None, error_rate: float | None, seed: int | None
) -> dict[str, Any]:
    faults = [{"kind": "error", "share": error_rate}] if error_rate else None
    return _given(first_token_seconds=first_token, places=places, seed=seed, faults=faults)


def _given(**fields: object) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _simulate(
    context: Context,
    service: "Service",
    fields: dict[str, Any],
    behaviour: str | None,
    host: str,
    port: int,
) -> None:
    """Options win over `--behaviour`."""
    from ragstone.lab.adjustable import changed, read_change
    from ragstone.lab.simulate.behaviour import Behaviour
    from ragstone.lab.simulate.serve import serve_simulator

    chosen = Behaviour()
    if behaviour is not None:
        chosen = changed(chosen, read_change(behaviour, what="behaviour"), what="behaviour")
    chosen = changed(chosen, fields, what="behaviour")
    _run(serve_simulator(service, chosen, host, port, _announcer(context)))


def _announcer(context: Context) -> Callable[[str], None]:
    def announce(url: str) -> None:
        if context.as_json:
            print_json({"url": url})
        else:
            print(url, flush=True)

    return announce


def _run(work: Coroutine[Any, Any, None]) -> None:
    import uvloop

    uvloop.run(work)
