"""A server with its data, the simulated services that it needs, and clients."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from ragstone.domain.errors import InvalidExperiment
from ragstone.domain.job import TERMINAL_STATES
from ragstone.home import read_server
from ragstone.lab.chaos.corpus import TENANTS, asking, documents
from ragstone.lab.chaos.driver import Driver
from ragstone.lab.chaos.processes import Program, clean_environment, start
from ragstone.lab.chaos.simulated import Switchable
from ragstone.lab.chaos.transcript import Ask

Settings = Mapping[str, Mapping[str, Any]]

_KINDS: Final = {"llm": "llm", "fallback": "llm", "embedder": "embeddings", "reranker": "rerank"}
"""Services and the simulators that play them."""

_MAIN_SETTINGS: Final[dict[str, dict[str, Any]]] = {
    "embedder": {"provider": "fake", "dimensions": 64},
    "cache": {"enabled": False},
    "log": {"level": "warning", "format": "json"},
    "server": {"workers": 0, "shutdown_seconds": 5},
}
_READY_SECONDS: Final = 300.0


class Site:
    """Made by `open_site`."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.log = folder / "server.log"
        self.services: dict[str, Switchable] = {}
        self.proxies: dict[str, Switchable] = {}
        self.keys: dict[str, str] = {}
        self._settings = settings
        self._port = 0

    server: Program
    driver: Driver
    http: aiohttp.ClientSession
    """As the operator of this machine."""

    @property
    def port(self) -> int:
        return self._port

    @property
    def llm(self) -> Switchable:
        return self.services["llm"]

    async def start_server(self) -> None:
        """Start it, or start it again on the same port and data."""
        arguments = ["--json", "--home", str(self.home), "serve", "--port", str(self._port)]
        environment = clean_environment(self._settings)
        self.server = await start("serve", arguments, environment=environment, log=self.log)
        url = msgspec.json.decode(self.server.first_line)["url"]
        self._port = urlsplit(url).port or 0
        token = await self._token()
        self.http = aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {token}"})
        await self._until_ready()

    def engine_pid(self) -> int:
        """Of the process with the index, where gateway processes stand before it."""
        info = read_server(self.home)
        if info is None or info.engine is None:
            raise InvalidExperiment("The server has no engine process of its own.")
        return info.engine

    async def stop_server(self) -> None:
        """Whatever of it has been started."""
        if hasattr(self, "http"):
            await self.http.close()
        if hasattr(self, "server"):
            await self.server.stop()

    async def call(self, method: str, path: str, body: Any = None, key: str = "") -> Any:
        """The JSON of a successful request, as the operator or with a key."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with self.http.request(method, path, json=body, headers=headers) as response:
            answer = await response.json()
            if response.status >= 400:
                raise InvalidExperiment(f"{method} {path} was answered {response.status}: {answer}")
            return answer

    async def metrics(self) -> str:
        async with self.http.get("/metrics") as response:
            return await response.text()

    async def make_key(
        self, tenant: str, priority: str | None = None, user: str | None = None
    ) -> str:
        scopes = ["ask", "ingest"]
        body = {"tenant": tenant, "scopes": scopes, "priority": priority, "user": user}
        return str((await self.call("POST", "/v1/keys", body))["secret"])

    async def ingest(self, tenant: str, collection: str = "help") -> list[str]:
        """The tenant's documents, which can be found when it returns; the job ids."""
        body = {"collection": collection, "documents": documents(tenant)}
        accepted = await self.call("POST", "/v1/documents", body, self.keys[tenant])
        jobs = [job["id"] for job in accepted["jobs"]]
        for job in jobs:
            await self.job_ended(tenant, job)
        return jobs

    async def job_ended(self, tenant: str, job: str) -> dict[str, Any]:
        """The job, once it has ended."""
        while True:
            found = await self.call("GET", f"/v1/jobs/{job}", key=self.keys[tenant])
            if found["state"] in TERMINAL_STATES:
                return dict(found)
            await asyncio.sleep(0.02)

    async def document_ids(self, tenant: str, collection: str = "help") -> list[str]:
        """Of all documents, as the list of them tells."""
        found: list[str] = []
        after: str | None = ""
        while after is not None:
            path = f"/v1/documents?collection={collection}&limit=100"
            page = await self.call(
                "GET", f"{path}&after={after}" if after else path, key=self.keys[tenant]
            )
            found += [document["id"] for document in page["documents"]]
            after = page["next"]
        return found

    def asking(self, tenant: str = TENANTS[0], **fields: Any) -> Callable[[int], Ask]:
        """A client's questions by number, with the tenant's key; `fields` are of `Ask`."""
        return asking(tenant, **{"key": self.keys[tenant], **fields})

    async def _token(self) -> str:
        """What the operator's commands show, once the server has told it."""
        async with asyncio.timeout(_READY_SECONDS):
            while True:
                info = read_server(self.home)
                if info is not None:
                    return info.token
                await asyncio.sleep(0.02)

    async def _until_ready(self) -> None:
        async with asyncio.timeout(_READY_SECONDS):
            while True:
                async with self.http.get("/health/ready") as response:
                    if response.status == 200:
                        return
                await asyncio.sleep(0.02)


