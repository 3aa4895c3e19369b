"""Simulators and proxies in the test's own event loop, on loopback."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from ragstone.lab.adjustable import changed
from ragstone.lab.fault_proxy.faults import Faults
from ragstone.lab.fault_proxy.proxy import FaultProxy
from ragstone.lab.simulate.behaviour import Behaviour
from ragstone.lab.simulate.http import Connection
from ragstone.lab.simulate.llm import ModelService
from ragstone.lab.simulate.serve import address_of, listen
from ragstone.lab.simulate.simulator import Service, Simulator
from ragstone.lab.simulate.wheel import TimerWheel
from ragstone.ports import Prompt, PromptMessage

PASSAGES = (
    "[1] Returns > Delivery\nYou may return items within 45 days.\n\n"
    "[2] Care, page 3\nWash wool by hand.\nNever tumble dry."
)
PROMPT = Prompt(
    system="Answer from the passages.",
    messages=[
        PromptMessage(
            "user",
            f"<passages>\n{PASSAGES}\n</passages>\n\n<question>\nHow long?\n</question>",
        )
    ],
    max_tokens=64,
)


class Running:
    """A simulator under test."""

    def __init__(self, simulator: Simulator, url: str) -> None:
        self.simulator = simulator
        self.url = f"{url}/v1"
        self.control = url

    def behave(self, **fields: Any) -> None:
        """Change its behaviour in part."""
        self.simulator.change(msgspec.json.encode(fields))

    async def outcome(self) -> str:
        """How the only request ended, once it has."""
        while not (outcomes := self.simulator.stats().outcomes):
            await asyncio.sleep(0)
        assert len(outcomes) == 1
        return next(iter(outcomes))


@asynccontextmanager
async def simulator(service: Service | None = None, **fields: Any) -> AsyncIterator[Running]:
    behaviour = changed(Behaviour(), fields, what="behaviour")
    wheel = TimerWheel(asyncio.get_running_loop())
    made = Simulator(service or ModelService(), behaviour, wheel)
    connections: list[Connection] = []

    def connect() -> Connection:
        connections.append(Connection(made.handle))
        return connections[-1]

    server = await listen(connect, "127.0.0.1", 0)
    try:
        yield Running(made, address_of(server))
    finally:
        server.close()
        for connection in connections:
            connection.cut()
        await asyncio.sleep(0)


@asynccontextmanager
async def proxy_to(url: str, **fields: Any) -> AsyncIterator[tuple[FaultProxy, str]]:
    """The proxy and the address under which `url` is found behind it."""
    port = int(url.split(":")[2].split("/")[0])
    proxy = FaultProxy("127.0.0.1", port, changed(Faults(), fields, what="fault"))
    await proxy.start()
    try:
        yield proxy, url.replace(f":{port}", f":{proxy.port}")
    finally:
        await proxy.close()
        await asyncio.sleep(0)
