"""A wired server, as routes and commands see it. Made by `assembly`.

One process is all of it, or one of several gateways before an engine: a gateway has no data
folder, no full records and no ingestion, and sends what needs them to its engine.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec
import structlog

from ragstone.domain.errors import InternalError, RagstoneError
from ragstone.domain.principal import Principal
from ragstone.home import Home
from ragstone.ingest.service import Ingestion
from ragstone.observe.metrics import Metrics
from ragstone.pipeline.generate import EXTRACTIVE
from ragstone.pipeline.services import Services
from ragstone.ports import BudgetRecords, Clock, Embedder, Index, LanguageModel, Records
from ragstone.resilience.model_route import direct_route
from ragstone.settings import Settings

_log = structlog.get_logger("ragstone.system")

_WARM_RETRY_SECONDS: Final = 2.0
_KEYS_SEEN_SECONDS: Final = 1.0
"""How long "there are no keys" is believed: another process may make the first one."""


_Parts = Callable[[], Awaitable[dict[str, bool]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """What only the process with the data folder has."""

    home: Home
    records: Records
    budgets: BudgetRecords
    """The durable side of the ledger, and what administrators see and change of it."""
    index: Index
    embedder: Embedder
    """Bare, without the limits that guard the question path: for those who are limited already."""
    ingestion: Ingestion


@dataclass(slots=True, kw_only=True)
class System:
    """Everything that one process runs."""

    settings: Settings
    services: Services
    clock: Clock
    warm: Callable[[], Awaitable[None]]
    """Makes the first question as fast as the others."""
    stores: Stores | None = None
    """None in a gateway."""
    engine_parts: _Parts | None = None
    """In a gateway: what its engine says of its own readiness."""
    local_token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    """What commands on the same data folder show instead of a key."""
    is_warm: bool = False
    _has_keys: bool = False
    _keys_checked_at: float = float("-inf")

    @property
    def home(self) -> Home:
        return self._stores.home

    @property
    def records(self) -> Records:
        return self._stores.records

    @property
    def budgets(self) -> BudgetRecords:
        return self._stores.budgets

    @property
    def index(self) -> Index:
        return self._stores.index

    @property
    def embedder(self) -> Embedder:
        return self._stores.embedder

    @property
    def ingestion(self) -> Ingestion:
        return self._stores.ingestion

    @property
    def _stores(self) -> Stores:
        if self.stores is None:
            raise InternalError("A gateway was asked for what only its engine has.")
        return self.stores

    @property
    def metrics(self) -> Metrics:
        return self.services.metrics

    @property
    def model_name(self) -> str:
        return self.services.model.name if self.services.model else EXTRACTIVE

    def use_model(self, model: LanguageModel | None) -> None:
        """From the next question on, `model` writes the answers, for nothing and without limits."""
        route = direct_route(model, self.clock) if model is not None else None
        prices = msgspec.structs.replace(self.services.prices, models=None, best=None)
        self.services = replace(self.services, model=route, prices=prices)

    async def keys_configured(self) -> bool:
        """True from the first key on, also when all were revoked: it never falls open again."""
        now = self.clock.monotonic()
        if not self._has_keys and now - self._keys_checked_at >= _KEYS_SEEN_SECONDS:
            self._has_keys = bool(await self.services.records.keys())
            self._keys_checked_at = now
        return self._has_keys

    def note_key_created(self) -> None:
        self._has_keys = True

    async def collection_or_default(self, principal: Principal, name: str | None) -> str:
        """`name`; else the default collection, or the only one when that does not exist."""
        if name:
            return name
        default = self.settings.retrieval.default_collection
        records = self.services.records
        if await records.collection(principal.tenant, default) is None:
            collections = await records.collections(principal.tenant)
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
        if self.engine_parts is not None:
            return await self.engine_parts()
        return {"embedder_and_index": self.is_warm, "ingestion": self.ingestion.running}

    def render_metrics(self) -> bytes:
        """Prometheus text, of all processes; gauges are read at this moment."""
        return self.metrics.render()
