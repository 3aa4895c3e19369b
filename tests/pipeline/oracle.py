"""Is every answer the one that a fresh run would give? A run with caches, and a judge of it.

Clients of two access groups ask a Zipf stream of questions through two processes' worth of caches
while documents and their access lists change. The model's text is a function of the prompt, so a
fresh run is exactly predictable. An answer is right when it equals a fresh run over the documents
as they were at some moment between its request and its response: a change counts from when it
begins, and must be seen by whoever asks after it was acknowledged.
"""

import asyncio
import hashlib
import itertools
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from random import Random

from ragstone.apps import ASSISTANT
from ragstone.domain.answer import Answer, Done
from ragstone.domain.document import Chunk, Document, IndexedChunk, chunk_id
from ragstone.domain.principal import Principal, access_token
from ragstone.domain.query import Question
from ragstone.domain.usage import Usage
from ragstone.governance.ledger.counting import UsageLedger
from ragstone.governance.prices import Price, PriceBook, Rate
from ragstone.index.memory import MemoryIndex
from ragstone.models.embedders.fake import HashingEmbedder
from ragstone.observe.metrics import Metrics
from ragstone.observe.trace import Trace
from ragstone.pipeline.answer import answer, begin
from ragstone.pipeline.asked import Asked
from ragstone.pipeline.flight import Flights
from ragstone.pipeline.keeping import Keeping
from ragstone.pipeline.services import Services
from ragstone.ports import CacheStore, Clock, DocumentChunks, Finished, Prompt, TextDelta
from ragstone.records.cached_reader import CachedReader
from ragstone.records.memory import MemoryRecords
from ragstone.resilience.admission import OpenAdmission
from ragstone.resilience.deadline import Deadline
from ragstone.resilience.ladder import LadderPolicy, LoadLadder
from ragstone.resilience.model_route import direct_route
from tests.pipeline.passages import RECIPE

TENANT, COLLECTION = "acme", "help"
PRICES = PriceBook(
    models={
        "oracle": Price(source="configured", rates=(Rate(input=150_000_000, output=600_000_000),))
    }
)
"""0.15 and 0.60 dollars for a million tokens."""
_GROUPS = ("sales", "service")
_TRAITS = "linen cotton wool velvet rattan teak brass ceramic marble bamboo copper glass".split()
_THINGS = (
    "dress coat lamp rug jumper cushion boots shirt sofa table shelf mirror vase kettle".split()
)
_ASKS = (
    "What does the {thing} number {number} of {trait} cost?",
    "How long is the {thing} number {number} of {trait} under warranty?",
    "Where is the {thing} number {number} of {trait} made?",
)
_REWORDED = ("Please tell me: {0}", "{0} I would like to know.", "Quick question. {0}")


