"""Running what listens in the laboratory until it is told to stop."""

import asyncio
import errno
import signal
import socket
from collections.abc import Callable
from typing import Final

from ragstone.domain.errors import PortInUse, StartupError
from ragstone.lab.simulate.behaviour import Behaviour
from ragstone.lab.simulate.http import Connection
from ragstone.lab.simulate.simulator import Service, Simulator
from ragstone.lab.simulate.wheel import TimerWheel

_BACKLOG: Final = 4096


async def serve_simulator(
    service: Service, behaviour: Behaviour, host: str, port: int, announce: Callable[[str], None]
) -> None:
    """Serve until SIGTERM or SIGINT. `announce` gets the address. Raises `PortInUse`."""
    simulator = Simulator(service, behaviour, TimerWheel(asyncio.get_running_loop()))
    server = await listen(lambda: Connection(simulator.handle), host, port)
    try:
        announce(address_of(server))
        await until_told_to_stop()
    finally:
        server.close()


def address_of(server: asyncio.Server) -> str:
    """Where it listens, as a URL."""
    host, port = server.sockets[0].getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def until_told_to_stop() -> None:
    """Returns at SIGTERM or SIGINT."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    await told.wait()


async def listen(protocol: Callable[[], asyncio.Protocol], host: str, port: int) -> asyncio.Server:
    """A listening server. Raises `PortInUse`, `StartupError` for an address that cannot be."""
    try:
        return await asyncio.get_running_loop().create_server(
            protocol, host, port, backlog=_BACKLOG, family=socket.AF_INET if ":" not in host else 0
        )
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(
                f"Port {port} on {host} is in use by another program.",
                remedy="Give another with --port, or 0 for any free one.",
                field="port",
            ) from None
        raise StartupError(
            f"Nothing can listen on {host}:{port}: {error.strerror or error}.",
            remedy="Check --host and --port.",
            field="host",
        ) from None
