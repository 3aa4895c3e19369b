"""The refusals that every implementation words alike."""

from collections.abc import Iterable

from ragstone.domain.collection import Collection, EmbedderIdentity
from ragstone.domain.document import Document
from ragstone.domain.errors import (
    Conflict,
    EmbedderMismatch,
    InternalError,
    TooManyBudgets,
    UnknownCollection,
    UnknownJob,
    did_you_mean,
)
from ragstone.domain.job import DocumentError


def unknown_collection(name: str, known: Iterable[str]) -> UnknownCollection:
    """`known`: the names of the same tenant, and of no other."""
    return UnknownCollection(
        f"There is no collection {name!r}.",
        remedy=did_you_mean(name, known, what="collections"),
        field="collection",
    )


def unknown_job(job_id: str) -> UnknownJob:
    return UnknownJob(f"There is no job {job_id!r}.", remedy="It may have been deleted.")


def already_there(what: str, name: str) -> Conflict:
    return Conflict(f"There already is a {what} {name!r}.", remedy="Choose another id.")


def require_room(tenant: str, budgets: int, most: int | None) -> None:
    """Raises `TooManyBudgets` where there is none for one more."""
    if most is not None and budgets >= most:
        raise TooManyBudgets(
            f"The tenant {tenant!r} has {budgets:,} budgets, and may have {most:,}.",
            remedy="Remove those that bind nobody any more, set one for `*` instead of one for "
            "each name, or raise the setting budgets.most_per_tenant.",
        )


def collection_deleted(name: str) -> DocumentError:
    """Why a job that had not ended was failed."""
    return DocumentError(
        external_id="",
        code="collection_deleted",
        message=f"The collection {name!r} was deleted before the job had ended.",
    )


def require_embedder(collection: Collection, embedder: EmbedderIdentity) -> None:
    """Raises `EmbedderMismatch`, naming both."""
    if collection.embedder == embedder:
        return
    raise EmbedderMismatch(
        f"The collection {collection.name!r} was embedded by {_described(collection.embedder)}, "
        f"but the configured embedder is {_described(embedder)}.",
        remedy="Configure the collection's embedder, or ingest into another collection.",
        field="embedder",
    )


def require_own(tenant: str, collection: str, documents: Iterable[Document]) -> None:
    """Raises `InternalError` for a document that claims to be of another collection."""
    for document in documents:
        if (document.tenant, document.collection) != (tenant, collection):
            raise InternalError(
                f"The document {document.id} is not of the collection {collection!r}."
            )


def _described(embedder: EmbedderIdentity) -> str:
    digest = f", weights {embedder.digest[:12]}" if embedder.digest else ""
    return f"{embedder.name} ({embedder.dimensions} dimensions{digest})"
