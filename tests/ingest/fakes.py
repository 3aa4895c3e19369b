"""Parts of an ingestion that tests can hold, break and count."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from ragstone.domain.collection import EmbedderIdentity
from ragstone.domain.document import (
    Block,
    Document,
    DocumentSource,
    ParsedDocument,
    document_id,
)
from ragstone.domain.errors import DamagedDocument
from ragstone.domain.job import DocumentError, Job
from ragstone.domain.passage import Passage
from ragstone.domain.principal import Principal
from ragstone.domain.query import SearchRequest
from ragstone.index.memory import MemoryIndex
from ragstone.ingest.chunk import ChunkSettings
from ragstone.ingest.funds import Funds
from ragstone.ingest.publish import Outcome
from ragstone.ingest.retry import Retry
from ragstone.ingest.service import Ingestion, IngestionSettings
from ragstone.ingest.upkeep import UpkeepSettings
from ragstone.models.embedders.fake import HashingEmbedder
from ragstone.ports import DocumentChunks, Parser
from ragstone.records.memory import MemoryRecords
from tests.clock import VirtualClock

OPERATOR = Principal(tenant="acme", scopes=frozenset({"ask", "ingest"}))


class LinesParser:
    """Implements `ports.Parser`: a document for each line `id|text`.

    `!id|reason` is a document that cannot be read, and `!!` says so of the whole source.
    """

    def __init__(self) -> None:
        self.gates: dict[str, asyncio.Event] = {}
        """A source of this name is not read before its gate is open."""
        self.crash: set[str] = set()
        self.read: list[str] = []
        self.reading: Counter[str] = Counter()

    async def parse(
        self, source: DocumentSource
    ) -> AsyncGenerator[ParsedDocument | DocumentError, None]:
        self.read.append(source.name)
        self.reading[source.name] += 1
        try:
            if source.name in self.gates:
                await self.gates[source.name].wait()
            if source.name in self.crash:
                raise RuntimeError("a bug")
            for line in source.content.decode().splitlines():
                yield self._document(source, line)
        finally:
            self.reading[source.name] -= 1

    def _document(self, source: DocumentSource, line: str) -> ParsedDocument | DocumentError:
        if line == "!!":
            raise DamagedDocument(f"{source.name} is damaged.")
        name, _, text = line.partition("|")
        if name.startswith("!"):
            return DocumentError(external_id=name[1:], code="empty_document", message=text)
        return ParsedDocument(
            external_id=name,
            title=f"Title of {name}",
            text=text,
            blocks=[Block(kind="paragraph", start=0, end=len(text))],
        )

    async def close(self) -> None:
        pass


class BrokenEmbedder(HashingEmbedder):
    """Raises the errors of `failures`, one a call, before it works; never embeds `poison`."""

    def __init__(self) -> None:
        super().__init__(32)
        self.failures: list[Exception] = []
        self.down: Exception | None = None
        self.poison: dict[str, Exception] = {}
        self.batches: list[int] = []
        self.held = asyncio.Event()
        self.held.set()
        self.calls = 0
        self.bomb: asyncio.Event | None = None
        """Set when a text with the word `bomb` comes, which then is embedded never."""

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        self.calls += 1
        await self.held.wait()
        if self.bomb is not None and any("bomb" in text for text in texts):
            self.bomb.set()
            await asyncio.Event().wait()
        if self.down is not None:
            raise self.down
        if self.failures:
            raise self.failures.pop(0)
        for word, error in self.poison.items():
            if any(word in text for text in texts):
                raise error
        self.batches.append(len(texts))
        return await super().embed_documents(texts)


class BrokenIndex(MemoryIndex):
    """Raises the errors of `failures`, one for each change, before it works."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[Exception] = []
        self.replaced: list[list[str]] = []
        self.optimized: list[tuple[str, str]] = []

    async def replace(
        self, tenant: str, collection: str, documents: Sequence[DocumentChunks]
    ) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.replaced.append([document.document_id for document in documents])
        await super().replace(tenant, collection, documents)

    async def delete(self, tenant: str, collection: str, document_ids: Sequence[str]) -> None:
        if self.failures:
            raise self.failures.pop(0)
        await super().delete(tenant, collection, document_ids)

    async def drop(self, tenant: str, collection: str) -> None:
        if self.failures:
            raise self.failures.pop(0)
        await super().drop(tenant, collection)

    async def optimize(self, tenant: str, collection: str) -> None:
        self.optimized.append((tenant, collection))


