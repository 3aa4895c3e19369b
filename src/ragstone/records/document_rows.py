"""Documents, their texts and tombstones. Functions over a connection inside a transaction."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, insert, literal, select

from ragstone.domain.collection import Collection
from ragstone.domain.document import Document
from ragstone.ports import Tombstone
from ragstone.records import collection_rows
from ragstone.records.statements import BATCH, insert_or_ignore, insert_or_replace
from ragstone.records.storable import storable_metadata
from ragstone.records.tables import document_texts as texts
from ragstone.records.tables import documents as table
from ragstone.records.tables import tombstones


def find(connection: Connection, tenant: str, document_id: str) -> Document | None:
    return find_many(connection, tenant, [document_id]).get(document_id)


def find_many(
    connection: Connection, tenant: str, document_ids: Sequence[str]
) -> dict[str, Document]:
    found: dict[str, Document] = {}
    for ids in _batches(document_ids):
        rows = connection.execute(
            select(table).where(table.c.tenant == tenant, table.c.id.in_(ids))
        )
        found.update((row["id"], _document(row)) for row in rows.mappings())
    return found


def versions(connection: Connection, tenant: str, ids: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for batch in _batches(ids):
        rows = connection.execute(
            select(table.c.id, table.c.version).where(
                table.c.tenant == tenant, table.c.id.in_(batch)
            )
        )
        found.update((row.id, row.version) for row in rows)
    return found


def text(connection: Connection, tenant: str, document_id: str) -> str | None:
    return connection.execute(
        select(texts.c.text).where(texts.c.tenant == tenant, texts.c.id == document_id)
    ).scalar_one_or_none()


def page(
    connection: Connection, tenant: str, collection: str, *, limit: int, after: str | None
) -> list[Document]:
    query = select(table).where(table.c.tenant == tenant, table.c.collection == collection)
    if after is not None:
        query = query.where(table.c.id > after)
    rows = connection.execute(query.order_by(table.c.id).limit(max(0, limit)))
    return [_document(row) for row in rows.mappings()]


def put(
    connection: Connection,
    tenant: str,
    collection: str,
    documents: Sequence[tuple[Document, str]],
    *,
    now: float,
) -> Collection:
    """Raises `UnknownCollection`. A tombstone of a document that is put is removed."""
    if not documents:
        unchanged = collection_rows.find(connection, tenant, collection)
        if unchanged is None:
            raise collection_rows.unknown(connection, tenant, collection)
        return unchanged
    latest = {document.id: (document, text) for document, text in documents}
    if not collection_rows.raise_generation(connection, tenant, collection, now=now):
        raise collection_rows.unknown(connection, tenant, collection)
    before = _chunk_counts(connection, tenant, list(latest))
    insert_or_replace(connection, table, [_row(document) for document, _ in latest.values()])
    insert_or_replace(
        connection,
        texts,
        [{"tenant": tenant, "id": id_, "text": text} for id_, (_, text) in latest.items()],
    )
    for ids in _batches(list(latest)):
        connection.execute(
            delete(tombstones).where(
                tombstones.c.tenant == tenant,
                tombstones.c.collection == collection,
                tombstones.c.document_id.in_(ids),
            )
        )
    chunks = sum(document.chunk_count for document, _ in latest.values())
    return collection_rows.add_counts(
        connection,
        tenant,
        collection,
        documents=len(latest) - len(before),
        chunks=chunks - sum(before.values()),
    )


def remove(connection: Connection, tenant: str, document_id: str, *, now: float) -> Document | None:
    """Leaves a tombstone and raises the generation; None if it was absent."""
    found = find(connection, tenant, document_id)
    if found is None:
        return None
    if not collection_rows.raise_generation(connection, tenant, found.collection, now=now):
        return None  # another process has just deleted the whole collection
    row = connection.execute(
        delete(table)
        .where(table.c.tenant == tenant, table.c.id == document_id)
        .returning(table.c.chunk_count)
    ).one_or_none()
    if row is None:  # another process was faster; its deletion counted
        return None
    insert_or_ignore(
        connection,
        tombstones,
        [
            {
                "tenant": tenant,
                "collection": found.collection,
                "document_id": document_id,
                "deleted_at": now,
            }
        ],
    )
    collection_rows.add_counts(
        connection, tenant, found.collection, documents=-1, chunks=-row.chunk_count
    )
    return found


def remove_all(connection: Connection, tenant: str, collection: str, *, now: float) -> None:
    """Every document of the collection, each leaving a tombstone; counters stay."""
    condition = (table.c.tenant == tenant) & (table.c.collection == collection)
    connection.execute(
        insert(tombstones).from_select(
            ["tenant", "collection", "document_id", "deleted_at"],
            select(table.c.tenant, table.c.collection, table.c.id, literal(now)).where(condition),
        )
    )
    connection.execute(delete(table).where(condition))


def tombstones_everywhere(connection: Connection) -> list[Tombstone]:
    rows = connection.execute(
        select(tombstones).order_by(tombstones.c.deleted_at, tombstones.c.document_id)
    )
    return [
        Tombstone(
            tenant=row["tenant"],
            collection=row["collection"],
            document_id=row["document_id"],
            deleted_at=row["deleted_at"],
        )
        for row in rows.mappings()
    ]


def forget(connection: Connection, tombstone: Tombstone) -> None:
    """Whenever the document was deleted."""
    connection.execute(
        delete(tombstones).where(
            tombstones.c.tenant == tombstone.tenant,
            tombstones.c.collection == tombstone.collection,
            tombstones.c.document_id == tombstone.document_id,
        )
    )


def _chunk_counts(connection: Connection, tenant: str, ids: Sequence[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for batch in _batches(ids):
        rows = connection.execute(
            select(table.c.id, table.c.chunk_count).where(
                table.c.tenant == tenant, table.c.id.in_(batch)
            )
        )
        counts.update((row.id, row.chunk_count) for row in rows)
    return counts


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), BATCH):
        yield ids[start : start + BATCH]


def _row(document: Document) -> dict[str, Any]:
    return {
        "tenant": document.tenant,
        "id": document.id,
        "collection": document.collection,
        "external_id": document.external_id,
        "title": document.title,
        "version": document.version,
        "content_hash": document.content_hash,
        "access": document.access,
        "metadata": storable_metadata(document.metadata),
        "chunk_count": document.chunk_count,
        "character_count": document.character_count,
        "source_name": document.source_name,
        "created_at": document.created_at,
        "updated_at": document.updated_at,
    }


def _document(row: RowMapping) -> Document:
    return Document(
        tenant=row["tenant"],
        id=row["id"],
        collection=row["collection"],
        external_id=row["external_id"],
        title=row["title"],
        version=row["version"],
        content_hash=row["content_hash"],
        access=row["access"],
        metadata=row["metadata"],
        chunk_count=row["chunk_count"],
        character_count=row["character_count"],
        source_name=row["source_name"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
