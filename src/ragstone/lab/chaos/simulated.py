"""A simulator or a proxy in a process of its own, and how it is switched."""

from types import TracebackType
from typing import Any, Self

import aiohttp

from ragstone.domain.errors import InvalidExperiment
from ragstone.lab.chaos.processes import Program


class Switchable:
    """Its control over HTTP."""

    def __init__(self, program: Program, control: str, url: str) -> None:
        self.program = program
        self.url = url
        """Where the dependency is found, without `/v1`."""
        self._http = aiohttp.ClientSession(control)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.close()
        await self.program.stop()

    async def switch(self, **fields: Any) -> None:
        """Change behaviour or faults in part."""
        async with self._http.put("/control", json=fields) as response:
            if response.status != 200:
                raise InvalidExperiment(f"{self.program.name}: {await response.text()}")

    async def stats(self) -> dict[str, Any]:
        async with self._http.get("/stats") as response:
            return dict(await response.json())

    async def reset(self) -> None:
        """Behaviour of the start, counts from nothing."""
        async with self._http.post("/reset") as response:
            response.raise_for_status()

    async def cut(self) -> None:
        """Reset all connections now; of proxies only."""
        async with self._http.post("/reset-connections") as response:
            response.raise_for_status()

    async def starts(self) -> list[tuple[str, float]]:
        """Each request's question, by hash, and when it came on the clock of `time.monotonic`; of
        simulators only."""
        async with self._http.get("/stats/starts") as response:
            return [(question, at) for question, at in await response.json()]

    async def most_attempts(self) -> dict[str, int]:
        """At each question, by hash; of simulators only."""
        async with self._http.get("/stats/questions") as response:
            return dict(await response.json())
