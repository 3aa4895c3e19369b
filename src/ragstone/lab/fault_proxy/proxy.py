"""The proxy: listens, connects, and gives both directions to pipes."""

import asyncio
import random
from collections.abc import Mapping
from typing import Any, cast

from ragstone.lab.adjustable import changed
from ragstone.lab.fault_proxy.faults import Faults, Traffic
from ragstone.lab.fault_proxy.pipe import Pipe
from ragstone.lab.simulate.http import reset
from ragstone.lab.simulate.serve import listen


class FaultProxy:
    """Passes connections on to one target. Start it with `start`, end it with `close`."""

    def __init__(self, host: str, port: int, faults: Faults | None = None) -> None:
        """`host` and `port` are the target's."""
        self._target = (host, port)
        self._first_faults = faults or Faults()
        self._faults = self._first_faults
        self._chance = random.Random(self._faults.seed)
        self._pairs: set[_Pair] = set()
        self._server: asyncio.Server | None = None
        self._listening = ("127.0.0.1", 0)
        self._clear()

    @property
    def port(self) -> int:
        """Where it listens; the same also while it refuses."""
        return self._listening[1]

    @property
    def faults(self) -> Faults:
        return self._faults

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen. Raises `PortInUse`."""
        self._server = await listen(lambda: _Client(self), host, port)
        self._listening = self._server.sockets[0].getsockname()[:2]
        if self._faults.connect == "refuse":
            self._stop_listening()

    async def close(self) -> None:
        """End all connections and listen no more."""
        self._stop_listening()
        self.reset_all()

    async def change(self, change: bytes | Mapping[str, Any]) -> Faults:
        """Change the faults in part. Raises `InvalidExperiment`."""
        await self._set(changed(self._faults, change, what="fault"))
        return self._faults

    async def restore(self) -> None:
        """The faults of the start, and counts from nothing. Open connections stay."""
        await self._set(self._first_faults)
        self._clear()

    def reset_all(self) -> None:
        """Reset every connection now, on both sides."""
        for pair in list(self._pairs):
            pair.reset()

    def traffic(self) -> Traffic:
        return Traffic(
            connections=self._connections,
            open=len(self._pairs),
            max_open=self._max_open,
            resets=self._resets,
            to_target_bytes=self._bytes[0],
            to_client_bytes=self._bytes[1],
        )

    async def _set(self, faults: Faults) -> None:
        if faults.seed != self._faults.seed:
            self._chance.seed(faults.seed)
        self._faults = faults
        if faults.connect == "refuse":
            self._stop_listening()
        elif self._server is None:
            await self.start(*self._listening)

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _clear(self) -> None:
        self._connections = self._resets = 0
        self._max_open = len(self._pairs)
        self._bytes = [0, 0]

    # What the connections tell.

    def opened(self, pair: "_Pair") -> None:
        self._pairs.add(pair)
        self._connections += 1
        self._max_open = max(self._max_open, len(self._pairs))

    def ended(self, pair: "_Pair", *, by_reset: bool) -> None:
        self._pairs.discard(pair)
        self._resets += by_reset

    def pair(self, client: asyncio.Transport) -> "_Pair":
        return _Pair(self, client, self._target, self._chance)

    def count(self, direction: int, size: int) -> None:
        self._bytes[direction] += size


class _Pair:
    """A client's connection and the one to the target."""

    def __init__(
        self,
        proxy: FaultProxy,
        client: asyncio.Transport,
        target: tuple[str, int],
        chance: random.Random,
    ) -> None:
        self._proxy = proxy
        self._transports: list[asyncio.Transport] = [client]
        self._ended = False
        self.up = Pipe(
            lambda: proxy.faults.to_target, chance, self.reset, lambda n: proxy.count(0, n)
        )
        self.down = Pipe(
            lambda: proxy.faults.to_client, chance, self.reset, lambda n: proxy.count(1, n)
        )
        self.up.source = self.down.target = client
        self.up.on_ended = self.down.on_ended = self._close_if_both_ended
        self._connecting: asyncio.Task[None] | None = None
        proxy.opened(self)
        if proxy.faults.connect != "swallow":
            self._connecting = asyncio.get_running_loop().create_task(self._connect(target))

    async def _connect(self, target: tuple[str, int]) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: _Target(self), *target)
        except OSError:
            self.reset()

    def connected(self, transport: asyncio.Transport) -> None:
        if self._ended:
            transport.abort()
            return
        self._transports.append(transport)
        self.down.source = self.up.target = transport
        self.up.flush()

    def reset(self) -> None:
        """End both sides with a TCP reset."""
        if self._ended:
            return
        self._end(by_reset=True)
        for transport in self._transports:
            reset(transport)

    def lost(self) -> None:
        """A side went away without an end of its stream: the other one shall see that."""
        self.reset()

    def _close_if_both_ended(self) -> None:
        if self.up.has_ended and self.down.has_ended and not self._ended:
            self._end(by_reset=False)
            for transport in self._transports:
                transport.close()

    def _end(self, *, by_reset: bool) -> None:
        self._ended = True
        if self._connecting is not None:
            self._connecting.cancel()
        self.up.stop()
        self.down.stop()
        self._proxy.ended(self, by_reset=by_reset)


class _Side(asyncio.Protocol):
    """What both sides have in common: the pipe that they feed and the one that fills them."""

    feeding: Pipe
    filling: Pipe
    pair: _Pair

    def data_received(self, data: bytes) -> None:
        self.feeding.feed(data)

    def eof_received(self) -> bool:
        self.feeding.end()
        return True  # the other direction may still go on

    def connection_lost(self, exc: Exception | None) -> None:
        self.pair.lost()

    def pause_writing(self) -> None:
        self.filling.pause()

    def resume_writing(self) -> None:
        self.filling.resume()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)


class _Client(_Side):
    def __init__(self, proxy: FaultProxy) -> None:
        self._proxy = proxy

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.pair = self._proxy.pair(self.transport)
        self.feeding, self.filling = self.pair.up, self.pair.down


class _Target(_Side):
    def __init__(self, pair: _Pair) -> None:
        self.pair = pair
        self.feeding, self.filling = pair.down, pair.up

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.pair.connected(self.transport)
