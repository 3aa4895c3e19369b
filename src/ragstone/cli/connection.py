"""Where a command finds its server: the one that runs on the data folder, or its own.

A command on a folder that no server has starts the same application in its own process on a
Unix socket, so every command goes one way, whether a server runs or not.
"""

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp

from ragstone.assembly import open_system
from ragstone.cli.client import Client, ServerError
from ragstone.home import ServerInfo, read_server
from ragstone.observe.logging import configure_logging
from ragstone.server.app import build_app
from ragstone.server.run import serve_on_socket
from ragstone.settings import home_folder, load_settings


@asynccontextmanager
async def connect(home: Path | None) -> AsyncIterator[Client]:
    """A client of the folder's server. Raises `StartupError`s."""
    async with AsyncExitStack() as stack:
        info = read_server(home_folder(home))
        if info is None:
            info = await stack.enter_async_context(_own_server(home))
        client = await stack.enter_async_context(_client(info))
        yield client


@asynccontextmanager
async def _own_server(home: Path | None) -> AsyncIterator[ServerInfo]:
    settings = load_settings(home)
    configure_logging("error", "auto")  # a command's own output says what matters
    async with open_system(settings) as system:
        # Not in the data folder: a socket's path may have about a hundred characters.
        with tempfile.TemporaryDirectory(prefix="ragstone-") as folder:
            path = os.path.join(folder, "socket")
            async with serve_on_socket(system, build_app(system), path) as info:
                yield info


@asynccontextmanager
async def _client(info: ServerInfo) -> AsyncIterator[Client]:
    connector = aiohttp.UnixConnector(info.socket) if info.socket else aiohttp.TCPConnector()
    session = aiohttp.ClientSession(
        info.url or "http://localhost",
        connector=connector,
        headers={"Authorization": f"Bearer {info.token}"},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
        read_bufsize=1 << 22,
    )
    async with session:
        try:
            yield Client(session)
        except aiohttp.ClientError as error:
            raise ServerError(
                {
                    "code": "server_gone",
                    "message": f"The server at {info.address} did not answer: {error}.",
                    "remedy": "Look whether it still runs, then try again.",
                }
            ) from error
