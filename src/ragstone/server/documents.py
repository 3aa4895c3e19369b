"""Documents, the jobs that ingest them, and the collections that hold them."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated, Final

import msgspec
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import Response

from ragstone.domain.collection import Collection, EmbedderIdentity
from ragstone.domain.document import Document, DocumentSource
from ragstone.domain.errors import (
    InvalidRequest,
    PayloadTooLarge,
    RagstoneError,
    UnknownCollection,
    UnknownDocument,
    UnknownJob,
    Unreadable,
    did_you_mean,
)
from ragstone.domain.job import DocumentError, Job
from ragstone.domain.principal import EVERYONE, Principal, access_token
from ragstone.ingest.estimate import Estimate
from ragstone.server.arrival import declared_length
from ragstone.server.call import (
    LARGE_BODY,
    Call,
    body_seconds,
    body_timeout,
    expected_length,
    read_body,
)
from ragstone.server.decoding import decode
from ragstone.server.parameters import page_size

MAX_FILES: Final = 1000
"""In one upload."""

_Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Value = str | _Integer | float | bool


class InlineDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A document given as text."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
    text: str
    title: str = ""
    metadata: dict[str, _Value | list[_Value]] = {}


class DocumentsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Documents given as JSON."""

    documents: Annotated[list[InlineDocument], msgspec.Meta(min_length=1)]
    collection: str | None = None
    access: list[str] = msgspec.field(default_factory=lambda: [EVERYONE])
    """Who may read: `*` (everybody of the tenant), `group:NAME`, `user:NAME`."""


class JobsResponse(msgspec.Struct, frozen=True):
    jobs: list[Job]


class Accepted(msgspec.Struct, frozen=True):
    """The jobs to watch, and the sources that were refused at once."""

    jobs: list[Job]
    errors: list[DocumentError]


class Estimated(msgspec.Struct, frozen=True, kw_only=True):
    """What an ingestion would do and cost; nothing was embedded or stored."""

    documents: int
    """That can be read."""
    unchanged: int
    """Of these, there already: they cost nothing."""
    chunks: int
    """To be embedded."""
    tokens: int
    nanodollars: int
    """0 where the embedder costs nothing."""
    sources: list[Estimate]
    errors: list[DocumentError]


class DocumentsResponse(msgspec.Struct, frozen=True):
    """A page of documents; pass `next` as `after` for the following one."""

    documents: list[Document]
    next: str | None


class DocumentResponse(msgspec.Struct, frozen=True):
    """A document with its whole text; citation spans are offsets into it."""

    document: Document
    text: str


class CollectionView(msgspec.Struct, frozen=True, kw_only=True):
    """A collection. What counts documents that a caller may not read is for admins: else null."""

    tenant: str
    name: str
    embedder: EmbedderIdentity
    generation: int | None
    """Raised by every change that a search can see."""
    document_count: int | None
    chunk_count: int | None
    created_at: float
    """Unix seconds."""


class CollectionsResponse(msgspec.Struct, frozen=True):
    collections: list[CollectionView]
    default: str
    """The collection that is asked when a request names none."""


class Deleted(msgspec.Struct, frozen=True):
    deleted: str


_BODY = msgspec.json.Decoder(DocumentsBody)


async def post_documents(call: Call) -> Response:
    """Ingest files (multipart) or texts (JSON); the answer names the jobs to watch.

    With `estimate=true` nothing is ingested: the answer says what it would do and cost.
    """
    only_estimate = _flag(call.request.query_params.get("estimate"), "estimate")
    kind = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    limit = call.system.settings.ingest.max_file_bytes
    if kind == "multipart/form-data":
        size, read = _checked_size(call.request, limit), _uploaded
    elif kind == "application/json":
        size, read = expected_length(declared_length(call.headers), limit), _inline
    else:
        raise InvalidRequest(
            f"The content type {kind[:60]!r} is not read here.",
            remedy="Send multipart/form-data with files, or application/json.",
            field="Content-Type",
        )
    # Files are spooled to disk while they come in, but they are all in memory in the end.
    with call.rooms.documents.holding(size):
        sources = await read(call, size)
        if only_estimate:
            return call.json(await _estimated(call, sources))
        accepted = await _submit(call, sources)
    response = call.json(accepted, 202)
    response.headers["Location"] = f"/v1/jobs/{accepted.jobs[0].id}"
    return response


