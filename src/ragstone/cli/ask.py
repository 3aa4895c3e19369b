"""`ask` and `search`."""

import sys
from typing import Annotated, Any, Literal

import typer

from ragstone.cli.budgets import shown_dollars
from ragstone.cli.client import Client
from ragstone.cli.context import context_of, run_with_client
from ragstone.cli.documents import Collection
from ragstone.cli.printing import print_json

_TOP_K = typer.Option("--top-k", "-k", min=1, max=100, help="How many passages.")


def ask(
    typer_context: typer.Context,
    question: Annotated[str, typer.Argument(help="Put it in quotes.")],
    collection: Collection = None,
    top_k: Annotated[int | None, _TOP_K] = None,
) -> None:
    """Ask a question; sources follow the answer."""
    context = context_of(typer_context)
    body: dict[str, Any] = {"question": question, "collection": collection, "top_k": top_k}

    async def whole(client: Client) -> None:
        print_json(await client.post("/v1/answers", body))

    async def streamed(client: Client) -> None:
        async for event in client.events("/v1/answers", {**body, "stream": True}):
            if event["type"] == "delta":
                sys.stdout.write(event["text"])
                sys.stdout.flush()
            elif event["type"] == "done":
                _print_sources(event["answer"])

    run_with_client(context, whole if context.as_json else streamed)


def search(
    typer_context: typer.Context,
    query: Annotated[str, typer.Argument(help="Put it in quotes.")],
    collection: Collection = None,
    top_k: Annotated[int, _TOP_K] = 5,
    mode: Annotated[
        Literal["hybrid", "dense", "lexical"], typer.Option(help="By meaning, by words, or both.")
    ] = "hybrid",
) -> None:
    """Find passages without answering."""
    context = context_of(typer_context)
    body = {"query": query, "collection": collection, "top_k": top_k, "mode": mode}

    async def work(client: Client) -> Any:
        return await client.post("/v1/search", body)

    found = run_with_client(context, work)
    if context.as_json:
        print_json(found)
        return
    if not found["passages"]:
        typer.echo("Nothing was found.")
    for number, passage in enumerate(found["passages"], start=1):
        scores = passage["scores"]
        typer.secho(f"{number}. {_where(passage)}", bold=True, nl=False)
        typer.secho(f"  {scores['fused']:.3f}", dim=True)
        typer.echo(f"   {_beginning(passage)}\n")
    _print_degraded(found["degraded"])


def _print_sources(answer: dict[str, Any]) -> None:
    typer.echo("\n")
    cited = {citation["number"]: citation for citation in reversed(answer["citations"])}
    for citation in sorted(cited.values(), key=lambda one: int(one["number"])):
        page = f", page {citation['page']}" if citation["page"] else ""
        typer.secho(f"[{citation['number']}] ", fg="cyan", nl=False)
        typer.secho(f"{citation['title']}{page}", bold=True, nl=False)
        typer.secho(f"  {citation['external_id']}", dim=True)
    typer.secho(", ".join(_how_made(answer)), dim=True, err=True)
    for notice in answer["notices"]:
        typer.secho(f"{notice['message']} [{notice['code']}]", fg="yellow", err=True)
    _print_degraded(answer["degraded"])


def _how_made(answer: dict[str, Any]) -> list[str]:
    """Who wrote it, from where it came, how long it took, and what it cost."""
    kind = {
        "extractive": "extract from the documents",
        "passages": "passages only",
        "not_found": "not found",
    }
    made = [kind.get(answer["answer_kind"], f"written by {answer['model']}")]
    if answer["cache"] == "hit":
        made.append(f"from the cache ({answer['cache_age_seconds']:.0f} s old)")
    elif answer["cache"] == "joined":
        made.append("shared with others who asked the same")
    made.append(f"{answer['timings_ms']['total'] / 1000:.2f} s")
    if paid := answer["receipt"]["nanodollars"]:
        made.append(shown_dollars(paid))
    return made


def _print_degraded(rungs: list[str]) -> None:
    if rungs:
        typer.secho(f"Degraded: {', '.join(rungs)}", fg="yellow", err=True)


def _where(passage: dict[str, Any]) -> str:
    page = f", page {passage['page']}" if passage["page"] else ""
    title, path = passage["title"], passage["heading_path"]
    below = path[1:] if path[:1] == [title] else path
    return " > ".join([title, *below]) + page


def _beginning(passage: dict[str, Any]) -> str:
    """Of what stands below the heading, which is said already."""
    heading, _, rest = passage["text"].partition("\n")
    said = [passage["title"], *passage["heading_path"]]
    words = rest if heading.strip() in said and rest.strip() else passage["text"]
    return " ".join(words.split())[:300]
