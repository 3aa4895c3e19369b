"""An engine's door on a Unix socket, over whatever index, embedder and records a test has."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from starlette.types import Receive, Scope, Send

from ragstone.governance.prices import ALL_FREE
from ragstone.hop.address import EngineAddress
from ragstone.hop.client import EngineClient
from ragstone.server.engine import EngineDoor
from ragstone.server.listening import listen_on_path
from ragstone.server.run import serve_engine
from ragstone.system import System

TOKEN = "the engine's token"


@dataclass
class Door:
    """A served door. `seen` are the scopes that it let through to the application."""

    path: str
    seen: list[Scope] = field(default_factory=list)
    clients: list[EngineClient] = field(default_factory=list)

    def client(self, token: str = TOKEN, timeout_seconds: float = 30.0) -> EngineClient:
        made = EngineClient(
            EngineAddress(socket=self.path), token=token, timeout_seconds=timeout_seconds
        )
        self.clients.append(made)
        return made


@asynccontextmanager
async def served(
    *, path: str | None = None, shutdown_seconds: float = 0, **stores: Any
) -> AsyncIterator[Door]:
    """`stores` are `index`, `embedder` and `records`."""
    folder = Path(tempfile.mkdtemp(prefix="door-"))
    door = Door(path or str(folder / "socket"))

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        door.seen.append(scope)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def readiness() -> dict[str, bool]:
        return {"everything": True}

    system = cast(
        System,
        SimpleNamespace(
            **stores,
            readiness=readiness,
            settings=SimpleNamespace(
                server=SimpleNamespace(shutdown_seconds=shutdown_seconds, send_seconds=30)
            ),
            services=SimpleNamespace(
                admission=SimpleNamespace(close=lambda: None), prices=ALL_FREE
            ),
            home=SimpleNamespace(installation="here"),
        ),
    )
    begun = asyncio.Event()
    serving = asyncio.create_task(
        serve_engine(
            system,
            EngineDoor(application, system, TOKEN),
            listen_on_path(door.path),
            started=begun.set,
            orphaned=asyncio.Event(),
        )
    )
    try:
        await begun.wait()
        yield door
    finally:
        for client in door.clients:
            await client.close()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        shutil.rmtree(folder)