async def _submit(call: Call, sources: list[DocumentSource]) -> Accepted:
    """Raises what the first refused source raised when none was accepted."""
    accepted = Accepted([], [])
    refusal: RagstoneError | None = None
    for source in sources:
        try:
            accepted.jobs.append(await call.system.ingestion.submit(call.principal, source))
        except RagstoneError as error:  # one bad file must not take the others with it
            if not accepted.jobs and not isinstance(error, InvalidRequest):
                raise
            refusal = refusal or error
            reason = DocumentError(external_id=source.name, code=error.code, message=str(error))
            accepted.errors.append(reason)
    if refusal is not None and not accepted.jobs:
        raise refusal
    return accepted


async def _estimated(call: Call, sources: list[DocumentSource]) -> Estimated:
    found: list[Estimate] = []
    errors: list[DocumentError] = []
    for source in sources:
        try:
            found.append(await call.system.ingestion.estimate(call.principal, source))
        except (InvalidRequest, Unreadable) as error:  # of this file; the others can be read
            reason = DocumentError(external_id=source.name, code=error.code, message=str(error))
            errors.append(reason)
    return Estimated(
        documents=sum(each.documents for each in found),
        unchanged=sum(each.unchanged for each in found),
        chunks=sum(each.chunks for each in found),
        tokens=sum(each.tokens for each in found),
        nanodollars=sum(each.nanodollars for each in found),
        sources=found,
        errors=errors,
    )


def _flag(value: str | None, name: str) -> bool:
    if value not in (None, "", "true", "false"):
        raise InvalidRequest(
            f"{name} is {value[:40]!r}.", remedy=f"Set {name} to true or false.", field=name
        )
    return value == "true"


async def _inline(call: Call, size: int) -> list[DocumentSource]:
    raw = await read_body(call.request, declared_length(call.headers), size)
    if len(raw) > LARGE_BODY:
        body, content = await asyncio.to_thread(_as_lines, raw)
    else:
        body, content = _as_lines(raw)
    count = len(body.documents)
    return [
        DocumentSource(
            name=f"{count} inline document{'s' if count > 1 else ''}.jsonl",
            content=content,
            collection=body.collection or call.system.settings.retrieval.default_collection,
            access=body.access,
        )
    ]


def _as_lines(raw: bytes) -> tuple[DocumentsBody, bytes]:
    body = decode(raw, _BODY)
    return body, b"\n".join(msgspec.json.encode(document) for document in body.documents)


async def _uploaded(call: Call, size: int) -> list[DocumentSource]:
    try:
        async with (
            body_timeout(body_seconds(size)),
            call.request.form(max_files=MAX_FILES, max_fields=100) as form,
        ):
            uploads = [value for value in form.getlist("file") if isinstance(value, UploadFile)]
            if not uploads:
                raise InvalidRequest(
                    "The upload holds no file.",
                    remedy="Send files in form fields named `file`.",
                    field="file",
                )
            collection = str(form.get("collection") or "")
            access = [str(entry) for entry in form.getlist("access") if entry] or [EVERYONE]
            return [
                DocumentSource(
                    name=upload.filename or "upload",
                    content=await upload.read(),
                    collection=collection or call.system.settings.retrieval.default_collection,
                    access=access,
                )
                for upload in uploads
            ]
    except (MultiPartException, HTTPException) as error:  # the latter where it was routed
        raise InvalidRequest(
            f"The upload cannot be read: {_reason(error)}",
            remedy="Send valid multipart/form-data.",
        ) from None


def _reason(error: MultiPartException | HTTPException) -> str:
    return error.message if isinstance(error, MultiPartException) else error.detail


def _checked_size(request: Request, limit: int) -> int:
    """Files one by one are checked by the parser; this refuses a flood before it is spooled."""
    declared = declared_length(request.headers)
    if declared is None:
        raise InvalidRequest(
            "The upload does not say how long it is.",
            remedy="Send a Content-Length header.",
            field="Content-Length",
        )
    if declared > 2 * limit:
        raise PayloadTooLarge(
            f"The upload has {declared:,} bytes; {2 * limit:,} are allowed at once.",
            remedy="Send the files in several requests.",
        )
    return declared


