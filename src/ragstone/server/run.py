"""Running an application under uvicorn, until a signal says stop."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from ragstone.domain.errors import InsecureBind, StartupError
from ragstone.home import ServerInfo
from ragstone.server.connection import Connection
from ragstone.server.engine import EngineDoor
from ragstone.server.engine_connection import GatewayConnection
from ragstone.server.listening import (
    BACKLOG,
    is_any,
    is_loopback,
    listen,
    listen_on_path,
    local_url_of,
    unknown_host,
    url_of,
)
from ragstone.server.repeats import Repeats
from ragstone.server.repeats_connection import RepeatsConnection
from ragstone.system import System

_KEPT_SECONDS: Final = 3600
"""An idle connection of a command or gateway says that it still needs this server."""

_CANCELLED_SECONDS: Final = 2.0
"""What cut-off requests have for settling what they used, before the system closes."""

_YOUNG_OBJECTS: Final = 10_000
"""Net new containers between two collections of the youngest, in the place of Python's 700."""
_OLDER_EVERY: Final = 5
"""Collections of the youngest for one of what survived one: in Python 10, and twice the pause."""
_OLDEST_EVERY: Final = 100
"""Of these for one of all: in Python 10. With a thousand open streams it stops the loop for 70 to
190 ms, and what it frees is next to nothing: a hundred objects in 300,000."""


class _Server(uvicorn.Server):
    """A server whose signals are handled here: uvicorn would raise them again when it ends,
    which kills the process before anything is closed."""

    def __init__(self, config: uvicorn.Config, refuse: Callable[[], None]) -> None:
        """`refuse` is called when it begins to stop: what runs may end, nothing new begins."""
        super().__init__(config)
        self._refuse = refuse
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

    def stop(self) -> None:
        """In order; told so again, at once."""
        self.force_exit = self.should_exit
        self.finish()

    def finish(self) -> None:
        """In order, also when it stops already."""
        self.should_exit = True
        self._refuse()

    def _stop_on(self, number: signal.Signals) -> None:
        self.interrupted = self.interrupted or number == signal.SIGINT
        self.stop()


async def serve(
    system: System, app: ASGIApp, host: str, port: int, announce: Callable[[str], None]
) -> None:
    """Serve until a signal says stop, then finish open requests within the set bound.

    `announce` gets the address once connections are accepted. Raises `InsecureBind` and
    `PortInUse` before anything is served. Returns after SIGTERM; after SIGINT raises
    `KeyboardInterrupt`, also with everything stopped.
    """
    await check_bind(system, host)
    listener = listen(host, port)
    at_hand = system.services.at_hand
    if at_hand is None:
        server = _server(system, app)
    else:
        repeats = Repeats(system, at_hand)
        protocol = partial(RepeatsConnection, repeats=repeats)
        server = _server(system, app, protocol=protocol, refuse=repeats.close)
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
    port = listener.getsockname()[1]
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await _until_started(server, running)
        _spare_collections()
        system.home.publish_server(
            ServerInfo(pid=os.getpid(), url=local_url_of(host, port), token=system.local_token)
        )
        announce(url_of(host, port))
        # Shielded: a cancellation of ours is to end it in order, not in the middle.
        await asyncio.shield(running)
    finally:
        await _stop(server, running, listener)


async def serve_gateway(
    system: System,
    app: ASGIApp,
    listener: socket.socket,
    *,
    started: Callable[[], None],
    orphaned: asyncio.Event,
) -> None:
    """Serve until a signal says stop, or until `orphaned` is set, then finish what is open."""
    server = _server(system, app)

    async def follow() -> None:
        await orphaned.wait()
        server.stop()

    await _serve_child(server, listener, started, follow)


async def serve_engine(
    system: System,
    door: EngineDoor,
    listener: socket.socket,
    *,
    started: Callable[[], None],
    orphaned: asyncio.Event,
) -> None:
    """Serve gateways until a signal says stop; after `orphaned`, until they have gone.

    A gateway has a connection open for as long as it may need its engine.
    """
    protocol = partial(GatewayConnection, door=door)
    server = _server(system, door, idle_seconds=_KEPT_SECONDS, protocol=protocol)

    async def follow() -> None:
        await orphaned.wait()
        await _until_unused(server, lambda: None)
        server.stop()

    await _serve_child(server, listener, started, follow)


async def _serve_child(
    server: _Server,
    listener: socket.socket,
    started: Callable[[], None],
    follow: Callable[[], Awaitable[None]],
) -> None:
    with server.stopping_on_signals():
        running = asyncio.create_task(server.serve(sockets=[listener]))
        following = asyncio.ensure_future(follow())
        try:
            await _until_started(server, running)
            _spare_collections()
            started()
            await asyncio.shield(running)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await _stop(server, running, listener)


@contextlib.asynccontextmanager
async def serve_on_socket(
    system: System, app: ASGIApp, path: str, on_wait: Callable[[], None]
) -> AsyncIterator[ServerInfo]:
    """Serve on a Unix socket for as long as the context lasts, and as others are connected.

    `on_wait` is called when others still are after a second.
    """
    listener = listen_on_path(path)
    server = _server(system, app, idle_seconds=_KEPT_SECONDS)
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
    if not is_any(host):
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
        raise unknown_host(host) from None


def _server(
    system: System,
    app: ASGIApp,
    idle_seconds: int = 5,
    protocol: Callable[..., Connection] = Connection,
    refuse: Callable[[], None] = lambda: None,
) -> _Server:
    """`refuse`: told, beside admission, when it begins to stop."""

    def stopping() -> None:
        refuse()
        system.services.admission.close()

    # It takes fractions of a second too, whatever its annotation says.
    seconds: Any = system.settings.server.shutdown_seconds
    connection: Any = partial(protocol, send_seconds=system.settings.server.send_seconds)
    config = uvicorn.Config(
        app,
        loop="none",
        http=connection,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # who connected is known from the socket, never from a header
        timeout_graceful_shutdown=seconds,
        timeout_keep_alive=idle_seconds,
        backlog=BACKLOG,
    )
    return _Server(config, stopping)


async def _stop(server: _Server, running: "asyncio.Task[None]", listener: socket.socket) -> None:
    server.finish()
    await asyncio.gather(running, return_exceptions=True)
    if left := set(server.server_state.tasks):
        for task in left:
            if not task.cancelling():  # a second one would break off what the first one began
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


def _spare_collections() -> None:
    """Leave what lives as long as the process out of garbage collections, and have fewer.

    Most objects are modules and their functions: looking through them all held up every request
    for 80 to 100 ms, and the young ones, of which nearly all are freed without it, took 3 % of
    the processor at ten times the load that the server holds (`benchmarks/overload.py`).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, _OLDER_EVERY, _OLDEST_EVERY)
