"""Values to record."""

import msgspec

from ragstone.domain.collection import EmbedderIdentity
from ragstone.domain.document import Document, DocumentSource, document_id
from ragstone.domain.job import Job, JobCounts
from ragstone.domain.principal import access_token
from ragstone.ports import ApiKey

MINILM = EmbedderIdentity(name="minilm", dimensions=384, digest="53aa51172d")
OTHER = EmbedderIdentity(name="other", dimensions=384, digest="53aa51172d")
NO_COUNTS = JobCounts()


def a_document(
    external_id: str = "care/wool.md",
    *,
    tenant: str = "acme",
    collection: str = "default",
    version: int = 1,
    chunks: int = 3,
) -> Document:
    return Document(
        id=document_id(tenant, collection, external_id),
        tenant=tenant,
        collection=collection,
        external_id=external_id,
        title=f"About {external_id}",
        version=version,
        content_hash=f"{version:064x}",
        access=[access_token(tenant, "*"), access_token(tenant, "group:staff")],
        metadata={"language": "en", "pages": 3, "price": 9.5, "sale": True, "sizes": ["S", "M"]},
        chunk_count=chunks,
        character_count=1234,
        source_name="care.zip",
        created_at=1_767_225_600.25,
        updated_at=1_767_225_700.125,
    )


def a_job(
    id_: str = "job_1", *, tenant: str = "acme", collection: str = "default", created: float = 1.0
) -> Job:
    return Job(
        id=id_,
        tenant=tenant,
        collection=collection,
        source_name="care.zip",
        state="queued",
        created_at=created,
        updated_at=created,
    )


def a_source(collection: str = "default", content: bytes = b"\x00\xff zip") -> DocumentSource:
    return DocumentSource(
        name="care.zip",
        content=content,
        collection=collection,
        access=["group:staff"],
        metadata={"department": "care"},
        submitter=[access_token("acme", "*"), access_token("acme", "group:staff")],
        key_id="key_1",
        user="änn",
    )


def a_key(id_: str = "key_1", sha256: str = "ab" * 32, *, tenant: str = "acme") -> ApiKey:
    return ApiKey(
        id=id_,
        sha256=sha256,
        tenant=tenant,
        user="ann",
        groups=["staff", "käse"],
        scopes=["ask", "ingest"],
        label="Ann's laptop",
        created_at=5.0,
        priority="sheddable",
        requests_per_minute=60,
        tokens_per_minute=0,
    )


def with_text(document: Document) -> tuple[Document, str]:
    return document, f"The text of {document.external_id}, version {document.version}."


def renamed(document: Document, title: str) -> Document:
    return msgspec.structs.replace(document, title=title)
