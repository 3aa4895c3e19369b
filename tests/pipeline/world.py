"""The path of a question over fakes, for the tests of it as a whole."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from ragstone.apps import ASSISTANT
from ragstone.caches.memory import MemoryCache
from ragstone.domain.answer import Answer, AnswerEvent, Delta, Done
from ragstone.domain.clock import SystemClock
from ragstone.domain.document import Chunk, Document, IndexedChunk, chunk_id
from ragstone.domain.principal import Principal, access_token
from ragstone.domain.query import Question
from ragstone.governance.ledger import UsageLedger
from ragstone.governance.prices import ALL_FREE
from ragstone.index.memory import MemoryIndex
from ragstone.models.embedders.fake import HashingEmbedder
from ragstone.models.llms.fake import ScriptedModel
from ragstone.observe.metrics import Metrics
from ragstone.observe.trace import Trace
from ragstone.pipeline.answer import answer, begin
from ragstone.pipeline.asked import Asked, CacheUse
from ragstone.pipeline.flight import Flights
from ragstone.pipeline.keeping import Keeping
from ragstone.pipeline.refresh import Refreshes
from ragstone.pipeline.services import Services
from ragstone.pipeline.shadow import SemanticTier
from ragstone.ports import Clock, DocumentChunks, ModelRoute, Reranker
from ragstone.records.memory import MemoryRecords
from ragstone.resilience.admission import GatedAdmission
from ragstone.resilience.deadline import Deadline
from ragstone.resilience.gate import Gate, GateSettings
from ragstone.resilience.ladder import LadderPolicy, LoadLadder
from ragstone.resilience.model_route import direct_route
from tests.clock import VirtualClock
from tests.pipeline.passages import RECIPE

GATE = GateSettings(queue=2, target_seconds=0.02, interval_seconds=0.5, tenant_share=1.0)
ANN = Principal(tenant="acme")
TEXT = "Full-price items can be returned within 45 days of delivery."
ASKED = "Within how many days of delivery can full-price items be returned?"


def pressed_ladder(level: int) -> LoadLadder:
    """A ladder that load has brought to `level`, where it stays: its clock stands still."""
    clock = VirtualClock()
    ladder = LoadLadder(LadderPolicy(), clock)
    while ladder.level < level:
        clock.advance(0.1)
        ladder.observe_wait(1.0, "standard")
    return ladder


async def told(asked: Asked, services: Services) -> AsyncGenerator[AnswerEvent, None]:
    """As a server tells it."""
    begun = await begin(asked, services)
    async with aclosing(answer(asked, begun, services)) as events:
        async for event in events:
            yield event


class World:
    """Services over fakes, with one document in each of two collections."""

    def __init__(self, model: ScriptedModel | None = None, *, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.embedder: HashingEmbedder = HashingEmbedder()
        self.records = MemoryRecords(self.clock)
        self.index = MemoryIndex()
        self.ledger = UsageLedger()
        gate = Gate("server", limit=lambda: 2, settings=GATE, clock=self.clock)
        self.admission = GatedAdmission(gate, in_flight=4, clock=self.clock)
        self.cache = MemoryCache(max_bytes=1_000_000, clock=self.clock)
        self.model = model
        self.route: ModelRoute | None = None
        """Instead of `model`."""
        self.reranker: Reranker | None = None
        self.ladder = LoadLadder(LadderPolicy(), self.clock)
        self.metrics = Metrics()
        self.prices = ALL_FREE
        self.keeping = Keeping(ttl_seconds=60.0)
        self.flights: Flights | None = Flights()
        self.refreshes = Refreshes()
        self.semantic: SemanticTier | None = None

    async def put(self, collection: str, text: str = TEXT, *, name: str = "returns") -> None:
        await self.records.ensure_collection("acme", collection, self.embedder.identity)
        version = await self.records.next_versions("acme", collection, 1)
        everyone = [access_token("acme", "*")]
        [vector] = await self.embedder.embed_documents([text])
        chunk = IndexedChunk(
            id=chunk_id(f"doc_{collection}_{name}", version, 0),
            tenant="acme",
            collection=collection,
            document_id=f"doc_{collection}_{name}",
            external_id=name,
            version=version,
            chunk=Chunk(ordinal=0, start=0, end=len(text), text=text),
            title="Returns",
            access=everyone,
            vector=vector,
            lexical_text=text,
        )
        await self.index.replace(
            "acme",
            collection,
            [DocumentChunks(document_id=chunk.document_id, version=version, chunks=[chunk])],
        )
        document = Document(
            id=chunk.document_id, tenant="acme", collection=collection, external_id=name,
            title="Returns", version=version, content_hash=text, access=everyone, metadata={},
            chunk_count=1, character_count=len(text), source_name="returns.md",
            created_at=0.0, updated_at=0.0,
        )  # fmt: skip
        await self.records.put_documents("acme", collection, [(document, text)])

    def services(self) -> Services:
        route = self.route or (self.model and direct_route(self.model, self.clock))
        return Services(
            records=self.records, admission=self.admission, ledger=self.ledger,
            prices=self.prices,
            embedder=self.embedder, index=self.index, reranker=self.reranker,
            model=route, cache=self.cache, clock=self.clock, metrics=self.metrics,
            ladder=self.ladder, recipe=RECIPE, keeping=self.keeping,
            flights=self.flights, refreshes=self.refreshes, semantic=self.semantic,
        )  # fmt: skip

    def asked(
        self,
        text: str = ASKED,
        *,
        seconds: float = 30.0,
        streamed: bool = True,
        principal: Principal = ANN,
        cache: CacheUse = "use",
        **more: Any,
    ) -> Asked:
        return Asked(
            question=Question(**{"collection": "help", **more, "text": text}),
            principal=principal, application=ASSISTANT,
            deadline=Deadline(self.clock, seconds), trace=Trace(self.metrics, "0" * 32),
            streamed=streamed, cache=cache,
        )  # fmt: skip

    def events(self, text: str = ASKED, **more: Any) -> AsyncGenerator[AnswerEvent, None]:
        """What `answer` tells."""
        return told(self.asked(text, **more), self.services())

    async def ask(self, text: str = ASKED, **more: Any) -> tuple[list[str], Answer]:
        """The deltas and the answer."""
        deltas: list[str] = []
        done: Answer | None = None
        async with aclosing(self.events(text, **more)) as events:
            async for event in events:
                if isinstance(event, Delta):
                    deltas.append(event.text)
                elif isinstance(event, Done):
                    done = event.answer
        assert done is not None
        self.assert_nothing_is_held()
        return deltas, done

    def assert_nothing_is_held(self) -> None:
        assert self.admission.in_flight == self.ledger.open_reservations == 0
        assert self.admission.slots_in_use == 0
        if self.model is not None:
            assert self.model.open_streams == 0
