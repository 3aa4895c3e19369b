"""Sending files to the server and watching their jobs, with a progress bar."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ragstone.cli.client import Client, ServerError
from ragstone.domain.errors import InvalidRequest
from ragstone.domain.job import TERMINAL_STATES

_BATCH_BYTES: Final = 8_000_000
_BATCH_FILES: Final = 64
_POLL_SECONDS: Final = 0.1


@dataclass(slots=True)
class Outcome:
    """What became of an ingestion, over all of its jobs."""

    jobs: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    """Files that the server did not take."""

    def count(self, name: str) -> int:
        return sum(job["counts"][name] for job in self.jobs)

    @property
    def errors(self) -> list[dict[str, Any]]:
        return [*self.refused, *(error for job in self.jobs for error in job["errors"])]

    @property
    def succeeded(self) -> bool:
        return not self.errors and all(job["state"] == "done" for job in self.jobs)


def files_of(paths: list[Path]) -> list[tuple[str, Path]]:
    """Name and path of each file, folders searched through; hidden ones are left out.

    The name is relative to the given folder, so that the same folder gives the same
    documents wherever it lies. Raises `InvalidRequest` when there is nothing to read.
    """
    found: list[tuple[str, Path]] = []
    for path in paths:
        if not path.exists():
            raise InvalidRequest(f"There is no file or folder {path}.", remedy="Check the path.")
        if path.is_file():
            found.append((path.name, path))
            continue
        names = ((file.relative_to(path), file) for file in sorted(path.rglob("*")))
        found += [
            (name.as_posix(), file)
            for name, file in names
            if file.is_file() and not any(part.startswith(".") for part in name.parts)
        ]
    if not found:
        raise InvalidRequest(
            f"There are no files in {', '.join(map(str, paths))}.",
            remedy="Give a folder with documents; hidden files are left out.",
        )
    return found


async def ingest_files(
    client: Client,
    files: list[tuple[str, Path]],
    *,
    collection: str | None,
    access: list[str],
    console: Console,
    label: str = "Ingesting",
) -> Outcome:
    """Upload, then watch until every job has ended."""
    outcome = Outcome()
    with _progress(console) as progress:
        task = progress.add_task(label, total=None, chunks=0)
        pending: list[str] = []
        for batch in _batches(files):
            pending += await _submit(client, batch, collection, access, outcome)
        sent = len(pending)
        for job_id in pending:
            job = await _wait(client, job_id, outcome, progress, task, sent)
            outcome.jobs.append(job)
        progress.update(task, total=outcome.count("total"), completed=outcome.count("total"))
    return outcome


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


def _batches(files: list[tuple[str, Path]]) -> Iterator[list[tuple[str, Path]]]:
    batch: list[tuple[str, Path]] = []
    size = 0
    for name, path in files:
        length = path.stat().st_size
        if batch and (size + length > _BATCH_BYTES or len(batch) == _BATCH_FILES):
            yield batch
            batch, size = [], 0
        batch.append((name, path))
        size += length
    yield batch


async def _submit(
    client: Client,
    batch: list[tuple[str, Path]],
    collection: str | None,
    access: list[str],
    outcome: Outcome,
) -> list[str]:
    form = aiohttp.FormData(quote_fields=False)
    if collection:
        form.add_field("collection", collection)
    for entry in access:
        form.add_field("access", entry)
    for name, path in batch:
        content = await asyncio.to_thread(path.read_bytes)
        form.add_field("file", content, filename=name, content_type="application/octet-stream")
    try:
        answer = await client.upload("/v1/documents", form)
    except ServerError as error:
        if len(batch) > 1 or error.code not in ("payload_too_large", "invalid_request"):
            raise
        name = batch[0][0]
        outcome.refused.append({"external_id": name, "code": error.code, "message": str(error)})
        return []
    outcome.refused += answer["errors"]
    return [job["id"] for job in answer["jobs"]]


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
