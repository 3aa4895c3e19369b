"""A thousand identical questions at once over HTTP: how many generations, and how they end.

    flock /tmp/bench.lock python benchmarks/single_flight.py [--home FOLDER] [--questions 1000]

A real `ragstone serve` with its defaults and a simulated model; whole answers, a connection each.
"""

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from pathlib import Path

import aiohttp
from running_site import Site, site

QUESTION = {"question": "How long do I have to return a full-price item?"}
BEHAVIOUR = {"first_token_seconds": 1.0, "token_seconds": 0.02, "tokens": 60}


async def ask_together(served: Site, questions: int) -> tuple[Counter[str], set[str], float]:
    """How they ended, the different texts, and seconds until the last was told."""
    ends: Counter[str] = Counter()
    texts: set[str] = set()

    async def ask(http: aiohttp.ClientSession) -> None:
        async with http.post(f"{served.url}/v1/answers", json=QUESTION) as response:
            answer = await response.json()
        if response.status == 200:
            texts.add(answer["answer"])
            ends[answer["cache"]] += 1
        else:
            ends[answer["error"]["code"]] += 1

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        began = time.perf_counter()
        await asyncio.gather(*(ask(http) for _ in range(questions)))
        return ends, texts, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--questions", type=int, default=1_000)
    parser.add_argument("--workers", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = arguments.home or Path(folder, "home")
        with site(
            home,
            behaviour=BEHAVIOUR,
            settings={"CACHE__ENABLED": "true"},
            arguments=("--workers", str(arguments.workers)),
        ) as served:
            ends, texts, seconds = asyncio.run(ask_together(served, arguments.questions))
            asked = served.metric("rag_dependency_requests_total")
    print(
        f"ends {dict(ends)}; texts {len(texts)}; calls out {asked:.0f}; last after {seconds:.2f} s"
    )


if __name__ == "__main__":
    main()
