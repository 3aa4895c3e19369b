"""What the path of a question is wired to, made once by `assembly`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ragstone.domain.budget import Spender, Standing
from ragstone.domain.collection import Collection
from ragstone.domain.query import FusionSettings
from ragstone.governance.prices import ALL_FREE, PriceBook
from ragstone.governance.token_estimate import TokenEstimates
from ragstone.observe.metrics import Metrics
from ragstone.pipeline.escalate import Escalation
from ragstone.pipeline.flight import Flights
from ragstone.pipeline.keeping import Keeping
from ragstone.pipeline.refresh import Refreshes
from ragstone.pipeline.shadow import SemanticTier
from ragstone.ports import (
    Admission,
    ApiKey,
    CacheStore,
    Clock,
    Embedder,
    Kept,
    Ledger,
    ModelRoute,
    Quotas,
    RecordsReader,
    Reranker,
    Searcher,
)
from ragstone.resilience.dependency import Dependency
from ragstone.resilience.ladder import LoadLadder


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How passages are found and packed, and how long an answer may be."""

    candidates: int
    fusion: FusionSettings
    context_tokens: int
    compression: float
    """Share of the passages' tokens that the model sees."""
    conversation_tokens: int
    max_tokens: int
    temperature: float
    model_seconds: float
    """Longest generation, within the request's deadline."""
    rerank_seconds: float
    escalation: Escalation = "off"
    """When a better model of the route is asked after the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AtHand:
    """What a process knows without waiting, as it is at this moment; what it does not know is None
    and has to be asked for."""

    key: Callable[[str], ApiKey | None]
    """By its SHA-256."""
    collection: Callable[[str, str], Collection | None]
    """By tenant and name."""
    kept: Callable[[bytes], Kept | None]
    """In the cache of answers."""
    standing: Callable[[Spender], Standing | None]
    """Raises `BudgetExhausted`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Ports and recipe; stages receive the ones they use as explicit arguments."""

    records: RecordsReader
    admission: Admission
    ledger: Ledger
    prices: PriceBook = ALL_FREE
    estimates: TokenEstimates = field(default_factory=TokenEstimates)
    """Of calls that no provider counted."""
    embedder: Embedder
    index: Searcher
    reranker: Reranker | None
    model: ModelRoute | None
    """None: answers are extracted from the passages."""
    cache: CacheStore | None
    """None: every answer is made afresh."""
    clock: Clock
    metrics: Metrics
    ladder: LoadLadder
    recipe: Recipe
    quotas: Quotas | None = None
    """None: nobody is limited."""
    keeping: Keeping = field(default_factory=Keeping)
    flights: Flights | None = None
    """None: everybody has a generation of their own."""
    refreshes: Refreshes = field(default_factory=Refreshes)
    semantic: SemanticTier | None = None
    """None: similar questions do not share answers."""
    at_hand: AtHand | None = None
    """None: where other processes change what this one would remember."""
    dependencies: Sequence[Dependency] = ()
    """What stands behind the ports, for those who ask how it is."""
