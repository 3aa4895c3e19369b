"""Running the application under uvicorn, found by commands through the data folder."""

import asyncio
import contextlib
import errno
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ragstone.domain.errors import InsecureBind, PortInUse, StartupError
from ragstone.home import ServerInfo
from ragstone.server.auth import is_loopback
from ragstone.server.event_stream import ABORT
from ragstone.system import System

_BACKLOG: Final = 2048


_CANCELLED_SECONDS: Final = 2.0
"""What cut-off requests have for settling what they used, before the system closes."""


class _Protocol(HttpToolsProtocol):
    """Lets a response drop its connection: closing would wait for a client that never reads."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: {"call": self.transport.abort}}


class _Server(uvicorn.Server):
    """A server whose signals are handled here: uvicorn would raise them again when it ends,
    which kills the process before anything is closed."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.interrupted = False
        """SIGINT was among the signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    @contextlib.contextmanager
    def stopping_on_signals(self) -> Iterator[None]:
        """The first SIGTERM or SIGINT ends the server in order, the next one at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_on, number)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def _stop_on(self, number: signal.Signals) -> None:
        self.interrupted = self.interrupted or number == signal.SIGINT
        self.force_exit = self.should_exit
        self.should_exit = True


async def serve(
    system: System, app: Starlette, host: str, port: int, announce: Callable[[str], None]
) -> None:
    """Serve until a signal says stop, then finish open requests within the set bound.

    `announce` gets the address once connections are accepted. Raises `InsecureBind` and
    `PortInUse` before anything is served. Returns after SIGTERM; after SIGINT raises
    `KeyboardInterrupt`, also with everything stopped.
    """
    await check_bind(system, host)
    listener = listen(host, port)
    server = _server(system, app)
    with server.stopping_on_signals():
        await _run(system, server, listener, host, announce)
    if server.interrupted:
        raise KeyboardInterrupt


async def _run(
    system: System,
    server: _Server,
    listener: socket.socket,
    host: str,
    announce: Callable[[str], None],
) -> None:
    url = f"http://{_bracketed(host)}:{listener.getsockname()[1]}"
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
async def serve_on_socket(
    system: System, app: Starlette, path: str, on_wait: Callable[[], None]
) -> AsyncIterator[ServerInfo]:
    """Serve on a Unix socket for as long as the context lasts, and as others are connected.

    `on_wait` is called when others still are after a second.
    """
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    os.chmod(path, 0o600)
    server = _server(system, app, idle_seconds=3600)  # see `_until_unused`
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await _until_started(server, running)
        info = ServerInfo(pid=os.getpid(), socket=path, token=system.local_token)
        system.home.publish_server(info)
        try:
            yield info
        except Exception:
            await _until_unused(server, on_wait)
            raise
        await _until_unused(server, on_wait)
    finally:
        await _stop(server, running, listener)


async def check_bind(system: System, host: str) -> None:
    """Without keys, only this machine may connect.

    Raises `InsecureBind`; `StartupError` where `host` is the name of no machine.
    """
    if is_loopback(host):
        return
    if not _is_any(host):
        await _require_known(host)
    if not await system.keys_configured():
        raise InsecureBind(
            f"Without API keys the server will not listen on {host}, where others can reach it.",
            remedy="Create a key first: `ragstone keys create --scope ask`.",
            field="server.host",
        )


async def _require_known(host: str) -> None:
    try:
        await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # a label too long for DNS is a UnicodeError
        raise StartupError(
            f"There is no host {host[:100]!r} to listen on.",
            remedy="Give --host an address of this machine, such as 127.0.0.1.",
            field="server.host",
        ) from None


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


def _server(system: System, app: Starlette, idle_seconds: int = 5) -> _Server:
    seconds = system.settings.server.shutdown_seconds
    config = uvicorn.Config(
        app,
        loop="none",
        http=_Protocol,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # who connected is known from the socket, never from a header
        timeout_graceful_shutdown=max(1, round(seconds)),
        timeout_keep_alive=idle_seconds,
        backlog=_BACKLOG,
    )
    return _Server(config)


async def _stop(server: _Server, running: "asyncio.Task[None]", listener: socket.socket) -> None:
    server.should_exit = True
    await asyncio.gather(running, return_exceptions=True)
    if left := set(server.server_state.tasks):
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=_CANCELLED_SECONDS)
    listener.close()


async def _until_unused(server: _Server, on_wait: Callable[[], None]) -> None:
    """A command that works through this server keeps its connection open until it has ended."""
    waits = 0
    while server.server_state.connections:
        waits += 1
        if waits == 50:
            on_wait()
        await asyncio.sleep(0.02)
    for listener in server.servers:
        listener.close()  # at once: who comes now finds nobody, and tries again


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
