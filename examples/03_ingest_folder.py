"""Upload a folder and wait until its documents can be found.

    python examples/03_ingest_folder.py ./docs --collection handbook

`ragstone ingest` does the same with a progress bar; this shows the requests behind it. A file
gets the name by which it is known in the collection, so uploading it again replaces it.
"""

import argparse
import asyncio
import os
from pathlib import Path
from typing import Any

import aiohttp

ENDED = ("done", "done_with_errors", "failed")


async def upload(http: aiohttp.ClientSession, folder: Path, file: Path, collection: str) -> str:
    """Returns the id of the job, which is on the server's disk by then."""
    form = aiohttp.FormData(quote_fields=False)
    form.add_field("collection", collection)
    form.add_field("file", file.read_bytes(), filename=file.relative_to(folder).as_posix())
    async with http.post("/v1/documents", data=form) as response:
        answer = await response.json()
    if "error" in answer:
        raise SystemExit(f"{file}: {answer['error']['message']}")
    return str(answer["jobs"][0]["id"])


async def finished(http: aiohttp.ClientSession, job_id: str) -> dict[str, Any]:
    while True:
        async with http.get(f"/v1/jobs/{job_id}") as response:
            job: dict[str, Any] = await response.json()
        if job["state"] in ENDED:
            return job
        await asyncio.sleep(0.2)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--collection", default="handbook")
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    options = parser.parse_args()

    key = os.environ.get("RAGSTONE_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    files = sorted(path for path in options.folder.rglob("*") if path.is_file())
    async with aiohttp.ClientSession(options.url, headers=headers) as http:
        jobs = [await upload(http, options.folder, file, options.collection) for file in files]
        for job_id in jobs:
            job = await finished(http, job_id)
            print(f"{job['state']:<16} {job['source_name']}")
            for error in job["errors"]:
                print(f"  {error['message']}")


if __name__ == "__main__":
    asyncio.run(main())
