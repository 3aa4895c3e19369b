"""What an engine offers to its gateways, in front of the application that everybody uses.

Plain ASGI: a search takes less time than routing, authentication and a log line would. Who
asks is what the gateway says, so these paths open to the engine's token and to nothing else,
and the token opens nothing else. Admission and deadlines are the gateways'.
"""

import hmac
from typing import Final

import msgspec
import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ragstone import __version__
from ragstone.domain.errors import (
    Forbidden,
    InvalidRequest,
    NotFound,
    PayloadTooLarge,
    RagstoneError,
)
from ragstone.domain.meter import metered
from ragstone.domain.query import SearchRequest
from ragstone.hop.exchange import EXCHANGE, EXCHANGE_HEADER, require_ours
from ragstone.hop.messages import (
    ABOUT,
    COLLECTION,
    COLLECTIONS,
    DOCUMENT_VERSIONS,
    EMBED_AND_SEARCH,
    EMBEDDINGS,
    GENERATION,
    KEY,
    KEYS,
    LARGEST_BODY,
    LOCAL_HOST,
    MESSAGE_PACK,
    PEER_HEADER,
    PREFIX,
    SEARCH,
    VOUCHER_HEADER,
    About,
    CollectionAsked,
    CollectionsAsked,
    DocumentVersionsAsked,
    EmbedAndSearchOnBehalf,
    EmbeddingRow,
    EmbeddingsAsked,
    EmbeddingsGiven,
    KeyAsked,
    SearchOnBehalf,
    request_head,
)
from ragstone.index.by_text import SearchByText
from ragstone.observe.trace import new_trace_id
from ragstone.server.call import unexpected
from ragstone.server.engine_budgets import budget_operations
from ragstone.server.engine_operation import Operation
from ragstone.server.errors import error_response
from ragstone.system import System

_VOUCHER: Final = VOUCHER_HEADER.encode()
_PEER: Final = PEER_HEADER.encode()

_EXCHANGE: Final = EXCHANGE_HEADER.encode()
_MESSAGE_PACK: Final = MESSAGE_PACK.encode()
_log = structlog.get_logger("ragstone.engine")


