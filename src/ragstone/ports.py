"""Every interface between the pipeline and the world, on one page.

Adapters live in `index/`, `records/`, `models/` and `ingest/`; each Protocol here has at
least one real adapter and one fake that ships, and one contract test runs over all of them.
All methods raise `RagstoneError`s only. Absolute deadlines are in the seconds of
`Clock.monotonic`.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Literal, Protocol, runtime_checkable

import msgspec

from ragstone.domain.budget import (
    Amount,
    Budget,
    Grant,
    LedgerReport,
    Spender,
    Spent,
    SpentPlace,
    Standing,
    UsageBy,
    UsageRow,
    UsageTotal,
    Want,
)
from ragstone.domain.collection import Collection, EmbedderIdentity
from ragstone.domain.document import Document, DocumentSource, IndexedChunk, ParsedDocument
from ragstone.domain.job import DocumentError, Job, JobCounts, JobState
from ragstone.domain.passage import Passage, SearchResult
from ragstone.domain.principal import Principal, Priority, Scope
from ragstone.domain.query import SearchRequest
from ragstone.domain.quota import RateLimits, TokensTaken
from ragstone.domain.usage import Usage


class Clock(Protocol):
    """The one source of time, so that tests run on virtual time."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary origin; never goes back."""
        ...

    def time(self) -> float:
        """Unix seconds."""
        ...


class Embedder(Protocol):
    """Texts to unit vectors. Never blocks the event loop."""

    @property
    def identity(self) -> EmbedderIdentity: ...

    async def embed_query(self, text: str) -> list[float]:
        """One vector, of `identity.dimensions`. Raises `EmbedderError`."""
        ...

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """A vector for each text, in order. Raises `EmbedderError`."""
        ...

    def count_tokens(self, text: str) -> int:
        """Tokens of `text` in this embedder's vocabulary, special tokens not counted."""
        ...

    async def close(self) -> None: ...


@runtime_checkable
class RecallingEmbedder(Embedder, Protocol):
    """One that keeps vectors of earlier queries."""

    async def recall(self, text: str) -> list[float] | None:
        """The vector of a query that it keeps, else None; nothing is computed, or paid, for it."""
        ...


@runtime_checkable
class KeepingEmbedder(Protocol):
    """One that keeps vectors of queries, for each tenant apart: neither its time nor its price may
    tell one tenant what another has asked."""

    def of_tenant(self, tenant: str) -> RecallingEmbedder: ...


