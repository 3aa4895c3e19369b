"""The engine's records, as far as a question needs them, asked over the hop."""

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from ragstone.domain.collection import Collection
from ragstone.domain.errors import RecordsUnavailable
from ragstone.hop.client import EngineClient
from ragstone.hop.messages import (
    COLLECTION,
    COLLECTIONS,
    DOCUMENT_VERSIONS,
    GENERATION,
    KEY,
    KEYS,
    CollectionAsked,
    CollectionsAsked,
    DocumentVersionsAsked,
    KeyAsked,
)
from ragstone.ports import ApiKey

_T = TypeVar("_T")

_COLLECTION = msgspec.msgpack.Decoder(Collection | None)
_GENERATION = msgspec.msgpack.Decoder(int | None)
_COLLECTIONS = msgspec.msgpack.Decoder(list[Collection])
_VERSIONS = msgspec.msgpack.Decoder(dict[str, int])
_KEY = msgspec.msgpack.Decoder(ApiKey | None)
_KEYS = msgspec.msgpack.Decoder(list[ApiKey])


class RemoteRecords:
    """Implements `ports.RecordsReader`."""

    def __init__(self, engine: EngineClient) -> None:
        """`engine` is shared, and not closed here."""
        self._engine = engine

    async def collection(self, tenant: str, name: str) -> Collection | None:
        return await self._ask(COLLECTION, CollectionAsked(tenant, name), _COLLECTION)

    async def generation(self, tenant: str, name: str) -> int | None:
        return await self._ask(GENERATION, CollectionAsked(tenant, name), _GENERATION)

    async def document_versions(self, tenant: str, document_ids: Sequence[str]) -> dict[str, int]:
        asked = DocumentVersionsAsked(tenant, list(document_ids))
        return await self._ask(DOCUMENT_VERSIONS, asked, _VERSIONS)

    async def collections(self, tenant: str) -> list[Collection]:
        return await self._ask(COLLECTIONS, CollectionsAsked(tenant), _COLLECTIONS)

    async def key_by_hash(self, sha256: str) -> ApiKey | None:
        return await self._ask(KEY, KeyAsked(sha256), _KEY)

    async def keys(self) -> list[ApiKey]:
        return await self._ask(KEYS, None, _KEYS)

    async def close(self) -> None:
        """Nothing of its own."""

    async def _ask(
        self, path: str, asked: msgspec.Struct | None, given: "msgspec.msgpack.Decoder[_T]"
    ) -> _T:
        return await self._engine.ask(path, asked, given, RecordsUnavailable)
