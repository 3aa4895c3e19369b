"""Switching a proxy's faults over HTTP, and running one until it is told to stop."""

import asyncio
from collections.abc import Callable

import msgspec

from ragstone.domain.errors import InvalidExperiment
from ragstone.lab.fault_proxy.faults import Faults
from ragstone.lab.fault_proxy.proxy import FaultProxy
from ragstone.lab.simulate.http import Connection, Request
from ragstone.lab.simulate.serve import address_of, listen, until_told_to_stop
from ragstone.lab.simulate.simulator import control_error


async def serve_proxy(
    target: tuple[str, int],
    faults: Faults,
    host: str,
    port: int,
    control_port: int,
    announce: Callable[[str, str], None],
) -> None:
    """Pass connections on until SIGTERM or SIGINT. Raises `PortInUse`.

    `announce` gets where the proxy listens, as host and port, and the control's URL.
    """
    proxy = FaultProxy(*target, faults)
    await proxy.start(host, port)
    try:
        control = ProxyControl(proxy)
        server = await listen(lambda: Connection(control.handle), host, control_port)
        announce(f"{host}:{proxy.port}", address_of(server))
        await until_told_to_stop()
        server.close()
    finally:
        await proxy.close()


class ProxyControl:
    """The HTTP control of a proxy, on a port of its own."""

    def __init__(self, proxy: FaultProxy) -> None:
        self._proxy = proxy
        self._running: set[asyncio.Task[None]] = set()

    def handle(self, request: Request, connection: Connection) -> None:
        """Answer one control request."""
        task = asyncio.get_running_loop().create_task(self._handle(request, connection))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _handle(self, request: Request, connection: Connection) -> None:
        proxy, answer = self._proxy, msgspec.json.encode
        match (request.method, request.path):
            case ("GET", "/control"):
                connection.respond(200, answer(proxy.faults))
            case ("PUT", "/control"):
                try:
                    connection.respond(200, answer(await proxy.change(request.body)))
                except InvalidExperiment as error:
                    connection.respond(400, control_error(error))
            case ("GET", "/stats"):
                connection.respond(200, answer(proxy.traffic()))
            case ("POST", "/reset"):
                await proxy.restore()
                connection.respond(200, answer(proxy.faults))
            case ("POST", "/reset-connections"):
                proxy.reset_all()
                connection.respond(200, answer(proxy.traffic()))
            case _:
                connection.respond(404, b'{"error":{"message":"There is nothing here."}}')