class CountingObserver:
    """Implements `IngestObserver`."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.published = 0
        self.delays: list[float] = []

    def documents(self, outcome: Outcome, count: int) -> None:
        self.outcomes[outcome] += count

    def chunks(self, count: int) -> None:
        self.published += count

    def visible(self, seconds: float) -> None:
        self.delays.append(seconds)


@dataclass
class World:
    """An ingestion over fakes; `restart` is a crash: only records and index remain."""

    clock: VirtualClock = field(default_factory=VirtualClock)
    parser: LinesParser = field(default_factory=LinesParser)
    embedder: BrokenEmbedder = field(default_factory=BrokenEmbedder)
    index: BrokenIndex = field(default_factory=BrokenIndex)
    observer: CountingObserver = field(default_factory=CountingObserver)
    slept: list[float] = field(default_factory=list)
    max_attempts: int = 3
    funds: Funds | None = None

    def __post_init__(self) -> None:
        self.records = MemoryRecords(self.clock)
        self.ingestion = self.build()

    def build(self, parser: Parser | None = None) -> Ingestion:
        return Ingestion(
            records=self.records,
            index=self.index,
            embedder=self.embedder,
            parser=parser or self.parser,
            clock=self.clock,
            observer=self.observer,
            funds=self.funds,
            settings=IngestionSettings(
                chunks=ChunkSettings(target_tokens=20, prefix_tokens=10),
                batch_chunks=8,
                max_attempts=self.max_attempts,
                upkeep=UpkeepSettings(optimize_chunks=3),
                retry=Retry(delays=(1.0, 2.0), sleep=self.sleep),
            ),
        )

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds)
        await asyncio.sleep(0)

    async def crash(self) -> None:
        """Like a kill: nothing is given back or written."""
        await crash(self.ingestion)

    async def restart(self) -> None:
        self.ingestion = self.build()
        await self.ingestion.start()

    async def submit(self, *lines: str, name: str = "file.txt", **source: object) -> Job:
        self.clock.advance(1)
        return await self.ingestion.submit(
            OPERATOR,
            DocumentSource(
                name=name,
                content="\n".join(lines).encode(),
                collection="docs",
                **source,  # type: ignore[arg-type]
            ),
        )

    async def ingest(self, *lines: str, name: str = "file.txt", **source: object) -> Job:
        job = await self.submit(*lines, name=name, **source)
        return await self.ingestion.wait(OPERATOR, job.id)

    async def delete(self, external_id: str) -> Document:
        self.clock.advance(1)
        return await self.ingestion.delete_document(OPERATOR, self.id(external_id))

    def id(self, external_id: str) -> str:
        return document_id("acme", "docs", external_id)

    async def find(self, word: str, principal: Principal = OPERATOR) -> list[Passage]:
        request = SearchRequest(collection="docs", mode="lexical", text=word, limit=100)
        return (await self.index.search(principal, request)).passages

    async def found(self, word: str) -> list[str]:
        """External ids of the passages, sorted."""
        return sorted(passage.external_id for passage in await self.find(word))

    async def texts(self) -> dict[str, str]:
        """What the records hold, by external id."""
        documents = await self.records.documents("acme", "docs", limit=1000)
        texts = defaultdict(str)
        for document in documents:
            texts[document.external_id] = (
                await self.records.document_text("acme", document.id) or ""
            )
        return dict(texts)


async def crash(ingestion: Ingestion) -> None:
    """End its tasks without a word to the records."""
    task = ingestion._running
    ingestion._running = None
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await ingestion._upkeep.stop()


async def turns(count: int = 50) -> None:
    """Let everything that can go on go on."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], Awaitable[bool] | bool]) -> None:
    """Wait for a condition that other tasks bring about."""
    for _ in range(10_000):
        result = condition()
        if result if isinstance(result, bool) else await result:
            return
        await asyncio.sleep(0)
    raise AssertionError("the condition never held")


def other_identity() -> EmbedderIdentity:
    return EmbedderIdentity(name="another/model", dimensions=32)
