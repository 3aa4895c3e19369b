"""A connection through the proxy behaves as the faults say, and is untouched without any."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from ragstone.domain.errors import InvalidExperiment
from ragstone.lab.fault_proxy.control import ProxyControl
from ragstone.lab.fault_proxy.faults import Faults
from ragstone.lab.simulate.http import Connection
from ragstone.lab.simulate.serve import address_of, listen
from tests.lab.simulators import proxy_to

DATA = bytes(range(256)) * 40


@pytest.fixture
async def echo() -> AsyncIterator[str]:
    """A server that sends back what it gets, and ends when its client does."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


class Peer:
    """A client of the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def echoed(self, data: bytes) -> bytes:
        self.writer.write(data)
        return await self.reader.readexactly(len(data))


async def connected(address: str) -> Peer:
    return Peer(*await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2])))


async def took(work) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await work
    return loop.time() - began


async def test_without_faults_everything_passes_and_the_end_too(echo) -> None:
    async with proxy_to(echo) as (proxy, address):
        peer = await connected(address)
        assert await peer.echoed(DATA) == DATA
        peer.writer.write_eof()
        assert await peer.reader.read() == b""
        peer.writer.close()
        while proxy.traffic().open:
            await asyncio.sleep(0)
        traffic = proxy.traffic()
    assert (traffic.connections, traffic.max_open, traffic.resets) == (1, 1, 0)
    assert traffic.to_target_bytes == traffic.to_client_bytes == len(DATA)


async def test_more_than_is_held_at_once_passes_whole(echo) -> None:
    data = DATA * 100
    async with proxy_to(echo, to_client={"latency_seconds": 0.001}) as (_, address):
        peer = await connected(address)
        sending = asyncio.create_task(peer.echoed(data))
        assert await sending == data
        peer.writer.close()


@pytest.mark.parametrize("direction", ["to_target", "to_client"])
async def test_latency_and_jitter_delay_and_keep_the_order(echo, direction) -> None:
    faults = {direction: {"latency_seconds": 0.02, "jitter_seconds": 0.01, "slice_bytes": 1000}}
    async with proxy_to(echo, **faults) as (_, address):
        peer = await connected(address)
        assert await took(peer.echoed(DATA)) >= 0.02
        assert await peer.echoed(DATA) == DATA
        peer.writer.close()


async def test_bandwidth_is_bounded(echo) -> None:
    async with proxy_to(echo, to_client={"bytes_per_second": 200_000}) as (_, address):
        peer = await connected(address)
        assert await took(peer.echoed(DATA)) >= len(DATA) / 200_000 - 0.005
        peer.writer.close()


async def test_slices_arrive_apart(echo) -> None:
    async with proxy_to(echo, to_client={"slice_bytes": 3}) as (_, address):
        peer = await connected(address)
        first = bytes(10)
        while len(first) == 10:  # a machine that is held up may deliver them together
            peer.writer.write(b"0123456789")
            first = await peer.reader.read(100)
            assert first + await peer.reader.readexactly(10 - len(first)) == b"0123456789"
        peer.writer.close()


async def test_a_black_hole_takes_all_and_gives_nothing(echo) -> None:
    async with proxy_to(echo, to_client={"swallow": True}) as (proxy, address):
        peer = await connected(address)
        peer.writer.write(b"lost")
        while not proxy.traffic().to_client_bytes:
            await asyncio.sleep(0)
        await proxy.change({"to_client": {"swallow": False}})
        assert await peer.echoed(b"found") == b"found"
        peer.writer.close()


async def test_a_swallowed_connection_is_accepted_and_hangs(echo) -> None:
    async with proxy_to(echo, connect="swallow") as (proxy, address):
        peer = await connected(address)
        peer.writer.write(DATA)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await peer.reader.read(1)
        while not proxy.traffic().open:  # it is accepted in a later turn of the loop
            await asyncio.sleep(0)
        proxy.reset_all()
        with pytest.raises(ConnectionResetError):
            await peer.reader.read(1)


async def test_refusing_is_as_if_nothing_listened_and_can_be_taken_back(echo) -> None:
    async with proxy_to(echo, connect="refuse") as (proxy, address):
        with pytest.raises(ConnectionRefusedError):
            await connected(address)
        await proxy.change({"connect": "pass"})
        peer = await connected(address)
        assert await peer.echoed(DATA) == DATA
        peer.writer.close()


@pytest.mark.parametrize("direction", ["to_target", "to_client"])
async def test_a_reset_strikes_after_so_many_bytes(echo, direction) -> None:
    async with proxy_to(echo, **{direction: {"reset_after_bytes": 5000}}) as (proxy, address):
        peer = await connected(address)
        with pytest.raises(ConnectionResetError):
            await peer.echoed(DATA)
        assert proxy.traffic().resets == 1


async def test_the_end_is_passed_on_late(echo) -> None:
    async with proxy_to(echo, to_client={"close_seconds": 0.03}) as (_, address):
        peer = await connected(address)
        peer.writer.write_eof()
        assert await took(peer.reader.read()) >= 0.03
        peer.writer.close()


async def test_a_target_that_is_not_there_resets_the_client(echo) -> None:
    async with proxy_to("tcp://127.0.0.1:1") as (proxy, address):
        peer = await connected(address)
        with pytest.raises(ConnectionResetError):
            await peer.reader.read(1)
        assert proxy.traffic().open == 0


async def test_a_client_that_goes_takes_the_targets_connection_with_it(echo) -> None:
    async with proxy_to(echo) as (proxy, address):
        peer = await connected(address)
        await peer.echoed(b"x")
        peer.writer.transport.abort()
        while proxy.traffic().open:
            await asyncio.sleep(0)


async def test_it_is_switched_over_http(echo) -> None:
    async with proxy_to(echo) as (proxy, address):
        control = ProxyControl(proxy)
        server = await listen(lambda: Connection(control.handle), "127.0.0.1", 0)
        try:
            async with aiohttp.ClientSession(address_of(server)) as http:
                change = {"to_client": {"latency_seconds": 1}}
                async with http.put("/control", json=change) as response:
                    assert (await response.json())["to_client"]["latency_seconds"] == 1
                async with http.put("/control", json={"to_clent": {}}) as response:
                    assert response.status == 400
                    remedy = (await response.json())["error"]["remedy"]
                assert remedy == "Did you mean 'to_client'?"
                peer = await connected(address)
                async with http.post("/reset-connections") as response:
                    assert response.status == 200
                with pytest.raises(ConnectionResetError):
                    await peer.reader.read(1)
                async with http.get("/stats") as response:
                    assert (await response.json())["resets"] == 1
                async with http.post("/reset") as response:
                    assert await response.json() == await _defaults(http)
                assert proxy.faults == Faults()
        finally:
            server.close()


async def _defaults(http: aiohttp.ClientSession) -> object:
    async with http.get("/control") as response:
        return await response.json()


async def test_what_cannot_be_is_refused(echo) -> None:
    async with proxy_to(echo) as (proxy, _):
        with pytest.raises(InvalidExperiment, match="latency"):
            await proxy.change(b'{"to_client": {"latency_seconds": -1}}')
        assert proxy.faults == Faults()
