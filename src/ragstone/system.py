"""A wired server, as routes and commands see it. Made by `assembly.open_system`."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from ragstone.domain.errors import RagstoneError
from ragstone.domain.principal import Principal
from ragstone.home import Home
from ragstone.ingest.service import Ingestion
from ragstone.observe.metrics import Metrics
from ragstone.pipeline.generate import EXTRACTIVE
from ragstone.pipeline.services import Services
from ragstone.ports import Clock, LanguageModel, Records
from ragstone.settings import Settings

_log = structlog.get_logger("ragstone.system")

_WARM_RETRY_SECONDS: Final = 2.0
_KEYS_SEEN_SECONDS: Final = 1.0
"""How long "there are no keys" is believed: another process may make the first one."""


@dataclass(slots=True, kw_only=True)
class System:
    """Everything that one process runs."""

    settings: Settings
    home: Home
    services: Services
    ingestion: Ingestion
    clock: Clock
    warm: Callable[[], Awaitable[None]]
    """Makes the first question as fast as the others."""
    local_token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    """What commands on the same data folder show instead of a key."""
    is_warm: bool = False
    _has_keys: bool = False
    _keys_checked_at: float = float("-inf")

    @property
    def records(self) -> Records:
        return self.services.records

    @property
    def metrics(self) -> Metrics:
        return self.services.metrics

    @property
    def model_name(self) -> str:
        return self.services.model.name if self.services.model else EXTRACTIVE

    def use_model(self, model: LanguageModel | None) -> None:
        """From the next question on, `model` writes the answers."""
        self.services = replace(self.services, model=model)

    async def keys_configured(self) -> bool:
        """True from the first key on, also when all were revoked: it never falls open again."""
        now = self.clock.monotonic()
        if not self._has_keys and now - self._keys_checked_at >= _KEYS_SEEN_SECONDS:
            self._has_keys = bool(await self.records.keys())
            self._keys_checked_at = now
        return self._has_keys

    def note_key_created(self) -> None:
        self._has_keys = True

    async def collection_or_default(self, principal: Principal, name: str | None) -> str:
        """`name`; else the default collection, or the only one when that does not exist."""
        if name:
            return name
        default = self.settings.retrieval.default_collection
        if await self.records.collection(principal.tenant, default) is None:
            collections = await self.records.collections(principal.tenant)
            if len(collections) == 1:
                return collections[0].name
        return default

    async def warm_up(self) -> None:
        """Until it has worked once: a dependency may start later than this server."""
        while True:
            try:
                await self.warm()
            except RagstoneError as error:
                _log.warning("not ready", code=error.code, reason=str(error))
                await asyncio.sleep(_WARM_RETRY_SECONDS)
            else:
                self.is_warm = True
                return

    async def readiness(self) -> dict[str, bool]:
        """Each part and whether it is ready."""
        return {"embedder_and_index": self.is_warm, "ingestion": self.ingestion.running}

    def render_metrics(self) -> bytes:
        """Prometheus text; gauges are read at this moment."""
        self.metrics.ingest_queue_depth.set(self.ingestion.queue_depth)
        self.metrics.concurrency_limit.labels("answers").set(self.settings.admission.concurrency)
        return self.metrics.render()