@asynccontextmanager
async def open_site(
    folder: Path,
    *,
    services: Mapping[str, Mapping[str, Any]],
    proxied: Mapping[str, Mapping[str, Any]] | None = None,
    settings: Settings | None = None,
) -> AsyncIterator[Site]:
    """A server that is ready, with both tenants' documents and keys.

    `services` (`llm`, `fallback`, `embedder`, `reranker`) are simulated with the given
    behaviours; those in `proxied` are reached through a proxy with the given faults.
    """
    async with AsyncExitStack() as stack:
        wired: dict[str, dict[str, Any]] = {}
        site = Site(folder, wired)
        started = await asyncio.gather(
            *(_simulator(name, behaviour, folder) for name, behaviour in services.items())
        )
        for service in started:
            site.services[service.program.name] = await stack.enter_async_context(service)
        urls = {name: service.url for name, service in site.services.items()}
        for name, faults in (proxied or {}).items():
            proxy = await _proxy(name, urls[name], faults, folder)
            site.proxies[name] = await stack.enter_async_context(proxy)
            urls[name] = site.proxies[name].url
        for part in (_MAIN_SETTINGS, _settings_for(urls), settings or {}):
            for group, values in part.items():
                wired.setdefault(group, {}).update(values)
        stack.push_async_callback(site.stop_server)
        await site.start_server()
        for tenant in TENANTS:
            site.keys[tenant] = await site.make_key(tenant)
        for tenant in TENANTS:
            await site.ingest(tenant)
        site.driver = Driver("127.0.0.1", site.port)
        yield site


def _settings_for(urls: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    wired: dict[str, dict[str, Any]] = {}
    if "llm" in urls:
        wired["llm"] = {"base_url": f"{urls['llm']}/v1", "model": "simulated"}
    if "fallback" in urls:
        fallback = {"base_url": f"{urls['fallback']}/v1", "model": "fallback"}
        wired["llm"]["fallbacks"] = msgspec.json.encode([fallback]).decode()
    if "embedder" in urls:
        url = f"{urls['embedder']}/v1"
        wired["embedder"] = {"provider": "openai", "base_url": url, "model": "simulated"}
    if "reranker" in urls:
        wired["reranker"] = {"base_url": f"{urls['reranker']}/v1", "model": "simulated"}
    return wired


async def _simulator(name: str, behaviour: Mapping[str, Any], folder: Path) -> Switchable:
    arguments = ["simulate", _KINDS[name], "--behaviour", _json(behaviour)]
    if name == "embedder":
        arguments += ["--dimensions", str(_MAIN_SETTINGS["embedder"]["dimensions"])]
    program = await start(
        name, arguments, environment=clean_environment({}), log=folder / f"{name}.log"
    )
    url = program.first_line
    return Switchable(program, url, url)


async def _proxy(name: str, url: str, faults: Mapping[str, Any], folder: Path) -> Switchable:
    to = urlsplit(url).netloc
    program = await start(
        f"{name} proxy",
        ["--json", "simulate", "proxy", "--to", to, "--faults", _json(faults)],
        environment=clean_environment({}),
        log=folder / f"{name}-proxy.log",
    )
    told = msgspec.json.decode(program.first_line)
    return Switchable(program, told["control"], f"http://{told['address']}")


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
