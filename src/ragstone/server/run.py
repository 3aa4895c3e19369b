"""Running the application under uvicorn, found by commands through the data folder."""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette

from ragstone.domain.errors import InsecureBind, PortInUse, StartupError
from ragstone.home import ServerInfo
from ragstone.server.auth import is_loopback
from ragstone.system import System

_BACKLOG: Final = 2048


class _Server(uvicorn.Server):
    """Signals reach it only where it is the whole program."""

    def __init__(self, config: uvicorn.Config, *, with_signals: bool) -> None:
        super().__init__(config)
        self._with_signals = with_signals

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        if self._with_signals:
            with super().capture_signals():
                yield
        else:
            yield


async def serve(
    system: System, app: Starlette, host: str, port: int, announce: Callable[[str], None]
) -> None:
    """Serve until a signal says stop, then finish open requests within the set bound.

    `announce` gets the address once connections are accepted. Raises `InsecureBind` and
    `PortInUse` before anything is served.
    """
    await check_bind(system, host)
    listener = listen(host, port)
    url = f"http://{_bracketed(host)}:{listener.getsockname()[1]}"
    server = _server(system, app, with_signals=True)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await _until_started(server, running)
        local = f"http://127.0.0.1:{listener.getsockname()[1]}" if _is_any(host) else url
        system.home.publish_server(ServerInfo(pid=os.getpid(), url=local, token=system.local_token))
        announce(url)
        # Shielded: a cancellation of ours is to end it in order, not in the middle.
        await asyncio.shield(running)
    finally:
        await _stop(server, running, listener)


@contextlib.asynccontextmanager
async def serve_on_socket(system: System, app: Starlette, path: str) -> AsyncIterator[ServerInfo]:
    """Serve on a Unix socket for as long as the context lasts."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    os.chmod(path, 0o600)
    server = _server(system, app, with_signals=False)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await _until_started(server, running)
        info = ServerInfo(pid=os.getpid(), socket=path, token=system.local_token)
        system.home.publish_server(info)
        yield info
    finally:
        await _stop(server, running, listener)


async def check_bind(system: System, host: str) -> None:
    """Raises `InsecureBind`: without keys, only this machine may connect."""
    if not is_loopback(host) and not await system.keys_configured():
        raise InsecureBind(
            f"Without API keys the server will not listen on {host}, where others can reach it.",
            remedy="Create a key first: `ragstone keys create --scope ask`.",
            field="server.host",
        )


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket. Raises `PortInUse`, or `StartupError` for a bad address."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(_BACKLOG)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(
                f"Port {port} on {host} is in use by another program.",
                remedy="Give another with --port, or 0 for any free one.",
                field="server.port",
            ) from None
        raise StartupError(
            f"The server cannot listen on {host}:{port}: {error.strerror or error}.",
            remedy="Check --host and --port.",
            field="server.host",
        ) from None
    return listener


def _server(system: System, app: Starlette, *, with_signals: bool) -> _Server:
    seconds = system.settings.server.shutdown_seconds
    config = uvicorn.Config(
        app,
        loop="none",
        http="httptools",
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(seconds)),
        backlog=_BACKLOG,
    )
    return _Server(config, with_signals=with_signals)


async def _stop(server: _Server, running: "asyncio.Task[None]", listener: socket.socket) -> None:
    server.should_exit = True
    await asyncio.gather(running, return_exceptions=True)
    listener.close()


async def _until_started(server: _Server, running: "asyncio.Task[None]") -> None:
    while not server.started:
        if running.done():
            await running
            raise StartupError("The server stopped while it was starting.")
        await asyncio.sleep(0.002)


def _is_any(host: str) -> bool:
    return host in ("0.0.0.0", "::", "")  # noqa: S104 - compared, not bound


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
