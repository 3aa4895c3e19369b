"""Every interface between the pipeline and the world, a file for each subject.

Adapters live in `index/`, `records/`, `caches/`, `models/` and `ingest/`; each Protocol of theirs
has at least one real adapter and one fake that ships, and one contract test runs over all of them.
`resilience/` and `governance/` implement the others. All names are imported from here.
All methods raise `RagstoneError`s only. Absolute deadlines are in the seconds of
`Clock.monotonic`.
"""

from ragstone.ports.admission import Admission, Permit
from ragstone.ports.caches import CacheStats, CacheStore, Kept
from ragstone.ports.clock import Clock
from ragstone.ports.embedders import Embedder, KeepingEmbedder, QueryVectors, RecallingEmbedder
from ragstone.ports.governance import (
    LEASE_ANSWER_SECONDS,
    BudgetRecords,
    BudgetStore,
    Ledger,
    Quotas,
)
from ragstone.ports.index import DocumentChunks, EmbeddingSearcher, Index, Searcher
from ragstone.ports.ingest import Parser
from ragstone.ports.models import (
    Finished,
    LanguageModel,
    ModelChosen,
    ModelOffer,
    ModelRoute,
    Passed,
    Prompt,
    PromptMessage,
    Reranker,
    TextDelta,
)
from ragstone.ports.records import ApiKey, KeyPlace, Records, RecordsReader, Tombstone

__all__ = [
    "LEASE_ANSWER_SECONDS",
    "Admission",
    "ApiKey",
    "BudgetRecords",
    "BudgetStore",
    "CacheStats",
    "CacheStore",
    "Clock",
    "DocumentChunks",
    "Embedder",
    "EmbeddingSearcher",
    "Finished",
    "Index",
    "KeepingEmbedder",
    "Kept",
    "KeyPlace",
    "LanguageModel",
    "Ledger",
    "ModelChosen",
    "ModelOffer",
    "ModelRoute",
    "Parser",
    "Passed",
    "Permit",
    "Prompt",
    "PromptMessage",
    "QueryVectors",
    "Quotas",
    "RecallingEmbedder",
    "Records",
    "RecordsReader",
    "Reranker",
    "Searcher",
    "TextDelta",
    "Tombstone",
]
