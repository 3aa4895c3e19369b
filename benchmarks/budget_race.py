"""64 clients and four gateways spend from one budget, and processes are killed at random.

    python benchmarks/budget_race.py [--home FOLDER] [--questions 3000] [--kills 12]

A real `ragstone serve --workers 4` with a simulated model that is billed. The budget covers a
tenth of the questions by what the first hundred cost. What the provider saw is counted by the
simulator itself. At the end: spent, charged, and how much of the budget could be used.
"""

import argparse
import asyncio
import json
import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import aiohttp
import psutil
from running_site import Site, site

CLIENTS: Final = 64
SAMPLE: Final = 100
TRIES: Final = 40
BEHAVIOUR: Final = {"first_token_seconds": 0.05, "token_seconds": 0.01, "tokens": 60}
SETTINGS: Final = {
    "LLM__INPUT_PRICE": "0.5",
    "LLM__OUTPUT_PRICE": "20",
    "LLM__MAX_TOKENS": 64,
    "SERVER__RESTARTS": 1000,
    "ADMISSION__CONCURRENCY": 64,
    "ADMISSION__TENANT_SHARE": 1,
}


class Race:
    def __init__(self, served: Site, http: aiohttp.ClientSession, draws: random.Random) -> None:
        self.served, self.http, self.draws = served, http, draws
        self.outcomes: Counter[str] = Counter()
        self.told = self.killed = 0

    async def ask(self, number: int) -> None:
        """As a client with patience: again after half a second where it was not answered."""
        question = {"question": f"How long do I have to return item {number}?"}
        for _ in range(TRIES):
            if await self._answered(question):
                return
            await asyncio.sleep(0.5)

    async def _answered(self, question: dict[str, str]) -> bool:
        try:
            async with self.http.post(f"{self.served.url}/v1/answers", json=question) as response:
                answer = await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            self.outcomes[type(error).__name__] += 1
            return False
        if response.status != 200:
            self.outcomes[answer["error"]["code"]] += 1
            return False
        cost = answer["receipt"]["nanodollars"]
        self.outcomes["written" if cost else "extracted"] += 1
        self.told += cost
        return True

    async def ask_all(self, numbers: range) -> None:
        left = iter(numbers)

        async def client() -> None:
            for number in left:
                await self.ask(number)

        await asyncio.gather(*(client() for _ in range(CLIENTS)))

    async def kill(self, count: int, seconds: float) -> None:
        """Gateways, and now and then the engine, spread over so many seconds."""
        while self.killed < count:
            await asyncio.sleep(seconds / count * 2 * self.draws.random())
            victims = self.served.server.children()
            if victims:
                try:
                    self.draws.choice(victims).kill()
                except psutil.NoSuchProcess:
                    continue
                self.killed += 1

    async def budgets(self) -> dict[str, Any]:
        async with self.http.get(f"{self.served.url}/v1/budgets") as response:
            [budget] = (await response.json())["budgets"]
            return budget["standing"][0]

    async def set_budget(self, dollars: str) -> None:
        body = {"scope": "tenant", "limit": dollars}
        async with self.http.put(f"{self.served.url}/v1/budgets", json=body) as response:
            assert response.status in (200, 201), await response.text()

    async def model_calls(self) -> int:
        async with self.http.get(f"{self.served.model_url}/stats") as response:
            return json.loads(await response.read())["requests"]


async def run(served: Site, questions: int, kills: int, seed: int) -> None:
    timeout = aiohttp.ClientTimeout(total=60)
    connector = aiohttp.TCPConnector(limit=CLIENTS, force_close=True)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as http:
        race = Race(served, http, random.Random(seed))
        await race.set_budget("1000000")
        start = int((await race.budgets())["settled"]["nanodollars"])
        await race.ask_all(range(1_000, 1_000 + SAMPLE))
        await asyncio.sleep(3)
        calls = await race.model_calls()
        before = int((await race.budgets())["settled"]["nanodollars"])
        each = (before - start) / calls
        cap = before + int(each * questions / 10)
        await race.set_budget(f"{cap / 1e9:.9f}")
        await asyncio.sleep(2)
        race.outcomes.clear()
        race.told = 0
        began = time.monotonic()
        killing = asyncio.create_task(race.kill(kills, 15.0))
        await race.ask_all(range(2_000, 2_000 + questions))
        seconds = time.monotonic() - began
        killing.cancel()
        await asyncio.sleep(5)
        standing = await race.budgets()
        settled = int(standing["settled"]["nanodollars"]) - before
        asked = await race.model_calls() - calls
        given = cap - before
        print(
            f"{questions} questions in {seconds:.0f} s, {race.killed} processes killed: "
            f"{dict(race.outcomes)}\n"
            f"{asked} calls of the model; budget {given / 1e9:.6f} dollars, "
            f"receipts of answers {race.told / 1e9:.6f}, "
            f"charged {settled / 1e9:.6f} ({settled / given:.2%}), "
            f"still out {standing['outstanding']}"
        )
        assert race.told <= settled <= given


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--questions", type=int, default=2_000)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = options.home or Path(folder, "home")
        with site(
            home, behaviour=BEHAVIOUR, settings=SETTINGS, arguments=("--workers", "4")
        ) as served:
            asyncio.run(run(served, options.questions, options.kills, options.seed))


if __name__ == "__main__":
    main()