async def get_documents(call: Call) -> Response:
    """The documents of a collection that the caller may read, in pages."""
    query = call.request.query_params
    collection = await call.system.collection_or_default(
        call.principal, query.get("collection") or None
    )
    await _existing_collection(call, collection)
    limit = page_size(query.get("limit"))
    page: list[Document] = []
    async for document in _readable(call, collection, limit + 1, query.get("after")):
        page.append(document)
        if len(page) > limit:
            break
    # Only ids of readable documents are told, and no page is empty but the only one.
    following = page[limit - 1].id if len(page) > limit else None
    shown = [_view(document) for document in page[:limit]]
    return call.json(DocumentsResponse(shown, following))


async def _readable(
    call: Call, collection: str, batch: int, after: str | None
) -> AsyncGenerator[Document, None]:
    """The documents that the caller may read, in the order of their ids."""
    while True:
        found = await call.system.records.documents(
            call.principal.tenant, collection, limit=batch, after=after
        )
        for document in found:
            if document.readable_by(call.principal):
                yield document
        if len(found) < batch:
            return
        after = found[-1].id


async def get_document(call: Call) -> Response:
    """One document with its text."""
    document_id = call.request.path_params["document_id"]
    tenant = call.principal.tenant
    document = await call.system.records.document(tenant, document_id)
    text = None
    if document is not None and document.readable_by(call.principal):
        text = await call.system.records.document_text(tenant, document_id)
    if document is None or text is None:
        raise UnknownDocument(
            f"There is no document {document_id[:80]!r}.",
            remedy="List them with GET /v1/documents.",
        )
    return call.json(DocumentResponse(_view(document), text))


def _view(document: Document) -> Document:
    """With the entries of its access list as they were given."""
    prefix = access_token(document.tenant, "")
    entries = [token.removeprefix(prefix) for token in document.access]
    return msgspec.structs.replace(document, access=entries)


async def delete_document(call: Call) -> Response:
    """Delete a document; it is unfindable when this returns."""
    document_id = call.request.path_params["document_id"]
    deleted = await call.system.ingestion.delete_document(call.principal, document_id)
    return call.json(Deleted(deleted.id))


async def get_jobs(call: Call) -> Response:
    """The newest ingestion jobs of the tenant, whoever submitted them."""
    limit = page_size(call.request.query_params.get("limit"), default=50)
    return call.json(
        JobsResponse(await call.system.records.jobs(call.principal.tenant, limit=limit))
    )


async def get_job(call: Call) -> Response:
    """How far an ingestion has come."""
    job_id = call.request.path_params["job_id"]
    job = await call.system.ingestion.job(call.principal, job_id)
    if job is None:
        raise UnknownJob(
            f"There is no job {job_id[:80]!r}.", remedy="Use the id that the submission returned."
        )
    return call.json(job)


async def get_collections(call: Call) -> Response:
    """The collections of the caller's tenant."""
    collections = await call.system.records.collections(call.principal.tenant)
    default = await call.system.collection_or_default(call.principal, None)
    views = [_collection_view(collection, call.principal) for collection in collections]
    return call.json(CollectionsResponse(views, default))


def _collection_view(collection: Collection, principal: Principal) -> CollectionView:
    sees_all = "admin" in principal.scopes
    return CollectionView(
        tenant=collection.tenant,
        name=collection.name,
        embedder=collection.embedder,
        generation=collection.generation if sees_all else None,
        document_count=collection.document_count if sees_all else None,
        chunk_count=collection.chunk_count if sees_all else None,
        created_at=collection.created_at,
    )


async def delete_collection(call: Call) -> Response:
    """Delete a collection with all of its documents."""
    name = call.request.path_params["collection"]
    await _existing_collection(call, name)
    await call.system.ingestion.delete_collection(call.principal, name)
    return call.json(Deleted(name))


async def _existing_collection(call: Call, name: str) -> None:
    if await call.system.records.collection(call.principal.tenant, name) is None:
        known = [c.name for c in await call.system.records.collections(call.principal.tenant)]
        raise UnknownCollection(
            f"There is no collection {name[:80]!r}.",
            remedy=did_you_mean(name[:80], known, what="collections"),
            field="collection",
        )
