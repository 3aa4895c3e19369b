"""A small server with the real one's HTTP API, so that the page is tested without models.

It reads text files, cuts them into paragraphs, finds by shared words and answers with the
best paragraphs. A test may script the next answer event by event, hold jobs back, and look
at the requests that came.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ragstone.console import routes as console_routes
from ragstone.domain.answer import (
    Answer,
    AnswerEvent,
    Citation,
    CitationsChecked,
    Delta,
    Done,
    PassagesFound,
    Span,
)
from ragstone.domain.collection import Collection, EmbedderIdentity
from ragstone.domain.document import Document, document_id
from ragstone.domain.errors import (
    RagstoneError,
    Unauthenticated,
    UnknownCollection,
    UnknownDocument,
    UnknownJob,
)
from ragstone.domain.job import DocumentError, Job, JobCounts
from ragstone.domain.passage import Passage, Scores
from ragstone.domain.usage import Receipt, Usage
from ragstone.server.errors import ErrorResponse, error_body, error_response
from ragstone.server.event_stream import EventStream
from ragstone.server.status import DependencyStatus, Status

TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
EMBEDDER: Final = EmbedderIdentity(name="stand-in", dimensions=8)
NOW: Final = 1_790_000_000.0
PAGE: Final = 20

Step = AnswerEvent | RagstoneError | asyncio.Event
"""Of a scripted answer: told, told as the terminal error, or waited for."""

Handler = Callable[[Request], Awaitable[Response]]


class StandIn:
    """The server's state, open to the tests."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.documents: dict[str, Document] = {}
        self.jobs: dict[str, Job] = {}
        self.key: str | None = None
        """Asked for when set."""
        self.hold_jobs = False
        """Whether jobs stay as they are instead of ending at the next look."""
        self.answers: deque[Sequence[Step]] = deque()
        """Scripts of the next answers; without one, the documents are read."""
        self.failures: deque[RagstoneError] = deque()
        """Errors that the next requests for answers and uploads get instead."""
        self.asked: list[dict[str, Any]] = []
        """Bodies of the requests for answers."""
        self.status = Status(
            rung=None,
            level=0,
            chunks_joined=False,
            in_flight=0,
            waiting=0,
            slots_in_use=0,
            dependencies=[DependencyStatus("model", "closed", 0)],
            version="0",
        )
        self.left = asyncio.Event()
        """Set when a client leaves during an answer."""
        self.app = Starlette(routes=[*self._routes(), *console_routes()])

    def _routes(self) -> list[Route]:
        table: list[tuple[str, str, Handler]] = [
            ("POST", "/v1/answers", self._answer),
            ("POST", "/v1/search", self._search),
            ("GET", "/v1/status", self._status),
            ("GET", "/v1/collections", self._collections),
            ("POST", "/v1/documents", self._ingest),
            ("GET", "/v1/documents", self._list),
            ("GET", "/v1/documents/{id}", self._document),
            ("DELETE", "/v1/documents/{id}", self._delete),
            ("GET", "/v1/jobs", self._jobs),
            ("GET", "/v1/jobs/{id}", self._job),
        ]
        return [Route(path, self._guarded(call), methods=[verb]) for verb, path, call in table]

    def _guarded(self, handler: Handler) -> Handler:
        async def call(request: Request) -> Response:
            try:
                if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
                    raise Unauthenticated(
                        "This server needs an API key.", remedy="Send it as a bearer token."
                    )
                return await handler(request)
            except RagstoneError as error:
                return error_response(error, TRACE)

        return call

    async def _status(self, request: Request) -> Response:
        return _json(self.status)

    # Documents and jobs

    def add(self, collection: str, external_id: str, title: str, text: str) -> Document:
        """A document, at once."""
        key = document_id("default", collection, external_id)
        document = Document(
            id=key,
            tenant="default",
            collection=collection,
            external_id=external_id,
            title=title,
            version=1,
            content_hash="",
            access=["*"],
            metadata={},
            chunk_count=len(text.split("\n\n")),
            character_count=len(text),
            source_name=external_id,
            created_at=NOW,
            updated_at=NOW,
        )
        self.documents[key] = document
        self.texts[key] = text
        return document

    async def _collections(self, request: Request) -> Response:
        names = sorted({document.collection for document in self.documents.values()})
        found = [self._collection(name) for name in names]
        return _json({"collections": found, "default": "help"})

    def _collection(self, name: str) -> Collection:
        inside = [each for each in self.documents.values() if each.collection == name]
        return Collection(
            tenant="default",
            name=name,
            embedder=EMBEDDER,
            generation=1,
            document_count=len(inside),
            chunk_count=sum(each.chunk_count for each in inside),
            created_at=NOW,
        )

    async def _ingest(self, request: Request) -> Response:
        if self.failures:
            raise self.failures.popleft()
        if request.headers["content-type"] == "application/json":
            body = await request.json()
            for each in body["documents"]:
                self.add(body["collection"], each["id"], each["title"], each["text"])
            names = [each["id"] for each in body["documents"]]
            return _json({"jobs": [self._new_job(body["collection"], names[0], "done")]}, 202)
        async with request.form() as form:
            collection, upload = str(form["collection"]), form["file"]
            assert not isinstance(upload, str)
            name, content = upload.filename or "upload", await upload.read()
        job = self._new_job(collection, name, "queued")
        with suppress(UnicodeDecodeError):
            self.add(collection, name, name.rpartition(".")[0], content.decode())
        return _json({"jobs": [job]}, 202)

    def _new_job(self, collection: str, name: str, state: Any) -> Job:
        job = Job(
            id=f"job_{len(self.jobs)}",
            tenant="default",
            collection=collection,
            source_name=name,
            state=state,
            created_at=NOW,
            updated_at=NOW,
        )
        self.jobs[job.id] = job
        return job

    def _advance(self, job: Job) -> Job:
        if job.state == "queued":
            counts = JobCounts(total=4, added=1, chunks=3)
            return msgspec.structs.replace(job, state="running", counts=counts)
        if job.state != "running" or self.hold_jobs:
            return job
        if document_id("default", job.collection, job.source_name) in self.documents:
            return msgspec.structs.replace(
                job, state="done", counts=JobCounts(total=4, added=4, chunks=12)
            )
        failure = DocumentError(
            external_id=job.source_name, code="damaged_document", message="The file is damaged."
        )
        counts = JobCounts(total=1, failed=1)
        return msgspec.structs.replace(job, state="failed", counts=counts, errors=[failure])

    async def _jobs(self, request: Request) -> Response:
        self.jobs = {key: self._advance(job) for key, job in self.jobs.items()}
        return _json({"jobs": list(reversed(self.jobs.values()))})

    async def _job(self, request: Request) -> Response:
        job = self.jobs.get(request.path_params["id"])
        if job is None:
            raise UnknownJob("There is no such job.")
        return _json(job)

    async def _list(self, request: Request) -> Response:
        after = request.query_params.get("after", "")
        inside = sorted(
            (each for each in self._inside(request.query_params["collection"]) if each.id > after),
            key=lambda document: document.id,
        )
        page = inside[:PAGE]
        return _json({"documents": page, "next": page[-1].id if len(inside) > PAGE else None})

    def _inside(self, collection: str) -> list[Document]:
        found = [each for each in self.documents.values() if each.collection == collection]
        if not found:
            raise UnknownCollection(f"There is no collection {collection!r}.", field="collection")
        return found

    async def _document(self, request: Request) -> Response:
        key = request.path_params["id"]
        if key not in self.documents:
            raise UnknownDocument("There is no such document.", remedy="It may have been deleted.")
        return _json({"document": self.documents[key], "text": self.texts[key]})

    async def _delete(self, request: Request) -> Response:
        key = request.path_params["id"]
        if self.documents.pop(key, None) is None:
            raise UnknownDocument("There is no such document.", remedy="It may have been deleted.")
        return _json({"deleted": key})

    # Search and answers

    def find(self, collection: str, query: str, limit: int) -> list[Passage]:
        """Paragraphs that share words with the query, best first."""
        wanted = _words(query)
        found: list[Passage] = []
        for document in self._inside(collection):
            text, start = self.texts[document.id], 0
            for ordinal, paragraph in enumerate(text.split("\n\n")):
                shared = len(wanted & _words(paragraph))
                if shared:
                    found.append(_passage(document, ordinal, start, paragraph, shared))
                start += len(paragraph) + 2
        return sorted(found, key=lambda each: -each.scores.fused)[:limit]

    async def _search(self, request: Request) -> Response:
        body = await request.json()
        passages = self.find(body["collection"], body["query"], body["top_k"])
        return _json({"passages": passages, "degraded": [], "timings_ms": {"retrieve": 1.5}})

    async def _answer(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append(body)
        if self.failures:
            raise self.failures.popleft()
        steps = self.answers.popleft() if self.answers else self.read(body)
        return EventStream(self._tell(steps), heartbeat_seconds=15)

    def read(self, body: dict[str, Any]) -> Sequence[Step]:
        passages = self.find(body["collection"], body["question"], 5)
        sentences = [f"{passage.text} [{n}]" for n, passage in enumerate(passages[:2], start=1)]
        cited = [citation(n, passage) for n, passage in enumerate(passages[:2], start=1)]
        return script(" ".join(sentences), passages, cited, collection=body["collection"])

    async def _tell(self, steps: Sequence[Step]) -> AsyncGenerator[bytes, None]:
        try:
            for step in steps:
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, RagstoneError):
                    payload = msgspec.json.encode(ErrorResponse(error_body(step, TRACE)))
                    yield b"event: error\ndata: " + payload + b"\n\n"
                else:
                    name = str(step.__struct_config__.tag).encode()
                    yield b"event: " + name + b"\ndata: " + msgspec.json.encode(step) + b"\n\n"
        except (asyncio.CancelledError, GeneratorExit):
            self.left.set()
            raise


