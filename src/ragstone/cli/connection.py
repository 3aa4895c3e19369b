"""Where a command finds its server: the one that runs on the data folder, or its own.

A command on a folder that no server has starts the same application in its own process on a
Unix socket, so every command goes one way, whether a server runs or not. Other commands that
come meanwhile use that server, too; it stays until they have finished.
"""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
import typer

from ragstone.assembly import open_system
from ragstone.cli.client import Client, ServerError
from ragstone.domain.errors import (
    HomeLocked,
    HomeMissing,
    InvalidSettings,
    RagstoneError,
)
from ragstone.home import ServerInfo, read_server, short_folder
from ragstone.observe.logging import configure_logging
from ragstone.processes.patience import Patience, patiently
from ragstone.processes.workers import require_data_here
from ragstone.server.app import build_app
from ragstone.server.run import serve_on_socket
from ragstone.settings import home_folder, load_settings

_GONE: Final = "server_gone"

_IDLE_SECONDS: Final = 3600.0
"""A connection that stays open tells a command's own server that it is still needed."""


@asynccontextmanager
async def connect(
    home: Path | None, *, create: bool = False, patience: Patience | None = None
) -> AsyncIterator[Client]:
    """A client of the folder's server; `create` makes a folder that is absent.

    Waits a little for a folder that another command or server is just taking or leaving.
    Raises `HomeMissing` and the other `StartupError`s, and `ServerError`.
    """
    async with AsyncExitStack() as stack:

        async def attempt() -> Client:
            return await stack.enter_async_context(_connected(home, create))

        yield await patiently(attempt, _passing, patience or Patience())


def _passing(error: RagstoneError) -> bool:
    return isinstance(error, HomeLocked) or error.code == _GONE


@asynccontextmanager
async def _connected(home: Path | None, create: bool) -> AsyncIterator[Client]:
    async with AsyncExitStack() as stack:
        info = read_server(home_folder(home))
        if info is None:
            info = await stack.enter_async_context(_own_server(home, create))
        yield await stack.enter_async_context(_client(info))


@asynccontextmanager
async def _own_server(home: Path | None, create: bool) -> AsyncIterator[ServerInfo]:
    settings = load_settings(home)
    require_data_here(settings)
    if not create:
        _require_present(settings.home)
    configure_logging("error", "auto")  # a command's own output says what matters
    async with open_system(settings) as system:
        with short_folder() as folder:
            path = str(folder / "socket")
            async with serve_on_socket(system, build_app(system), path, _say_waiting) as info:
                yield info


def _require_present(home: Path) -> None:
    """A question does not make a data folder in whatever folder it happens to be asked in."""
    try:
        os.stat(home)
    except FileNotFoundError:
        raise HomeMissing(
            f"There is no data folder {home}.",
            remedy="Make one with `ragstone init` or `ragstone ingest ./docs`, "
            "or name another with --home.",
        ) from None
    except OSError:
        return  # opening it says what is wrong


def _say_waiting() -> None:
    typer.echo("Waiting for another command that works through this one ...", err=True)


@asynccontextmanager
async def _client(info: ServerInfo) -> AsyncIterator[Client]:
    connector = (
        aiohttp.UnixConnector(info.socket, keepalive_timeout=_IDLE_SECONDS)
        if info.socket
        else aiohttp.TCPConnector()
    )
    session = aiohttp.ClientSession(
        info.url or "http://localhost",
        connector=connector,
        headers={"Authorization": f"Bearer {_key() or info.token}"},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
        read_bufsize=1 << 22,
    )
    async with session:
        try:
            client = Client(session)
            await client.get("/health/live")  # a server that is just stopping shows it here
            yield client
        except aiohttp.ClientError as error:
            raise ServerError(
                {
                    "code": _GONE,
                    "message": f"The server at {info.address} did not answer: {error}.",
                    "remedy": "Look whether it still runs, then try again.",
                }
            ) from error


def _key() -> str:
    """The key in `RAGSTONE_API_KEY`, whose rights the command then has; usually none."""
    key = os.environ.get("RAGSTONE_API_KEY", "").strip()
    if not (key.isascii() and key.isprintable()):
        raise InvalidSettings(
            "RAGSTONE_API_KEY holds characters that no key has.",
            remedy="Set it to a key's secret, as `ragstone keys create` printed it.",
            field="RAGSTONE_API_KEY",
        )
    return key