class HashingModel:
    """Its text is a function of the prompt alone."""

    name = "oracle"

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self.calls = 0

    async def stream(
        self, prompt: Prompt, *, deadline: float
    ) -> AsyncGenerator[TextDelta | Finished, None]:
        self.calls += 1
        asked = "\n".join((prompt.system, *(turn.content for turn in prompt.messages)))
        digest = hashlib.sha256(asked.encode()).hexdigest()
        words = "".join(chr(ord("a") + int(sign, 16)) for sign in digest)
        pieces = [words[:20], " ", words[20:40], " ", words[40:], " [1]."]
        for piece in pieces:
            await asyncio.sleep(self._seconds / len(pieces))
            yield TextDelta(piece)
        usage = Usage(input_tokens=len(asked) // 4, output_tokens=20)
        yield Finished(usage=usage, reason="stop")

    async def close(self) -> None:
        """Nothing to close."""


class SlowIndex:
    """Takes a moment before and after, as a network would."""

    def __init__(self, inner: MemoryIndex) -> None:
        self._inner = inner

    async def search(self, principal, request):  # type: ignore[no-untyped-def]
        await asyncio.sleep(0.001)
        found = await self._inner.search(principal, request)
        await asyncio.sleep(0.001)
        return found

    async def close(self) -> None:
        """Nothing to close."""


@dataclass(frozen=True)
class Plan:
    """What is asked of what."""

    questions: int = 600
    distinct: int = 60
    documents: int = 200
    changes: int = 12
    clients: int = 24
    paraphrased: float = 0.1
    processes: int = 2
    seed: int = 0
    model_seconds: float = 0.5
    caches: bool = True
    judged: bool = True


@dataclass
class Outcome:
    """What came of it."""

    answered: int = 0
    wrong: list[str] = field(default_factory=list)
    model_calls: int = 0
    nanodollars: int = 0
    by_cache: Counter[str] = field(default_factory=Counter)
    in_change: int = 0
    """Answers for which more than one state of the documents was right."""


class Corpus:
    """The documents and every state in which they were."""

    def __init__(self, plan: Plan, clock: Clock) -> None:
        self.records = MemoryRecords(clock)
        self.index = MemoryIndex()
        self.embedder = HashingEmbedder()
        self.states: list[dict[str, IndexedChunk]] = [{}]
        self.begun = self.acknowledged = 0
        """How many changes."""
        self._random = Random(plan.seed)
        self._versions = itertools.count(1)
        self._count = plan.documents

    async def fill(self) -> None:
        await self.records.ensure_collection(TENANT, COLLECTION, self.embedder.identity)
        for number in range(self._count):
            await self._put(await self._chunk(number))

    async def change(self) -> None:
        """Another text, or the same for other readers."""
        changed = await self._chunk(self._random.randrange(self._count))
        state = {**self.states[-1], changed.document_id: changed}
        self.states.append(state)
        self.begun += 1
        await asyncio.sleep(0.01)
        await self._put(changed)
        self.acknowledged += 1

    async def _put(self, chunk: IndexedChunk) -> None:
        self.states[-1][chunk.document_id] = chunk
        await self.index.replace(TENANT, COLLECTION, [_chunks(chunk)])
        if self.begun:
            await asyncio.sleep(0.02)  # the index has it, the records do not yet
        document = Document(
            id=chunk.document_id, tenant=TENANT, collection=COLLECTION,
            external_id=chunk.external_id, title=chunk.title, version=chunk.version,
            content_hash=chunk.chunk.text, access=chunk.access, metadata={}, chunk_count=1,
            character_count=len(chunk.chunk.text), source_name=chunk.external_id,
            created_at=0.0, updated_at=0.0,
        )  # fmt: skip
        await self.records.put_documents(TENANT, COLLECTION, [(document, chunk.chunk.text)])

    async def _chunk(self, number: int) -> IndexedChunk:
        version, random = next(self._versions), self._random
        name, document_id = named(number), f"doc_{number}"
        text = (
            f"The {name} costs {random.randint(10, 900)} dollars. Its warranty lasts "
            f"{random.randint(1, 20)} years. It is made in workshop {random.randint(1, 500)}."
        )
        readers = [f"group:{group}" for group in _GROUPS if random.random() < 0.7] or ["*"]
        [vector] = await self.embedder.embed_documents([text])
        return IndexedChunk(
            id=chunk_id(document_id, version, 0), tenant=TENANT, collection=COLLECTION,
            document_id=document_id, external_id=f"{number}.md", version=version,
            chunk=Chunk(ordinal=0, start=0, end=len(text), text=text), title=name,
            access=[access_token(TENANT, reader) for reader in readers],
            vector=vector, lexical_text=text,
        )  # fmt: skip


def named(number: int) -> str:
    """A product's name."""
    thing, trait = _THINGS[number % len(_THINGS)], _TRAITS[number % len(_TRAITS)]
    return f"{thing} number {number} of {trait}"


def _chunks(chunk: IndexedChunk) -> DocumentChunks:
    return DocumentChunks(document_id=chunk.document_id, version=chunk.version, chunks=[chunk])


def zipf_stream(plan: Plan) -> list[str]:
    """Questions of a Zipf(1.0) popularity, some of them reworded."""
    random = Random(plan.seed + 1)
    distinct = [
        _ASKS[rank % len(_ASKS)].format(
            number=rank % plan.documents,
            thing=_THINGS[rank % plan.documents % len(_THINGS)],
            trait=_TRAITS[rank % plan.documents % len(_TRAITS)],
        )
        for rank in range(plan.distinct)
    ]
    weights = [1 / (rank + 1) for rank in range(plan.distinct)]
    asked = random.choices(distinct, weights, k=plan.questions)
    return [
        random.choice(_REWORDED).format(text) if random.random() < plan.paraphrased else text
        for text in asked
    ]


class Run:
    """One run of a plan, and the judgement on it."""

    def __init__(self, plan: Plan, clock: Clock, caches: Sequence[CacheStore]) -> None:
        self.plan = plan
        self.clock = clock
        self.corpus = Corpus(plan, clock)
        self.model = HashingModel(plan.model_seconds)
        self.ledger = UsageLedger()
        self.outcome = Outcome()
        self._metrics = Metrics()
        self._expected: dict[tuple[str, str, int], tuple[object, ...]] = {}
        self._fresh: dict[int, Services] = {}
        self._processes = [self._services(cache) for cache in caches] if plan.caches else [
            replace(self._services(None), flights=None)
        ]  # fmt: skip

    def _services(self, cache: CacheStore | None) -> Services:
        return Services(
            records=CachedReader(self.corpus.records, self.clock), admission=OpenAdmission(),
            ledger=self.ledger, prices=PRICES, embedder=self.corpus.embedder,
            index=SlowIndex(self.corpus.index), reranker=None,
            model=direct_route(self.model, self.clock), cache=cache, clock=self.clock,
            metrics=self._metrics, ladder=LoadLadder(LadderPolicy(), self.clock), recipe=RECIPE,
            keeping=Keeping(ttl_seconds=20.0, refresh_share=0.2), flights=Flights(),
        )  # fmt: skip

    async def run(self) -> Outcome:
        """Asks everything, changes documents meanwhile, judges every answer."""
        await self.corpus.fill()
        stream = iter(list(enumerate(zipf_stream(self.plan))))
        changing = asyncio.create_task(self._change())
        await asyncio.gather(*(self._client(stream) for _ in range(self.plan.clients)))
        await changing
        for services in self._processes:
            await services.refreshes.close()
        self.outcome.model_calls = self.model.calls
        self.outcome.nanodollars = sum(row.nanodollars for row in self.ledger.rows)
        return self.outcome

    async def _change(self) -> None:
        """Evenly over the run."""
        every = self.plan.questions / (self.plan.changes + 1)
        for number in range(self.plan.changes):
            while self.outcome.answered < every * (number + 1):
                await asyncio.sleep(0.01)
            await self.corpus.change()

    async def _client(self, stream: "enumerate[str] | object") -> None:
        for number, text in stream:  # type: ignore[attr-defined]
            services = self._processes[number % len(self._processes)]
            group = _GROUPS[number // 7 % len(_GROUPS)]
            since = self.corpus.acknowledged
            given = await _ask(text, group, services, self.clock)
            until = self.corpus.begun
            self.outcome.answered += 1
            self.outcome.by_cache[f"{given.cache} {given.cache_tier or ''}".strip()] += 1
            self.outcome.in_change += since != until
            if not self.plan.judged:
                continue
            right = [await self._fresh_answer(text, group, k) for k in range(since, until + 1)]
            if _seen(given) not in right:
                self.outcome.wrong.append(f"{number}: {text} ({given.cache}, {since}..{until})")

    async def _fresh_answer(self, text: str, group: str, state: int) -> tuple[object, ...]:
        """What a run without any cache gives over the documents of that state."""
        key = (text, group, state)
        if key not in self._expected:
            if state not in self._fresh:
                index = MemoryIndex()
                for chunk in self.corpus.states[state].values():
                    await index.replace(TENANT, COLLECTION, [_chunks(chunk)])
                self._fresh[state] = replace(
                    self._services(None), index=index, flights=None, ledger=UsageLedger(),
                    model=direct_route(HashingModel(), self.clock),
                )  # fmt: skip
            self._expected[key] = _seen(await _ask(text, group, self._fresh[state], self.clock))
        return self._expected[key]


async def _ask(text: str, group: str, services: Services, clock: Clock) -> Answer:
    principal = Principal(tenant=TENANT, groups=frozenset({group}))
    asked = Asked(
        question=Question(text=text, collection=COLLECTION, top_k=3),
        principal=principal, application=ASSISTANT,
        deadline=Deadline(clock, 60.0), trace=Trace(services.metrics, "0" * 32), streamed=False,
    )  # fmt: skip
    async with aclosing(answer(asked, await begin(asked, services), services)) as events:
        async for event in events:
            if isinstance(event, Done):
                return event.answer
    raise AssertionError("no answer")


def _seen(given: Answer) -> tuple[object, ...]:
    """What a reader can see of an answer."""
    passages = [(passage.chunk_id, passage.version, passage.text) for passage in given.passages]
    citations = [(citation.chunk_id, citation.span, citation.text) for citation in given.citations]
    return given.answer, given.answer_kind, tuple(passages), tuple(citations)
