"""Sending files to the server and watching their jobs, with a progress bar."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import aiohttp
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ragstone.cli.client import Client, ServerError
from ragstone.cli.files import Selection, unreadable
from ragstone.domain.job import TERMINAL_STATES

_BATCH_BYTES: Final = 8_000_000
_BATCH_FILES: Final = 64
_POLL_SECONDS: Final = 0.1

_File: TypeAlias = tuple[str, bytes]


@dataclass(slots=True)
class Outcome:
    """What became of an ingestion, over all of its jobs."""

    jobs: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    """Files that could not be read, or that the server did not take."""

    def count(self, name: str) -> int:
        return sum(job["counts"][name] for job in self.jobs)

    @property
    def errors(self) -> list[dict[str, Any]]:
        return [*self.refused, *(error for job in self.jobs for error in job["errors"])]

    @property
    def succeeded(self) -> bool:
        return not self.errors and all(job["state"] == "done" for job in self.jobs)


async def ingest_files(
    client: Client,
    selection: Selection,
    *,
    collection: str | None,
    access: list[str],
    console: Console,
    label: str = "Ingesting",
) -> Outcome:
    """Upload, then watch until every job has ended. One bad file does not stop the others."""
    outcome = Outcome(refused=list(selection.refused))
    with _progress(console) as progress:
        task = progress.add_task(label, total=None, chunks=0)
        pending: list[str] = []
        async for batch in _batches(selection, outcome):
            pending += await _submit(client, batch, collection, access, outcome)
        sent = len(pending)
        for job_id in pending:
            job = await _wait(client, job_id, outcome, progress, task, sent)
            outcome.jobs.append(job)
        progress.update(task, total=outcome.count("total"), completed=outcome.count("total"))
    return outcome


async def estimate_files(
    client: Client, selection: Selection, *, collection: str | None, access: list[str]
) -> dict[str, Any]:
    """What ingesting them would do and cost, summed up; nothing is embedded or stored."""
    outcome = Outcome(refused=list(selection.refused))
    names = ("documents", "unchanged", "chunks", "tokens", "nanodollars")
    sums = dict.fromkeys(names, 0)
    async for batch in _batches(selection, outcome):
        form = _form(batch, collection, access)
        found = await client.upload("/v1/documents?estimate=true", form)
        outcome.refused += found["errors"]
        for name in names:
            sums[name] += found[name]
    return {**sums, "errors": outcome.refused}


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("documents"),
        TextColumn("{task.fields[chunks]} chunks"),
        TimeElapsedColumn(),
        console=console,
    )


async def _batches(selection: Selection, outcome: Outcome) -> AsyncIterator[list[_File]]:
    """Names with contents. What cannot be read, or has gone since it was found, is noted."""
    batch: list[_File] = []
    size = 0
    for name, path in selection.files:
        try:
            content = await asyncio.to_thread(path.read_bytes)
        except OSError as error:
            outcome.refused.append(unreadable(name, error))
            continue
        if batch and (size + len(content) > _BATCH_BYTES or len(batch) == _BATCH_FILES):
            yield batch
            batch, size = [], 0
        batch.append((name, content))
        size += len(content)
    if batch:
        yield batch


async def _submit(
    client: Client,
    batch: list[_File],
    collection: str | None,
    access: list[str],
    outcome: Outcome,
) -> list[str]:
    form = _form(batch, collection, access)
    try:
        answer = await client.upload("/v1/documents", form)
    except ServerError as error:
        # Not a file's fault: every other would be refused for the same.
        of_all = error.field in ("collection", "access")
        if of_all or error.code not in ("payload_too_large", "invalid_request"):
            raise
        if len(batch) > 1:  # the server took none of them, and named the first one's reason only
            single = [await _submit(client, [file], collection, access, outcome) for file in batch]
            return [job for jobs in single for job in jobs]
        name = batch[0][0]
        outcome.refused.append({"external_id": name, "code": error.code, "message": str(error)})
        return []
    outcome.refused += answer["errors"]
    return [job["id"] for job in answer["jobs"]]


def _form(batch: list[_File], collection: str | None, access: list[str]) -> aiohttp.FormData:
    form = aiohttp.FormData(quote_fields=False)
    if collection is not None:
        form.add_field("collection", collection)
    for entry in access:
        form.add_field("access", entry)
    for name, content in batch:
        form.add_field("file", content, filename=name, content_type="application/octet-stream")
    return form


async def _wait(
    client: Client, job_id: str, outcome: Outcome, progress: Progress, task: Any, jobs: int
) -> dict[str, Any]:
    while True:
        job: dict[str, Any] = await client.get(f"/v1/jobs/{job_id}")
        counts = job["counts"]
        finished = sum(counts[name] for name in ("added", "changed", "unchanged", "failed"))
        known = outcome.count("total") + counts["total"]
        waiting = jobs - len(outcome.jobs) - 1
        progress.update(
            task,
            completed=outcome.count("total") + finished,
            total=known + waiting,
            chunks=outcome.count("chunks") + counts["chunks"],
        )
        if job["state"] in TERMINAL_STATES:
            return job
        await asyncio.sleep(_POLL_SECONDS)
