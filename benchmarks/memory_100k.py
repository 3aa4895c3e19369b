"""Memory of a server that holds 100,000 chunks, all of its processes together.

A data folder is made of the index that `search_100k.py --root` builds, with the records of its
20,000 documents; `ragstone serve` runs on it as a process of its own. Memory is taken when it
is ready, after 500 searches, after 200 answers, and after a document was ingested (so that a
parser process has started). Shared pages are counted in each process: an upper bound.

    python benchmarks/search_100k.py --root /tmp/ragstone-100k/index      # minutes, once
    flock /tmp/bench.lock python benchmarks/memory_100k.py --home /tmp/ragstone-100k
"""

import argparse
import asyncio
import os
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import psutil
from answers import RAGSTONE
from search_100k import CHUNKS_PER_DOCUMENT, COLLECTION, MAIN, Corpus

from ragstone.domain.clock import SystemClock
from ragstone.domain.document import Document
from ragstone.domain.job import TERMINAL_STATES
from ragstone.domain.principal import access_token
from ragstone.governance.keys import new_key
from ragstone.home import open_home, read_server
from ragstone.models.embedders.onnx_minilm import MiniLmEmbedder
from ragstone.records.sql_records import SqlRecords

DOCUMENTS: Final = 20_000
_BATCH: Final = 500
_MIB: Final = 1 << 20


async def make_records(home: Path) -> str:
    """Records of the documents, where they are missing, and a key for their tenant."""
    clock = SystemClock()
    secret, key = new_key(
        tenant=MAIN, user=None, groups=["all"], scopes=["ask", "ingest"], label="", clock=clock
    )
    with open_home(home) as opened:
        records = SqlRecords.open(f"sqlite:///{opened.records}", clock)
        try:
            await records.create_key(key)
            if await records.collection(MAIN, COLLECTION) is None:
                embedder = MiniLmEmbedder()
                await records.ensure_collection(MAIN, COLLECTION, embedder.identity)
                await embedder.close()
                for start in range(0, DOCUMENTS, _BATCH):
                    batch = [_document(number) for number in range(start, start + _BATCH)]
                    await records.put_documents(MAIN, COLLECTION, batch)
        finally:
            await records.close()
    return secret


def _document(number: int) -> tuple[Document, str]:
    text = f"Document {number}. " * 200
    document = Document(
        id=f"doc{number}",
        tenant=MAIN,
        collection=COLLECTION,
        external_id=f"doc{number}",
        title=f"doc{number}",
        version=1,
        content_hash=f"{number:064d}",
        access=[access_token(MAIN, "group:all")],
        metadata={},
        chunk_count=CHUNKS_PER_DOCUMENT,
        character_count=len(text),
        source_name=f"doc{number}.txt",
        created_at=0.0,
        updated_at=0.0,
    )
    return document, text


@asynccontextmanager
async def serving(home: Path) -> AsyncIterator[tuple[str, psutil.Process]]:
    """The address and the process of a server that is ready."""
    command = [*RAGSTONE, "--home", str(home), "serve", "--port", "0"]
    with open(os.devnull, "w") as nowhere:
        process = subprocess.Popen(command, stderr=nowhere)
    try:
        yield await _ready(home, process.pid), psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


async def _ready(home: Path, pid: int) -> str:
    ends = time.monotonic() + 120
    while time.monotonic() < ends:
        info = read_server(home)
        if info is not None and info.pid == pid and info.url:
            async with (
                aiohttp.ClientSession(info.url) as session,
                session.get("/health/ready") as response,
            ):
                if response.status == 200:
                    return info.url
        await asyncio.sleep(0.1)
    raise SystemExit("the server was not ready within two minutes")


def show(what: str, process: psutil.Process) -> None:
    """Resident and unshared MiB of the server and of the processes that it started."""
    everyone = [process, *process.children(recursive=True)]
    memory = [one.memory_full_info() for one in everyone]
    each = " + ".join(f"{one.rss / _MIB:.0f}" for one in memory)
    print(
        f"{what:22} resident {sum(one.rss for one in memory) / _MIB:6.0f} MiB ({each}), "
        f"of it unshared {sum(one.uss for one in memory) / _MIB:6.0f} MiB",
        flush=True,
    )


async def measure(home: Path) -> None:
    secret = await make_records(home)
    corpus = Corpus(MAIN, CHUNKS_PER_DOCUMENT, seed=3)
    headers = {"Authorization": f"Bearer {secret}"}
    async with serving(home) as (url, process), aiohttp.ClientSession(url, headers=headers) as http:

        async def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
            async with http.post(path, json={"collection": COLLECTION, **body}) as response:
                answer: dict[str, Any] = await response.json()
                if response.status >= 400:
                    raise SystemExit(f"{path} answered {response.status}: {answer}")
                return answer

        show("ready", process)
        found = 0
        for _ in range(500):
            query = f"what is the {corpus.words(8)}"
            found += len((await post("/v1/search", {"query": query, "top_k": 50}))["passages"])
        show(f"500 searches ({found:,})", process)
        for _ in range(200):
            await post("/v1/answers", {"question": f"what is the {corpus.words(8)}?"})
        show("200 answers", process)
        form = aiohttp.FormData({"collection": COLLECTION})
        form.add_field("file", b"<p>A new document.</p>", filename="new.html")
        async with http.post("/v1/documents", data=form) as response:
            (job,) = (await response.json())["jobs"]
        while job["state"] not in TERMINAL_STATES:
            await asyncio.sleep(0.05)
            async with http.get(f"/v1/jobs/{job['id']}") as response:
                job = await response.json()
        show("a document ingested", process)


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory of a server with 100,000 chunks")
    parser.add_argument("--home", type=Path, required=True, help="its index/ is there already")
    arguments = parser.parse_args()
    if not (arguments.home / "index").exists():
        raise SystemExit(f"build {arguments.home}/index with search_100k.py --root first")
    asyncio.run(measure(arguments.home))


if __name__ == "__main__":
    main()
