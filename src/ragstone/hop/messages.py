"""What gateways ask their engine, beside the HTTP interface that everybody uses.

Vectors are asked for as OpenAI's `/v1/embeddings` has it. A search is `/v1/search` of our own
interface with three more fields: the vector, how to join the legs, and who asks. The token is
a bearer token of its own, which opens these paths only; nothing else opens them.

The engine answers in the format in which it is asked: JSON, or MessagePack with the same fields,
which gateways use, since it takes less than half of the time. Refusals are JSON always.
"""

from typing import Any, Final

import msgspec

from ragstone.domain.budget import LedgerReport, Want
from ragstone.domain.collection import EmbedderIdentity
from ragstone.domain.principal import Principal
from ragstone.domain.query import Filter, FusionSettings, SearchMode
from ragstone.hop.exchange import EXCHANGE_HEADER, SPOKEN

MESSAGE_PACK: Final = "application/vnd.msgpack"
"""Media type, as registered with IANA."""

PREFIX: Final = "/engine/v1"
EMBEDDINGS: Final = f"{PREFIX}/embeddings"
SEARCH: Final = f"{PREFIX}/search"
EMBED_AND_SEARCH: Final = f"{PREFIX}/embed-and-search"
ABOUT: Final = f"{PREFIX}/about"
COLLECTION: Final = f"{PREFIX}/collection"
GENERATION: Final = f"{PREFIX}/generation"
COLLECTIONS: Final = f"{PREFIX}/collections"
DOCUMENT_VERSIONS: Final = f"{PREFIX}/document-versions"
KEY: Final = f"{PREFIX}/key"
KEYS: Final = f"{PREFIX}/keys"
BUDGETS: Final = f"{PREFIX}/budgets"
LEASE: Final = f"{PREFIX}/lease"
REPORT: Final = f"{PREFIX}/report"
EXPIRE: Final = f"{PREFIX}/expire"

LARGEST_BODY: Final = 16 * 2**20
"""Bytes of a request. Gateways send at most the sentences of an answer's evidence."""

LOCAL_HOST: Final = "engine"
"""The host that a request over a Unix socket names."""


def request_head(path: str, host: str, token: str) -> bytes:
    """Of a gateway's request, without the length of its body."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
        f"{EXCHANGE_HEADER}: {SPOKEN}\r\nContent-Type: {MESSAGE_PACK}\r\nContent-Length:"
    ).encode()


ANSWER_HEAD: Final = f"HTTP/1.1 200 OK\r\ncontent-type: {MESSAGE_PACK}\r\ncontent-length: ".encode()
"""Of an engine's answer on a Unix socket, without the length of its body."""

VOUCHER_HEADER: Final = "x-ragstone-voucher"
"""The engine's token, on a client's request that a gateway hands on: vouches for the next."""
PEER_HEADER: Final = "x-ragstone-peer"
"""The address from which that client connected; empty on a Unix socket."""


class SearchOnBehalf(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A search by somebody for whom the gateway vouches."""

    query: str | None
    collection: str
    top_k: int
    filters: tuple[Filter, ...]
    mode: SearchMode
    vector: list[float] | None
    candidates: int
    fusion: FusionSettings
    principal: Principal


class EmbedAndSearchOnBehalf(SearchOnBehalf, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same without a vector, which the engine makes of `text`: words alone are searched for
    where that takes longer than `seconds`. The answer is that of a search, and the vector."""

    text: str
    seconds: float


class EmbeddingsAsked(msgspec.Struct, frozen=True):
    """OpenAI's request."""

    input: list[str]
    model: str


class EmbeddingRow(msgspec.Struct, frozen=True):
    embedding: list[float]
    index: int


class EmbeddingsGiven(msgspec.Struct, frozen=True):
    """OpenAI's answer."""

    data: list[EmbeddingRow]
    tokens: int = 0
    """As the provider counted; 0 where none did."""


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway must know before it serves."""

    version: str
    exchange: int = 1
    embedder: EmbedderIdentity
    installation: str
    """What it keeps in a cache server is under this name."""
    parts: dict[str, bool]
    """Each part of the engine, and whether it is ready."""
    embedder_price: dict[str, Any]
    """What its embedder costs, by its own settings: the fields of a `governance.prices.Price`."""


class CollectionAsked(msgspec.Struct, frozen=True):
    tenant: str
    name: str


class CollectionsAsked(msgspec.Struct, frozen=True):
    tenant: str


class DocumentVersionsAsked(msgspec.Struct, frozen=True):
    tenant: str
    document_ids: list[str]


class KeyAsked(msgspec.Struct, frozen=True):
    sha256: str


class BudgetsAsked(msgspec.Struct, frozen=True):
    tenant: str


class LeaseAsked(msgspec.Struct, frozen=True):
    """The number makes asking twice harmless."""

    holder: str
    wants: list[Want]
    seconds: float
    number: int


class ReportGiven(msgspec.Struct, frozen=True):
    """Its sequence makes giving it twice harmless."""

    report: LedgerReport
    seconds: float
