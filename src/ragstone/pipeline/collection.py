"""Before anything else: the collection exists, and its vectors are comparable with ours."""

from ragstone.domain.collection import Collection, EmbedderIdentity
from ragstone.domain.errors import EmbedderMismatch, UnknownCollection, did_you_mean
from ragstone.domain.principal import Principal
from ragstone.ports import RecordsReader


async def open_collection(
    name: str, principal: Principal, records: RecordsReader, embedder: EmbedderIdentity
) -> Collection:
    """Raises `UnknownCollection` (with the nearest name) and `EmbedderMismatch`."""
    collection = await records.collection(principal.tenant, name)
    if collection is None:
        known = [other.name for other in await records.collections(principal.tenant)]
        raise UnknownCollection(
            f"There is no collection {name[:80]!r}.",
            remedy=did_you_mean(name[:80], known, what="collections"),
            field="collection",
        )
    if collection.embedder != embedder:
        raise EmbedderMismatch(
            f"The collection {name!r} was embedded with {collection.embedder.name} "
            f"({collection.embedder.dimensions} dimensions), but this server uses "
            f"{embedder.name} ({embedder.dimensions}): their vectors cannot be compared.",
            remedy="Configure the former embedder, or ingest into a new collection.",
            field="collection",
        )
    return collection


async def is_current(collection: Collection, records: RecordsReader) -> bool:
    """Nothing in it has changed since it was read, through whatever process."""
    now = await records.generation(collection.tenant, collection.name)
    return now == collection.generation
