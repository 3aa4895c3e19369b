"""Ingestion that is killed, or that finds no room on the disk."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp

from ragstone.domain.errors import InvalidExperiment
from ragstone.domain.job import TERMINAL_STATES
from ragstone.ingest.service import IngestionSettings
from ragstone.lab.chaos.driver import at_rate
from ragstone.lab.chaos.scenario import Bench, Scenario
from ragstone.lab.chaos.scenarios.model import QUICK_MODEL, good_share
from ragstone.lab.chaos.site import Site
from ragstone.lab.chaos.verdict import at_least, equal, none_of

_DOCUMENTS: Final = 400


def _many(count: int) -> list[dict[str, Any]]:
    text = "The long rule of the number {0}. " * 60
    return [{"id": f"rule-{n}", "title": f"Rule {n}", "text": text.format(n)} for n in range(count)]


async def killed_at_any_point(bench: Bench) -> None:
    chance = random.Random(5)
    async with bench.site(services={"llm": QUICK_MODEL}) as site:
        body = {"collection": "many", "documents": _many(_DOCUMENTS)}
        accepted = await site.call("POST", "/v1/documents", body, site.keys["acme"])
        jobs = [job["id"] for job in accepted["jobs"]]
        kills = 0
        for _ in range(2 if bench.quick else 8):
            for job in jobs:
                await _may_break_off(site, job)
            await asyncio.sleep(chance.uniform(0.05, 0.6))
            site.server.send(signal.SIGKILL)
            await site.server.ended()
            kills += 1
            await site.http.close()
            await site.start_server()
        states = [(await site.job_ended("acme", job))["state"] for job in jobs]
        found = await site.document_ids("acme", "many")
        asked = [await _found(site, number) for number in range(0, _DOCUMENTS, 40)]
        bench.expect(
            none_of("jobs that did not end well", [s for s in states if s != "done"]),
            equal("documents", len(found), _DOCUMENTS),
            equal("different ones", len(set(found)), _DOCUMENTS),
            none_of("documents that are not found once", [a for a in asked if a]),
            at_least("times killed", kills, 2),
        )


async def _may_break_off(site: Site, job: str) -> None:
    """Until it would be begun once more: one that brought its server down three times and came no
    further is given up, as it should be, and a slow machine has begun nothing by then."""
    most = IngestionSettings().max_attempts
    while True:
        found = await site.call("GET", f"/v1/jobs/{job}", key=site.keys["acme"])
        begun = found["attempts"] + (found["state"] == "queued")
        if found["state"] in TERMINAL_STATES or begun < most:
            return
        await asyncio.sleep(0.02)


async def _found(site: Site, number: int) -> str:
    """Empty when a search finds each chunk of the document once."""
    body = {"query": f"Rule {number}", "collection": "many", "top_k": 50, "mode": "lexical"}
    answer = await site.call("POST", "/v1/search", body, site.keys["acme"])
    ids = [p["chunk_id"] for p in answer["passages"] if p["external_id"] == f"rule-{number}"]
    return "" if ids and len(ids) == len(set(ids)) else f"rule-{number}: {len(ids)} chunks"


async def disk_full(bench: Bench) -> None:
    async with _small_disk(bench.new_folder("disk")) as disk:
        bench.folder = disk
        async with bench.site(services={"llm": QUICK_MODEL}) as site:
            filler = disk / "filler"
            _fill(filler, leave_bytes=_ROOM_BYTES)
            body = {"collection": "many", "documents": _many(_DOCUMENTS)}
            reasons = await _reasons(site, body)
            bench.expect(
                equal("server after the disk was full", _state(site), "runs"),
                at_least("reasons given", len(reasons), 1),
            )
            if site.server.running:
                got = await site.driver.load(at_rate(10, bench.seconds(5, 2), site.asking()))
                bench.expect(at_least("good answers meanwhile", good_share(got), 1.0))
            filler.unlink()
            if not site.server.running:
                await site.http.close()
                await site.start_server()
            accepted = await site.call("POST", "/v1/documents", body, site.keys["acme"])
            jobs = [await site.job_ended("acme", job["id"]) for job in accepted["jobs"]]
            found = await site.document_ids("acme", "many")
            bench.expect(
                none_of("jobs that fail with room", _not_done(jobs)),
                equal("documents with room", len(set(found)), _DOCUMENTS),
            )


_ROOM_BYTES: Final = 2_500_000
"""Enough to accept the job, and not to carry it out."""


async def _reasons(site: Site, body: dict[str, Any]) -> list[str]:
    """Why the documents do not get in, from the refusal or from the job."""
    key = {"Authorization": f"Bearer {site.keys['acme']}"}
    try:
        async with site.http.post("/v1/documents", json=body, headers=key) as response:
            answer = await response.json()
        if "error" in answer:
            return [answer["error"]["message"]]
        async with asyncio.timeout(60):
            ended = [await site.job_ended("acme", job["id"]) for job in answer["jobs"]]
    except aiohttp.ClientError:
        await site.server.ended()
        return []
    return [error["message"] for job in ended for error in job["errors"]]


def _state(site: Site) -> str:
    code = site.server.process.returncode
    return (
        "runs"
        if code is None
        else f"ended by {signal.Signals(-code).name}"
        if code < 0
        else "ended"
    )


def _not_done(jobs: list[dict[str, Any]]) -> list[str]:
    return [str(job["state"]) for job in jobs if job["state"] != "done"]


@asynccontextmanager
async def _small_disk(folder: Path, megabytes: int = 400) -> AsyncIterator[Path]:
    """A file system of its own. Raises `InvalidExperiment` without the right to mount one."""
    code = await _command("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder))
    if code != 0:
        raise InvalidExperiment(
            "A small file system cannot be mounted.", remedy="Run this scenario as root."
        )
    try:
        yield folder
    finally:
        await _command("umount", "--lazy", str(folder))


async def _command(*arguments: str) -> int:
    process = await asyncio.create_subprocess_exec(
        *arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    return await process.wait()


def _fill(file: Path, *, leave_bytes: int) -> None:
    room = os.statvfs(file.parent)
    size = room.f_bavail * room.f_frsize - leave_bytes
    with file.open("wb") as written:
        for _ in range(max(0, size) // 1_000_000):
            written.write(bytes(1_000_000))


SCENARIOS: Final = (
    Scenario(
        name="disk-full",
        faults=(28,),
        does="The disk has no room left while 400 documents are ingested; then it has.",
        expects="A reason; questions go on; with room the documents get in.",
        run=disk_full,
    ),
    Scenario(
        name="killed-while-ingesting",
        faults=(29,),
        does="kill -9 again and again while 400 documents are ingested.",
        expects="The job ends with all documents, none lost or doubled.",
        run=killed_at_any_point,
        quick=True,
    ),
)
