"""A process that ingests and kills itself at a chosen call; see `test_crash`."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ragstone.domain.clock import SystemClock
from ragstone.domain.document import DocumentSource, document_id
from ragstone.domain.errors import UnknownDocument
from ragstone.domain.principal import Principal
from ragstone.index.qdrant_edge import QdrantEdgeIndex
from ragstone.ingest.chunk import ChunkSettings
from ragstone.ingest.parse.limits import ParseLimits
from ragstone.ingest.parser_process import DirectParser
from ragstone.ingest.service import Ingestion, IngestionSettings
from ragstone.models.embedders.fake import HashingEmbedder
from ragstone.records.sql_records import SqlRecords

OPERATOR = Principal(tenant="acme", scopes=frozenset({"ask", "ingest"}))
COLLECTION = "docs"
WATCHED = {
    "records": (
        "create_job",
        "update_job",
        "next_versions",
        "put_documents",
        "delete_document",
        "forget_tombstone",
    ),
    "index": ("replace", "delete"),
    "embedder": ("embed_documents",),
}
"""Methods with a kill point before and one after every call."""

Steps = list[tuple[str, str]]
"""(`submit`, path of a file) or (`delete`, external id), each done once it is in the journal."""


class KillSwitch:
    """Counts kill points; at the `at`-th one the process is gone."""

    def __init__(self, at: int | None) -> None:
        self._at = at
        self.passed = 0

    def watch(self, part: object, methods: tuple[str, ...]) -> None:
        for name in methods:
            setattr(part, name, self._watched(getattr(part, name)))

    def _watched(self, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*args: object, **kwargs: object) -> object:
            self._point()
            result = await method(*args, **kwargs)
            self._point()
            return result

        return call

    def _point(self) -> None:
        self.passed += 1
        if self.passed == self._at:
            os.kill(os.getpid(), signal.SIGKILL)


def open_parts(home: Path) -> tuple[SqlRecords, QdrantEdgeIndex]:
    """Also for whoever looks at the result."""
    records = SqlRecords.open(f"sqlite:///{home / 'records.sqlite'}", SystemClock())
    return records, QdrantEdgeIndex(home / "index")


def run(home: Path, steps: Steps, kill_at: int | None) -> None:
    """Take up what is unfinished, do the steps not in the journal, and wait for every job.

    The number of kill points that were passed is written to the file `points`.
    """
    asyncio.run(_run(home, steps, KillSwitch(kill_at)))


async def _run(home: Path, steps: Steps, switch: KillSwitch) -> None:
    records, index = open_parts(home)
    embedder = HashingEmbedder(32)
    for part, name in ((records, "records"), (index, "index"), (embedder, "embedder")):
        switch.watch(part, WATCHED[name])
    ingestion = Ingestion(
        records=records,
        index=index,
        embedder=embedder,
        parser=DirectParser(ParseLimits()),
        clock=SystemClock(),
        settings=IngestionSettings(
            chunks=ChunkSettings(target_tokens=24, prefix_tokens=8), batch_chunks=16
        ),
    )
    await ingestion.start()
    journal = home / "journal"
    done = journal.read_text().splitlines() if journal.exists() else []
    for action, name in steps[len(done) :]:
        await _step(ingestion, action, name)
        with journal.open("a") as file:
            file.write(f"{action} {name}\n")
    for job in await records.unfinished_jobs():
        await ingestion.wait(OPERATOR, job.id)
    await ingestion.stop()
    await index.close()
    await records.close()
    (home / "points").write_text(str(switch.passed))


async def _step(ingestion: Ingestion, action: str, name: str) -> None:
    if action == "submit":
        file = Path(name)
        content = await asyncio.to_thread(file.read_bytes)
        await ingestion.submit(
            OPERATOR, DocumentSource(name=file.name, content=content, collection=COLLECTION)
        )
        return
    with suppress(UnknownDocument):  # killed between the deletion and the journal
        await ingestion.delete_document(OPERATOR, document_id(OPERATOR.tenant, COLLECTION, name))