class EngineDoor:
    """An ASGI application around `app`, which gets everything that is not for the engine."""

    def __init__(self, app: ASGIApp, system: System, token: str) -> None:
        self._app = app
        self._system = system
        self._bearer = f"Bearer {token}".encode()
        self._token = token.encode()
        self._operations = {
            EMBEDDINGS: Operation(EmbeddingsAsked, self._embed),
            SEARCH: Operation(SearchOnBehalf, self._search),
            EMBED_AND_SEARCH: Operation(EmbedAndSearchOnBehalf, self._embed_and_search),
            ABOUT: Operation(None, self._about),
            COLLECTION: Operation(CollectionAsked, self._collection),
            GENERATION: Operation(CollectionAsked, self._generation),
            COLLECTIONS: Operation(CollectionsAsked, self._collections),
            DOCUMENT_VERSIONS: Operation(DocumentVersionsAsked, self._document_versions),
            KEY: Operation(KeyAsked, self._key),
            KEYS: Operation(None, self._keys),
            **budget_operations(system),
        }
        self._by_head = {
            request_head(path, LOCAL_HOST, token): operation
            for path, operation in self._operations.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"].startswith(PREFIX):
            await self._answer(scope, receive, send)
        elif (voucher := _header(scope, _VOUCHER)) is None:
            await self._app(scope, receive, send)
        elif hmac.compare_digest(voucher, self._token):
            await self._app(_as_its_gateway_saw_it(scope), receive, send)
        else:
            await error_response(_not_ours(), new_trace_id())(scope, receive, send)

    def known(self, head: bytes) -> Operation | None:
        """What a gateway on this machine asks with this very head, which holds the token. None: to
        be looked at in the ordinary way. (A dict tells nothing of what a head nearly was.)"""
        return self._by_head.get(head)

    async def carry_out(
        self, operation: Operation, body: bytes, *, packed: bool
    ) -> bytes | Response:
        """The answer's body, or a refusal."""
        try:
            return await operation.answer(body, packed=packed)
        except RagstoneError as error:
            return error_response(error, new_trace_id())
        except msgspec.MsgspecError as error:
            refusal = InvalidRequest(
                f"The request does not fit: {error}. This engine is of Ragstone {__version__}."
            )
            return error_response(refusal, new_trace_id())
        except Exception:
            trace_id = new_trace_id()
            _log.exception("unexpected", trace_id=trace_id)
            return error_response(unexpected(trace_id), trace_id)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if not hmac.compare_digest(_header(scope, b"authorization") or b"", self._bearer):
                raise _not_ours()
            if (said := _header(scope, _EXCHANGE)) is not None:
                require_ours(said.decode("latin-1"))
            operation = self._operations.get(scope["path"])
            if operation is None or scope["method"] != "POST":
                raise NotFound("The engine has no such operation.")
            body = await _body(receive)
        except RagstoneError as error:
            await error_response(error, new_trace_id())(scope, receive, send)
            return
        packed = _header(scope, b"content-type") == _MESSAGE_PACK
        answer = await self.carry_out(operation, body, packed=packed)
        if isinstance(answer, Response):
            await answer(scope, receive, send)
        else:
            await _send(send, answer, _MESSAGE_PACK if packed else b"application/json")

    async def _embed(self, asked: EmbeddingsAsked) -> object:
        embedder = self._system.embedder
        with metered() as meter:
            if len(asked.input) == 1:
                vectors = [await embedder.embed_query(asked.input[0])]
            else:
                vectors = await embedder.embed_documents(asked.input)
        rows = [EmbeddingRow(row, index) for index, row in enumerate(vectors)]
        return EmbeddingsGiven(rows, meter.tokens)

    async def _search(self, asked: SearchOnBehalf) -> object:
        return await self._system.index.search(asked.principal, _request(asked))

    async def _embed_and_search(self, asked: EmbedAndSearchOnBehalf) -> object:
        both = SearchByText(self._system.embedder, self._system.index)
        return await both.embed_and_search(
            asked.principal, _request(asked), asked.text, seconds=asked.seconds
        )

    async def _about(self, asked: None) -> object:
        return About(
            version=__version__,
            exchange=EXCHANGE,
            embedder=self._system.embedder.identity,
            installation=self._system.home.installation,
            parts=await self._system.readiness(),
            embedder_price=msgspec.to_builtins(self._system.services.prices.embedder),
        )

    async def _collection(self, asked: CollectionAsked) -> object:
        return await self._system.records.collection(asked.tenant, asked.name)

    async def _generation(self, asked: CollectionAsked) -> object:
        return await self._system.records.generation(asked.tenant, asked.name)

    async def _collections(self, asked: CollectionsAsked) -> object:
        return await self._system.records.collections(asked.tenant)

    async def _document_versions(self, asked: DocumentVersionsAsked) -> object:
        return await self._system.records.document_versions(asked.tenant, asked.document_ids)

    async def _key(self, asked: KeyAsked) -> object:
        return await self._system.records.key_by_hash(asked.sha256)

    async def _keys(self, asked: None) -> object:
        return await self._system.records.keys()


def _request(asked: SearchOnBehalf) -> SearchRequest:
    return SearchRequest(
        collection=asked.collection,
        mode=asked.mode,
        vector=asked.vector,
        text=asked.query,
        limit=asked.top_k,
        candidates=asked.candidates,
        filters=asked.filters,
        fusion=asked.fusion,
    )


def _not_ours() -> Forbidden:
    return Forbidden(
        "This is for gateways of this engine, which show its token.",
        remedy="Set engine.token to the same value here and there.",
        field="engine.token",
    )


def _as_its_gateway_saw_it(scope: Scope) -> Scope:
    """With the client's own address: whether it is this machine's decides what it may see."""
    peer = _header(scope, _PEER) or b""
    headers = [pair for pair in scope["headers"] if pair[0] not in (_VOUCHER, _PEER)]
    return {**scope, "headers": headers, "client": (peer.decode("latin-1"), 0) if peer else None}


def _header(scope: Scope, name: bytes) -> bytes | None:
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


async def _body(receive: Receive) -> bytes:
    message = await receive()
    pieces = [message.get("body", b"")]
    size = len(pieces[0])
    while message.get("more_body") and size <= LARGEST_BODY:
        message = await receive()
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
    if size > LARGEST_BODY:
        raise PayloadTooLarge(f"The request is larger than {LARGEST_BODY} bytes.")
    return b"".join(pieces)


async def _send(send: Send, body: bytes, media_type: bytes) -> None:
    headers = [
        (b"content-type", media_type),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
