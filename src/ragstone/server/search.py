"""`POST /v1/search`: the passages for a query, without an answer."""

import msgspec
from starlette.responses import Response

from ragstone.apps import ASSISTANT
from ragstone.domain.passage import Passage
from ragstone.domain.query import Filters, Question, SearchMode
from ragstone.pipeline.collection import open_collection
from ragstone.pipeline.find import find
from ragstone.server.answers import TopK, checked_filters, checked_question
from ragstone.server.call import Call
from ragstone.server.paying import paid_embedder


class SearchBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to look for, and how."""

    query: str
    collection: str | None = None
    top_k: TopK = 10
    filters: Filters = []
    mode: SearchMode = "hybrid"


class SearchResponse(msgspec.Struct, frozen=True):
    """Passages, best first."""

    passages: list[Passage]
    degraded: list[str]
    timings_ms: dict[str, float]
    trace_id: str


_BODY = msgspec.json.Decoder(SearchBody)


async def post_search(call: Call) -> Response:
    """Find passages by meaning, by words, or by both."""
    body = await call.body(_BODY)
    question = Question(
        text=checked_question(body.query, ASSISTANT),
        collection=await call.system.collection_or_default(call.principal, body.collection),
        filters=checked_filters(body.filters),
        top_k=body.top_k,
        mode=body.mode,
    )
    async with call.client.listening():
        passages = await _search(call, question)
    trace = call.trace
    call.outcome = "degraded" if trace.degraded else "ok"
    return call.json(SearchResponse(passages, trace.degraded, trace.timings_ms, trace.id))


async def _search(call: Call, question: Question) -> list[Passage]:
    deadline, trace, s = call.deadline, call.trace, call.system.services
    await open_collection(question.collection, call.principal, s.records, s.embedder.identity)
    async with call.admitted(), paid_embedder(call, "search") as embedder:
        found = await find(
            question.text,
            question,
            call.principal,
            limit=question.top_k,
            recipe=s.recipe,
            embedder=embedder,
            is_free=s.prices.embedder.free,
            index=s.index,
            deadline=deadline,
            trace=trace,
            metrics=s.metrics,
        )
        return found.passages
