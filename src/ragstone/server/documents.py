"""Documents, the jobs that ingest them, and the collections that hold them."""

from typing import Annotated, Final

import msgspec
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ragstone.domain.collection import Collection
from ragstone.domain.document import Document, DocumentSource, Metadata
from ragstone.domain.errors import (
    InvalidRequest,
    PayloadTooLarge,
    UnknownCollection,
    UnknownDocument,
    UnknownJob,
    did_you_mean,
)
from ragstone.domain.job import DocumentError, Job
from ragstone.domain.principal import EVERYONE
from ragstone.server.call import Call, decode, read_body

MAX_FILES: Final = 1000
"""In one upload."""

_PAGE: Final = 100


class InlineDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A document given as text."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
    text: str
    title: str = ""
    metadata: Metadata = {}


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


class DocumentsResponse(msgspec.Struct, frozen=True):
    """A page of documents; pass `next` as `after` for the following one."""

    documents: list[Document]
    next: str | None


class DocumentResponse(msgspec.Struct, frozen=True):
    """A document with its whole text; citation spans are offsets into it."""

    document: Document
    text: str


class CollectionsResponse(msgspec.Struct, frozen=True):
    collections: list[Collection]
    default: str
    """The collection that is asked when a request names none."""


class Deleted(msgspec.Struct, frozen=True):
    deleted: str


_BODY = msgspec.json.Decoder(DocumentsBody)


async def post_documents(call: Call) -> Response:
    """Ingest files (multipart) or texts (JSON); the answer names the jobs to watch."""
    kind = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        sources = await _uploaded(call)
    elif kind == "application/json":
        sources = [await _inline(call)]
    else:
        raise InvalidRequest(
            f"The content type {kind[:60]!r} is not read here.",
            remedy="Send multipart/form-data with files, or application/json.",
            field="Content-Type",
        )
    accepted = Accepted([], [])
    refusal: InvalidRequest | None = None
    for source in sources:
        try:
            accepted.jobs.append(await call.system.ingestion.submit(call.principal, source))
        except InvalidRequest as error:  # one bad file must not take the others with it
            refusal = refusal or error
            reason = DocumentError(external_id=source.name, code=error.code, message=str(error))
            accepted.errors.append(reason)
    if refusal is not None and not accepted.jobs:
        raise refusal
    response = call.json(accepted, 202)
    response.headers["Location"] = f"/v1/jobs/{accepted.jobs[0].id}"
    return response


async def _inline(call: Call) -> DocumentSource:
    limit = call.system.settings.ingest.max_file_bytes
    body = decode(await read_body(call.request, limit), _BODY)
    first = body.documents[0].id
    more = f" and {len(body.documents) - 1} more" if len(body.documents) > 1 else ""
    return DocumentSource(
        name=f"{first}{more}.jsonl",
        content=b"\n".join(msgspec.json.encode(document) for document in body.documents),
        collection=body.collection or call.system.settings.retrieval.default_collection,
        access=body.access,
    )


async def _uploaded(call: Call) -> list[DocumentSource]:
    limit = call.system.settings.ingest.max_file_bytes
    _check_declared_size(call.request, limit)
    try:
        async with call.request.form(max_files=MAX_FILES, max_fields=100) as form:
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
    except HTTPException as error:  # Starlette's word for a malformed form
        raise InvalidRequest(
            f"The upload cannot be read: {error.detail}",
            remedy="Send valid multipart/form-data.",
        ) from None


def _check_declared_size(request: Request, limit: int) -> None:
    """Files one by one are checked by the parser; this refuses a flood before it is spooled."""
    declared = request.headers.get("content-length", "")
    if not declared.isdigit():
        raise InvalidRequest(
            "The upload does not say how long it is.",
            remedy="Send a Content-Length header.",
            field="Content-Length",
        )
    if int(declared) > 2 * limit:
        raise PayloadTooLarge(
            f"The upload has {int(declared):,} bytes; {2 * limit:,} are allowed at once.",
            remedy="Send the files in several requests.",
        )


async def get_documents(call: Call) -> Response:
    """The documents of a collection that the caller may read, in pages."""
    query = call.request.query_params
    collection = await call.system.collection_or_default(
        call.principal, query.get("collection") or None
    )
    await _existing_collection(call, collection)
    limit = _positive(query.get("limit"), "limit", default=_PAGE, most=1000)
    page = await call.system.records.documents(
        call.principal.tenant, collection, limit=limit, after=query.get("after")
    )
    readable = [document for document in page if document.readable_by(call.principal)]
    following = page[-1].id if len(page) == limit else None
    return call.json(DocumentsResponse(readable, following))


async def get_document(call: Call) -> Response:
    """One document with its text."""
    document_id = call.request.path_params["document_id"]
    tenant = call.principal.tenant
    document = await call.system.records.document(tenant, document_id)
    text = await call.system.records.document_text(tenant, document_id)
    if document is None or text is None or not document.readable_by(call.principal):
        raise UnknownDocument(
            f"There is no document {document_id[:80]!r}.",
            remedy="List them with GET /v1/documents.",
        )
    return call.json(DocumentResponse(document, text))


async def delete_document(call: Call) -> Response:
    """Delete a document; it is unfindable when this returns."""
    document_id = call.request.path_params["document_id"]
    deleted = await call.system.ingestion.delete_document(call.principal, document_id)
    return call.json(Deleted(deleted.id))


async def get_jobs(call: Call) -> Response:
    """The newest ingestion jobs."""
    limit = _positive(call.request.query_params.get("limit"), "limit", default=50, most=1000)
    return call.json(
        JobsResponse(await call.system.records.jobs(call.principal.tenant, limit=limit))
    )


async def get_job(call: Call) -> Response:
    """How far an ingestion has come."""
    job_id = call.request.path_params["job_id"]
    job = await call.system.ingestion.job(call.principal, job_id)
    if job is None:
        raise UnknownJob(f"There is no job {job_id[:80]!r}.", remedy="List them with GET /v1/jobs.")
    return call.json(job)


async def get_collections(call: Call) -> Response:
    """The collections of the caller's tenant."""
    collections = await call.system.records.collections(call.principal.tenant)
    default = await call.system.collection_or_default(call.principal, None)
    return call.json(CollectionsResponse(collections, default))


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


def _positive(text: str | None, name: str, *, default: int, most: int) -> int:
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
        raise InvalidRequest(
            f"`{name}` is {text[:40]!r}.", remedy=f"Give a number from 1 to {most}.", field=name
        )
    return int(text)
