"""The whole server with the documents of `corpus`, as the page's tests open it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from ragstone.assembly import open_system
from ragstone.console import routes
from ragstone.domain.document import DocumentSource
from ragstone.server.app import build_app
from ragstone.server.auth import LOCAL_OPERATOR
from ragstone.settings import load_settings
from ragstone.system import System
from tests.console.browsing import Site, served
from tests.console.corpus import DOCUMENTS


@asynccontextmanager
async def real_site(home: Path) -> AsyncIterator[Site]:
    """Everything is real but the embedder, which needs no model files.

    As with `tests.conftest.UNHURRIED`, nothing is left out and nobody is refused because the
    machine of the tests is busy.
    """
    settings = load_settings(
        home,
        {
            "embedder": {"provider": "fake"},
            "ladder": {"enabled": False},
            "admission": {"interval_seconds": 600.0},
            "ingest": {"parser_timeout_seconds": 600.0},
        },
    )
    async with open_system(settings) as system, served(build_app(system, routes())) as base_url:
        for collection, documents in DOCUMENTS.items():
            for name, (title, text) in documents.items():
                await _ingest(system, collection, name, title, text)
        yield Site(base_url)


async def _ingest(system: System, collection: str, name: str, title: str, text: str) -> None:
    record = {"id": name, "title": title, "text": text}
    source = DocumentSource(
        name=f"{name}.jsonl", content=msgspec.json.encode(record), collection=collection
    )
    job = await system.ingestion.submit(LOCAL_OPERATOR, source)
    finished = await system.ingestion.wait(LOCAL_OPERATOR, job.id)
    assert finished.state == "done", finished.errors
