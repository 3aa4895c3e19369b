"""The cache server fails: questions are answered without it."""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from ragstone.domain.errors import InvalidExperiment
from ragstone.lab.chaos.driver import at_rate
from ragstone.lab.chaos.inspection import metric_total
from ragstone.lab.chaos.scenario import Bench, Scenario
from ragstone.lab.chaos.scenarios.model import QUICK_MODEL, good_share
from ragstone.lab.chaos.site import Site
from ragstone.lab.chaos.transcript import Ask
from ragstone.lab.chaos.verdict import at_least, at_most
from ragstone.lab.fault_proxy.proxy import FaultProxy

_RATE: Final = 10.0
_QUESTIONS: Final = 5
_BREAKER_SECONDS: Final = 6.5
"""`resilience.breaker_open_seconds` is 5, and up to a fifth longer."""
_SPOIL: Final = (
    b"EVAL \"for _,k in ipairs(redis.call('keys','*:e:*')) do "
    b"redis.call('set',k,'garbage') end\" 0\r\n"
)


async def cache_server_fails(bench: Bench) -> None:
    async with _cache_server(bench.new_folder("cache")) as port:
        proxy = FaultProxy("127.0.0.1", port)
        await proxy.start()
        url = f"redis://127.0.0.1:{proxy.port}/0"
        settings = {"cache": {"enabled": True, "url": url, "timeout_seconds": 0.2}}
        async with bench.site(services={"llm": QUICK_MODEL}, settings=settings) as site:
            await _load(bench, site, "well")
            for name, faults in (
                ("down", {"connect": "refuse"}),
                ("hangs", {"connect": "swallow"}),
                ("slow", {"to_client": {"latency_seconds": 3}}),
            ):
                await proxy.change(faults)
                if name != "slow":
                    proxy.reset_all()
                await _load(bench, site, name)
                await proxy.restore()
                await asyncio.sleep(_BREAKER_SECONDS)
            await _load(bench, site, "garbage", spoiling=port)
            hits = await _load(bench, site, "well again")
            bench.expect(at_least("kept answers given after healing", hits, 1))
            proxy.reset_all()
        await proxy.close()


async def _load(bench: Bench, site: Site, name: str, *, spoiling: int | None = None) -> float:
    """A few questions again and again; how many were answered from the cache."""
    ask = site.asking()

    def few(number: int) -> Ask:
        return ask(number % _QUESTIONS)

    before = await _hits(site)
    if spoiling is not None:
        await _spoil(spoiling)
    got = await site.driver.load(at_rate(_RATE, bench.seconds(10, 3), few))
    bench.expect(
        at_least(f"good answers, {name}", good_share(got), 1.0),
        at_most(f"slowest answer, {name}", max(t.seconds for t in got), 2.0, "s"),
    )
    return await _hits(site) - before


async def _hits(site: Site) -> float:
    page = await site.metrics()
    return metric_total(page, "rag_cache_requests_total", 'cache="question"', 'outcome="hit"')


async def _spoil(port: int) -> None:
    """Every value in the server becomes garbage."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_SPOIL)
    await reader.readline()
    writer.close()
    await writer.wait_closed()


@asynccontextmanager
async def _cache_server(folder: Path) -> AsyncIterator[int]:
    """The port of one of our own. Raises `InvalidExperiment` where none is installed."""
    program = shutil.which("valkey-server") or shutil.which("redis-server")
    if program is None:
        raise InvalidExperiment(
            "Neither valkey-server nor redis-server is installed here.",
            remedy="Install one, such as the Debian package redis-server.",
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = await asyncio.create_subprocess_exec(
        program, *arguments, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        await _until_it_listens(port, process)
        yield port
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _until_it_listens(port: int, process: asyncio.subprocess.Process) -> None:
    while process.returncode is None:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return
    raise InvalidExperiment("The cache server ended at once.")


SCENARIOS: Final = (
    Scenario(
        name="cache-server-fails",
        faults=(26,),
        does="The cache server is down, hangs, is slow, and gives back garbage.",
        expects="Served without the cache, and with it again when it is well.",
        run=cache_server_fails,
    ),
)