class DocumentChunks(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a document, ready to be searched."""

    document_id: str
    version: int
    chunks: list[IndexedChunk]


class Searcher(Protocol):
    """What a question needs of an index; see `Index`."""

    async def search(self, principal: Principal, request: SearchRequest) -> SearchResult:
        """The best `request.limit` passages that `principal` may read, best first.

        The access filter is part of the engine's query. Raises `IndexUnavailable`,
        `InvalidFilter` (a field whose values cannot be compared so).
        """
        ...

    async def close(self) -> None: ...


class Index(Searcher, Protocol):
    """Chunks with vectors and words, searched under access control.

    A shard holds one tenant's collection; a shard that does not exist searches as empty.
    """

    async def replace(
        self, tenant: str, collection: str, documents: Sequence[DocumentChunks]
    ) -> None:
        """Put each document's chunks in the place of all its earlier ones.

        A search sees a document's old chunks or its new ones, never both, never neither;
        searches go on meanwhile. Idempotent, durable when it returns; after a crash in the
        middle, calling it again (also with a higher version) leaves nothing behind.
        """
        ...

    async def delete(self, tenant: str, collection: str, document_ids: Sequence[str]) -> None:
        """Unfindable, and durably so, when it returns. Absent is fine."""
        ...

    async def optimize(self, tenant: str, collection: str) -> None:
        """Bring the shard into its fastest form after a bulk change; searches go on."""
        ...

    async def drop(self, tenant: str, collection: str) -> None:
        """Remove the whole shard and its files."""
        ...


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """What a language model is asked."""

    system: str
    """Stable across questions of one application, so that providers' prompt caches hit."""
    messages: list["PromptMessage"]
    max_tokens: int
    temperature: float = 0.0


class PromptMessage(msgspec.Struct, frozen=True):
    role: Literal["user", "assistant"]
    content: str


class TextDelta(msgspec.Struct, frozen=True):
    """The next piece of text; never empty."""

    text: str
    joined: bool = False
    """The reader rested before it, under load, so that more came at once."""
    waited: float | None = None
    """Of the first one: seconds since the request had been sent. Waiting for a connection, and
    for the event loop to send, is not the model's time. None: not known."""


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """The last event of a complete generation."""

    usage: Usage | None
    """As the provider counted; None when it did not say."""
    reason: Literal["stop", "length", "filtered", "other"]


class LanguageModel(Protocol):
    """Streams an answer to a prompt."""

    @property
    def name(self) -> str: ...

    def stream(
        self, prompt: Prompt, *, deadline: float
    ) -> AsyncGenerator[TextDelta | Finished, None]:
        """Text deltas, then exactly one `Finished`.

        Closing the generator (`aclosing`) closes the upstream call. Raises `ModelError`s, and
        `DeadlineExceeded` once `deadline` has passed.
        """
        ...

    async def close(self) -> None: ...


class ModelOffer(msgspec.Struct, frozen=True, kw_only=True):
    """A model of a route, for those who choose among them."""

    name: str
    quality: int
    region: str
    input_price: int
    output_price: int
    """Nano-dollars for a million tokens."""


Passed = Literal["failed", "dearer"]
"""Why a model was passed over: it could not answer, or a budget has too little left for it."""


class ModelChosen(msgspec.Struct, frozen=True, kw_only=True):
    """Which model of a route writes what follows."""

    name: str
    instead_of: Passed | None = None
    """Why it is not the first that was to be asked; `failed` where there were both reasons."""


class ModelRoute(Protocol):
    """Language models in the order in which they are tried, each behind its limits."""

    @property
    def name(self) -> str:
        """The first model's."""
        ...

    @property
    def offers(self) -> Sequence[ModelOffer]:
        """In the order in which they are tried."""
        ...

    def stream(
        self,
        prompt: Prompt,
        *,
        tenant: str,
        priority: Priority,
        deadline: float,
        on_asked: Callable[[str], Awaitable[None]],
        on_failed: Callable[[Exception], None] = ...,
        models: Sequence[str] | None = None,
    ) -> AsyncGenerator[ModelChosen | TextDelta | Finished, None]:
        """`ModelChosen` right before the first delta, then as `LanguageModel.stream`.

        `on_asked` is awaited, with the model's name, for each attempt that got a permit and is
        sent next; when it raises `BudgetExhausted`, the next model of the route is tried.
        `on_failed` hears why such an attempt failed before its first delta. `models`: only
        these, in this order.

        Retries and fails over only before the first delta. Closing the generator ends the
        call. Raises the last endpoint's `DependencyError` (`ModelError`, `CircuitOpen`,
        `DependencyBusy`), and `DeadlineExceeded`.
        """
        ...

    async def close(self) -> None: ...


class Reranker(Protocol):
    """Reorders candidates for a question."""

    @property
    def name(self) -> str: ...

    async def rerank(
        self, question: str, passages: Sequence[Passage], *, deadline: float
    ) -> list[Passage]:
        """The same passages, best first. Raises `DependencyError`."""
        ...


class Parser(Protocol):
    """Bytes to documents, outside of this process."""

    def parse(self, source: DocumentSource) -> AsyncGenerator[ParsedDocument | DocumentError, None]:
        """Every document of the source, or why one of them could not be read.

        Closing the generator (`aclosing`) ends the reading.

        Raises `Unreadable` when the source as a whole cannot be read.
        """
        ...

    async def close(self) -> None: ...


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as the records keep it: its SHA-256, never the key."""

    id: str
    sha256: str
    tenant: str
    user: str | None
    groups: list[str]
    scopes: list[Scope]
    label: str
    created_at: float
    revoked_at: float | None = None
    priority: Priority | None = None
    """None: the application's."""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    """None: as the settings say for every key. 0: as many as it likes."""


class Tombstone(msgspec.Struct, frozen=True, kw_only=True):
    """A deletion that the index must still hear of."""

    tenant: str
    collection: str
    document_id: str
    deleted_at: float = 0.0
    """Unix seconds; 0 where not known. A job submitted before it does not bring the document
    back, also after a restart."""


class RecordsReader(Protocol):
    """What a question needs of the records. Raises `RecordsUnavailable`."""

    async def collection(self, tenant: str, name: str) -> Collection | None: ...

    async def generation(self, tenant: str, name: str) -> int | None:
        """The collection's generation at some moment since this was called, whatever is
        remembered from before; None if it is absent. What is kept from earlier is checked by it.
        """
        ...

    async def document_versions(self, tenant: str, document_ids: Sequence[str]) -> dict[str, int]:
        """Of those that are there, whatever is remembered from before."""
        ...

    async def collections(self, tenant: str) -> list[Collection]: ...

    async def key_by_hash(self, sha256: str) -> ApiKey | None:
        """A key that is not revoked, or None."""
        ...

    async def keys(self) -> list[ApiKey]: ...

    async def close(self) -> None: ...


class Records(RecordsReader, Protocol):
    """Collections, documents, jobs and keys. Raises `RecordsUnavailable`.

    Every acknowledged write survives a `kill -9`.
    """

    async def all_collections(self) -> list[Collection]: ...

    async def ensure_collection(
        self, tenant: str, name: str, embedder: EmbedderIdentity
    ) -> Collection:
        """The collection, made if absent. Raises `EmbedderMismatch` for another embedder."""
        ...

    async def delete_collection(self, tenant: str, name: str) -> bool:
        """With its documents and jobs; False if absent.

        Every document leaves a tombstone. Jobs that have not ended fail with the reason,
        ended ones are removed. Made again, it goes on counting generations and versions.
        """
        ...

    async def document(self, tenant: str, document_id: str) -> Document | None: ...

    async def documents_by_id(
        self, tenant: str, document_ids: Sequence[str]
    ) -> dict[str, Document]: ...

    async def document_text(self, tenant: str, document_id: str) -> str | None: ...

    async def documents(
        self, tenant: str, collection: str, *, limit: int = 100, after: str | None = None
    ) -> list[Document]:
        """A page in the order of ids; `after` is the last id of the page before."""
        ...

    async def next_versions(self, tenant: str, collection: str, count: int) -> int:
        """The first of `count` fresh version numbers; never given twice in a collection."""
        ...

    async def put_documents(
        self, tenant: str, collection: str, documents: Sequence[tuple[Document, str]]
    ) -> Collection:
        """Insert or replace documents with their texts, in one transaction.

        Raises the collection's generation; returns the collection after it. Tombstones of
        these documents are removed: put a document once the index has it. Characters that
        no database holds (NUL, lone surrogates) become U+FFFD, one for one. Raises
        `UnknownCollection`, `InvalidRequest` (a number in the metadata is not finite).
        """
        ...

    async def delete_document(self, tenant: str, document_id: str) -> Document | None:
        """Remove it and leave a tombstone; raises the generation. None if it was absent.

        The tombstone stays until `forget_deleted`, so that a crash between here and the
        index cannot leave the document findable.
        """
        ...

    async def tombstones(self) -> list[Tombstone]:
        """Deleted here, perhaps not yet in the index, of all tenants."""
        ...

    async def forget_tombstone(self, tombstone: Tombstone) -> None: ...

    async def raise_generation(self, tenant: str, collection: str) -> None:
        """After the index has carried out a deletion; nothing for an absent collection.

        Between the records' deletion and the index's a question may still find the document
        under the generation that the deletion began; no answer of then may be kept for later.
        """
        ...

    async def raise_cache_epoch(self, tenant: str, collection: str | None) -> list[str]:
        """Of the collection, or of all of the tenant's; the names of those that are there.

        Raises their generation too: what checks that, sees it at once in every process.
        """
        ...

    async def create_job(self, job: Job, source: DocumentSource) -> None: ...

    async def job(self, tenant: str, job_id: str) -> Job | None: ...

    async def jobs(self, tenant: str, *, limit: int = 50) -> list[Job]:
        """The newest first."""
        ...

    async def unfinished_jobs(self) -> list[Job]:
        """Oldest first, of all tenants: what a restart has to take up."""
        ...

    async def job_source(self, job_id: str) -> DocumentSource | None:
        """The source as submitted; None once the job has ended."""
        ...

    async def update_job(
        self,
        job_id: str,
        *,
        state: JobState,
        counts: JobCounts,
        errors: Sequence[DocumentError],
        attempts: int,
    ) -> None:
        """A terminal state also drops the kept source; a job that has ended stays as it ended.

        Raises `UnknownJob`.
        """
        ...

    async def create_key(self, key: ApiKey) -> None: ...

    async def revoke_key(self, key_id: str) -> bool: ...


class Permit(Protocol):
    """One admitted request: a place among those in flight, and a slot for its own work."""

    @property
    def waited(self) -> float:
        """Seconds in the queue, for the slot that was taken last."""
        ...

    def free_slot(self) -> None:
        """The request's own work is done, as when a model writes now: another may begin.

        The place in flight is kept until the context ends. A second call does nothing.
        """
        ...

    async def take_slot(self) -> None:
        """There is own work to do: wait for a slot, or for one once more, as when the model
        failed.

        Nothing happens while the slot is held. Raises as entering `Admission.admit` does.
        """
        ...


class Admission(Protocol):
    """Who may begin now. `weight` is in slots, at least 1; see `resilience/admission.py`.

    Both raise `Overloaded` (the server has no room), `TooManyRequests` (the tenant has its
    share), `ShuttingDown`, `DeadlineExceeded` (it would begin too late).
    """

    @property
    def in_flight(self) -> int:
        """Requests of this process that were let in and have not ended."""
        ...

    @property
    def waiting(self) -> int:
        """Requests of this process that wait for a slot."""
        ...

    @property
    def slots_in_use(self) -> int: ...

    def check(
        self, principal: Principal, *, priority: Priority, weight: int, deadline: float
    ) -> None:
        """Raises at once what `admit` would raise at once, and takes nothing.

        For the moment when a request's head is there and its body is not yet.
        """
        ...

    def admit(
        self,
        principal: Principal,
        *,
        priority: Priority,
        weight: int,
        deadline: float,
        slot: bool = True,
    ) -> AbstractAsyncContextManager[Permit]:
        """Held while the request runs. Without `slot` it begins with a place alone, as for a
        question that a kept answer may settle."""
        ...

    def close(self) -> None:
        """Refuses from now on, and whoever waits; what runs goes on."""
        ...


class Quotas(Protocol):
    """How much each key and each tenant may ask in a minute; see `governance/quotas`.

    Nothing here waits. A caller without limits costs next to nothing.
    """

    def check_request(self, principal: Principal) -> None:
        """Counts a request of the key and of the tenant, or neither. Raises `RateLimited`."""
        ...

    def take_tokens(self, principal: Principal, tokens: int) -> TokensTaken | None:
        """Charges key and tenant, or neither, with what a model may use at most; None where
        tokens are not limited. Right before a model is asked. Raises `TokensRateLimited`."""
        ...

    def correct_tokens(self, taken: TokensTaken, used: int) -> None:
        """Gives back what was not used, or charges what was used beyond. Once for each
        `taken`; 0 when the model was not asked in the end."""
        ...

    def standing(self, principal: Principal) -> RateLimits | None:
        """For the caller to know; None where nothing is limited."""
        ...


class Ledger(Protocol):
    """Where budgets are held. One for each process; see `governance/ledger`.

    Always: what is settled and what open reservations hold is at most the cap, for every
    account, over all processes.
    """

    @property
    def open_reservations(self) -> int: ...

    async def standing(self, spender: Spender) -> Standing:
        """How the spender's budgets are. Raises `BudgetExhausted` at a hard limit, and
        `RecordsUnavailable` when its budgets are not known and cannot be read."""
        ...

    async def reserve(self, spender: Spender, upper: Amount, *, model: bool = True) -> str:
        """Holds `upper` in every account of the spender, or in none; returns an id.

        `model`: for a language model, which is also bound by the softer `limit`. From what the
        process has leased this takes microseconds; else it asks for more first. Raises
        `BudgetExhausted`, `RecordsUnavailable`.
        """
        ...

    async def join(self, reservation: str, spender: Spender) -> bool:
        """The spender shares what the reservation will cost; False if it cannot, or if the
        reservation is settled. The same amount is held in those accounts of the spender that
        it does not hold yet."""
        ...

    def settle(self, reservation: str, spent: Amount, rows: Sequence[UsageRow]) -> None:
        """Charges what was spent, split evenly among those who joined, and frees the rest.

        Never waits, so it cannot be cancelled halfway. `rows` are kept for the usage report. A
        second call for the same reservation changes nothing.
        """
        ...

    def record(self, rows: Sequence[UsageRow]) -> None:
        """For the usage report, of what needed no reservation."""
        ...

    async def close(self) -> None:
        """Reports what is left."""
        ...


LEASE_ANSWER_SECONDS: Final = 600.0
"""For how long `BudgetStore.lease` gives the same answer under the same number."""


class BudgetStore(Protocol):
    """The durable side of the ledger. Raises `RecordsUnavailable`.

    For every account: settled, plus what is out in slices, is at most the cap, or nothing more
    is granted (a cap may be lowered below it). Every call that returned survives a `kill -9`.
    """

    async def budgets(self, tenant: str) -> list[Budget]: ...

    async def lease(
        self, holder: str, wants: Sequence[Want], *, seconds: float, number: int | None = None
    ) -> list[Grant]:
        """For each want a grant, in order, of 0 or of `least` to `most`; the holder's lease on
        all it has is prolonged to `seconds` from now. A budget that is gone grants 0, and a
        holder that has ended gets 0.

        Asked again under the same `number` (up to 2^63 - 1), as after an answer that was lost,
        it grants nothing more and says the same: for `LEASE_ANSWER_SECONDS`.
        """
        ...

    async def report(self, report: LedgerReport, *, seconds: float) -> None:
        """Takes effect once for each holder and sequence; prolongs the lease.

        Sequences rise: one below the last that was seen counts as seen. More settled than the
        holder holds is booked all the same, also beyond the cap: money that was spent was spent.
        """
        ...

    async def expire(self) -> list[str]:
        """Charges in full what holders hold whose lease has run out; returns their names.

        A holder that lives after all may go on: what it spends of its slices is paid for, and
        what it returns of them is credited.
        """
        ...


class BudgetRecords(BudgetStore, Protocol):
    """With what administrators do. Raises `RecordsUnavailable`."""

    async def put_budget(self, budget: Budget) -> Budget:
        """Made, or changed where tenant, scope, name, period and unit are those of an earlier
        one, whose id and `created_at` it keeps. What usage tells of its present period counts
        where it begins to: when it is new, or gets or loses its hard limit."""
        ...

    async def delete_budget(self, tenant: str | None, budget_id: str) -> bool:
        """False if absent, or another tenant's than the one named. Nothing more is granted; what
        is out may still be reported, and counts if it is made again under the same id."""
        ...

    async def spent(
        self, tenant: str | None, *, limit: int | None = None, after: SpentPlace | None = None
    ) -> list[Spent]:
        """Every budget in its present period; those for `EACH` once for each name that spent,
        or once without a name. Of all tenants where `tenant` is None. In the order of their
        places, at most `limit`, beginning behind `after`, which may have gone."""
        ...

    async def usage(
        self, tenant: str | None, *, by: UsageBy, since: float, until: float
    ) -> list[UsageTotal]:
        """Sums of whole hours, from the one that holds `since` to the last that begins before
        `until`; the dearest first, or by time. Of all tenants where `tenant` is None."""
        ...


class Kept(msgspec.Struct, frozen=True):
    """What a cache gives back."""

    value: bytes
    age: float
    """Seconds since it was put."""


class CacheStats(msgspec.Struct, frozen=True, kw_only=True):
    """Of one store, as seen from one process."""

    store: Literal["memory", "redis"]
    entries: int
    bytes: int
    max_bytes: int | None
    available: bool = True


class CacheStore(Protocol):
    """Bytes by key, byte-bounded, in groups. A cache that is down, slow or corrupt raises
    nothing: it holds nothing."""

    async def get(self, key: bytes) -> Kept | None: ...

    async def put(self, key: bytes, value: bytes, *, ttl: float, group: str) -> None:
        """Keeps `value` for `ttl` seconds at most; `group` is where sweeping finds it."""
        ...

    async def delete(self, keys: Sequence[bytes]) -> None:
        """Their bytes are gone when it returns, unless the cache cannot be reached."""
        ...

    async def groups(self) -> list[str]:
        """Some may be empty by now."""
        ...

    async def found_again(self) -> list[str]:
        """Groups with entries that `members` left out since the store had lost track of them, and
        names from now on."""
        ...

    async def members(self, group: str) -> list[bytes]:
        """The keys; some may have gone meanwhile."""
        ...

    async def values(self, group: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """Of these keys of the group, in order, None for what is not there; not counted as use."""
        ...

    async def clear(self, group: str | None = None) -> int:
        """Drops a group, or all; how many entries there were."""
        ...

    async def stats(self) -> CacheStats: ...

    async def close(self) -> None: ...
