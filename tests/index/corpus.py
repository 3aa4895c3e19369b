"""Small vectors, chunks and requests for the index tests."""

import hashlib
import math
from collections.abc import Sequence

import numpy as np

from ragstone.domain.document import Chunk, IndexedChunk, Metadata, chunk_id
from ragstone.domain.passage import SearchResult
from ragstone.domain.principal import EVERYONE, Principal, access_token
from ragstone.domain.query import Filter, FusionSettings, SearchMode, SearchRequest
from ragstone.ports import DocumentChunks, Index

DIMENSIONS = 16
TENANT = "acme"
COLLECTION = "manual"


def embed(text: str) -> list[float]:
    """A unit vector from the words of a text: texts that share words are near."""
    total = np.zeros(DIMENSIONS)
    for word in text.lower().split() or [""]:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8])
        total += np.random.default_rng(seed).normal(size=DIMENSIONS)
    return (total / max(float(np.linalg.norm(total)), 1e-9)).tolist()


def document(
    name: str,
    texts: Sequence[str],
    *,
    version: int = 1,
    tenant: str = TENANT,
    collection: str = COLLECTION,
    access: Sequence[str] = (EVERYONE,),
    metadata: Metadata | None = None,
    vectors: Sequence[list[float]] | None = None,
) -> DocumentChunks:
    """A document of one chunk for each text; `access` as `*`, `group:NAME`, `user:NAME`."""
    tokens = [access_token(tenant, entry) for entry in access]
    chunks = [
        IndexedChunk(
            id=chunk_id(f"{tenant}/{collection}/{name}", version, ordinal),
            tenant=tenant,
            collection=collection,
            document_id=name,
            external_id=f"{name}.md",
            version=version,
            chunk=Chunk(
                ordinal=ordinal, start=0, end=len(text), text=text, heading_path=("Top",), page=3
            ),
            title=name,
            access=tokens,
            metadata=metadata or {},
            vector=vectors[ordinal] if vectors else embed(text),
            lexical_text=text,
        )
        for ordinal, text in enumerate(texts)
    ]
    return DocumentChunks(document_id=name, version=version, chunks=chunks)


def asker(*groups: str, tenant: str = TENANT, user: str | None = None) -> Principal:
    return Principal(tenant=tenant, user=user, groups=frozenset(groups))


async def put(index: Index, *documents: DocumentChunks) -> None:
    """Publish documents, each in the tenant and collection of its chunks."""
    shards: dict[tuple[str, str], list[DocumentChunks]] = {}
    for one in documents:
        first = one.chunks[0]
        shards.setdefault((first.tenant, first.collection), []).append(one)
    for (tenant, collection), members in shards.items():
        await index.replace(tenant, collection, members)


async def search(
    index: Index,
    text: str,
    *,
    principal: Principal | None = None,
    mode: SearchMode = "hybrid",
    limit: int = 10,
    candidates: int = 50,
    collection: str = COLLECTION,
    filters: Sequence[Filter] = (),
    fusion: FusionSettings | None = None,
) -> SearchResult:
    request = SearchRequest(
        collection=collection,
        mode=mode,
        vector=embed(text) if mode != "lexical" else None,
        text=text if mode != "dense" else None,
        limit=limit,
        candidates=candidates,
        filters=tuple(filters),
        fusion=fusion or FusionSettings(),
    )
    return await index.search(principal or asker(), request)


async def found(index: Index, text: str = "stone", **options: object) -> set[str]:
    """The documents that a wide search returns, as `name@version`."""
    result = await search(index, text, limit=1000, mode="dense", **options)  # type: ignore[arg-type]
    return {f"{passage.document_id}@{passage.version}" for passage in result.passages}


def close_to(a: float | None, b: float | None) -> bool:
    return a is not None and b is not None and math.isclose(a, b, abs_tol=2e-3)