def script(
    text: str,
    passages: list[Passage],
    citations: list[Citation],
    *,
    degraded: tuple[str, ...] = (),
    collection: str = "help",
    receipt: Receipt | None = None,
    age: float | None = None,
) -> list[Step]:
    """The events of an answer, the text word by word; of a kept one with its `age`."""
    found = bool(passages)
    answer = Answer(
        answer=text if found else "This was not found in the documents.",
        answer_kind="extractive" if found else "not_found",
        citations=citations,
        passages=passages,
        usage=Usage(embedding_tokens=7),
        timings_ms={"admit": 0.02, "embed": 2.1, "retrieve": 1.4, "generate": 0.8, "verify": 0.03},
        degraded=list(degraded),
        cache="off" if age is None else "hit",
        cache_age_seconds=age,
        receipt=receipt or Receipt(),
        collection=collection,
        model="extractive",
        trace_id=TRACE,
    )
    return [
        PassagesFound(passages, TRACE, list(degraded)),
        *(Delta(piece) for piece in re.findall(r"\s*\S+", answer.answer)),
        CitationsChecked(citations),
        Done(answer),
    ]


def citation(number: int, passage: Passage) -> Citation:
    """The whole passage, cited."""
    return Citation(
        number=number,
        document_id=passage.document_id,
        external_id=passage.external_id,
        chunk_id=passage.chunk_id,
        title=passage.title,
        page=passage.page,
        span=Span(passage.start, passage.end),
        score=passage.scores.fused,
        text=passage.text,
    )


def _passage(document: Document, ordinal: int, start: int, paragraph: str, shared: int) -> Passage:
    return Passage(
        chunk_id=f"{document.id}/{ordinal}",
        document_id=document.id,
        external_id=document.external_id,
        version=document.version,
        ordinal=ordinal,
        title=document.title,
        text=paragraph,
        start=start,
        end=start + len(paragraph),
        heading_path=(document.title, "Details"),
        scores=Scores(fused=shared / 10, dense=shared / 12, lexical=shared * 1.5),
    )


def _words(text: str) -> set[str]:
    return {word for word in re.findall(r"\w+", text.lower()) if len(word) > 3}


def _json(body: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")
