"""The sample corpus of a fictional shop: written, ingested, and pointed to."""

import asyncio
from pathlib import Path

from rich.console import Console

from ragstone.cli.connection import connect
from ragstone.cli.files import select_files
from ragstone.cli.ingestion import ingest_files
from ragstone.domain.errors import HomeNotWritable
from ragstone.sample import write_corpus


async def ingest_sample(home: Path, url: str, products: int, *, quiet: bool = False) -> None:
    """Through the server that runs at `url`; prints what to do next.

    Raises `HomeNotWritable`, and `ServerError` where the ingestion as a whole fails.
    """
    console = Console(stderr=True, quiet=quiet)
    folder = home / "sample"
    try:
        await asyncio.to_thread(write_corpus, folder, products=products)
    except OSError as error:
        raise HomeNotWritable(
            f"The sample corpus cannot be written to {folder}: "
            f"{(error.strerror or str(error)).lower()}.",
            remedy="Make room there, or give --home another folder.",
        ) from error
    async with connect(home) as client:
        for collection in ("help", "products"):
            outcome = await ingest_files(
                client,
                select_files([folder / collection]),
                collection=collection,
                access=[],
                console=console,
                label=f"Ingesting {collection:<8}",
            )
            for failed in outcome.errors:
                console.print(f"{failed['external_id']}: {failed['message']}", markup=False)
    example = (
        f"curl -s {url}/v1/answers -H 'Content-Type: application/json' "
        """-d '{"question": "Can I collect my order in a store?"}'"""
    )
    console.print(f"\nOpen [bold]{url}[/bold] in a browser, or ask in another terminal:\n")
    console.print(f"  {example}\n", markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"  .venv/bin/ragstone --home {home} ask 'How long is the mattress guarantee?'\n",
        markup=False,
        soft_wrap=True,
    )
    console.print("Ctrl-C stops the server.")
