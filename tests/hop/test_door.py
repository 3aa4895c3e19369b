"""The engine's door: who may come in, what goes through, and what a broken engine looks like."""

import asyncio
import os
import shutil
import socket
import tempfile
from collections.abc import Sequence

import aiohttp
import msgspec
import pytest

from ragstone.domain.errors import (
    DependencyError,
    EmbedderError,
    IndexUnavailable,
    InvalidRequest,
)
from ragstone.domain.meter import count_tokens, metered
from ragstone.domain.query import SearchRequest
from ragstone.hop.address import EngineAddress, address_of
from ragstone.hop.client import EngineClient
from ragstone.hop.messages import (
    ABOUT,
    EMBEDDINGS,
    KEYS,
    MESSAGE_PACK,
    PEER_HEADER,
    SEARCH,
    VOUCHER_HEADER,
)
from ragstone.hop.refusals import startup_error
from ragstone.index.memory import MemoryIndex
from ragstone.index.remote import RemoteIndex
from ragstone.models.embedders.fake import HashingEmbedder
from ragstone.models.embedders.remote import RemoteEmbedder
from tests.hop.engine import TOKEN, Door, served
from tests.index.corpus import COLLECTION, asker, document, put, search

ANYTHING = msgspec.msgpack.Decoder()


async def _status(door: Door, method: str, path: str, headers: dict[str, str]) -> int:
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(door.path)) as http,
        http.request(method, f"http://engine{path}", headers=headers, data=b"null") as response,
    ):
        return response.status


@pytest.mark.parametrize("path", [SEARCH, ABOUT, KEYS])
async def test_only_the_engines_token_opens_its_paths(path: str) -> None:
    async with served() as door:
        for wrong in ({}, {"Authorization": "Bearer rgs_key"}, {VOUCHER_HEADER: TOKEN}):
            assert await _status(door, "POST", path, wrong) == 403
        assert door.seen == []


async def test_the_engines_token_opens_nothing_else() -> None:
    async with served() as door:
        await _status(door, "GET", "/v1/keys", {"Authorization": f"Bearer {TOKEN}"})
        (scope,) = door.seen  # handed to the application, which knows no such key
        assert (b"authorization", f"Bearer {TOKEN}".encode()) in scope["headers"]


async def test_a_gateway_vouches_for_the_address_of_its_client() -> None:
    async with served() as door:
        headers = {VOUCHER_HEADER: TOKEN, PEER_HEADER: "192.0.2.7"}
        assert await _status(door, "GET", "/metrics", headers) == 204
        assert door.seen[0]["client"] == ("192.0.2.7", 0)
        names = {name for name, _ in door.seen[0]["headers"]}
        assert not names & {VOUCHER_HEADER.encode(), PEER_HEADER.encode()}


async def test_a_wrong_voucher_is_refused_and_none_leaves_the_address_as_it_is() -> None:
    async with served() as door:
        claim = {PEER_HEADER: "127.0.0.1"}
        assert await _status(door, "GET", "/metrics", {VOUCHER_HEADER: "wrong", **claim}) == 403
        assert door.seen == []
        assert await _status(door, "GET", "/metrics", claim) == 204
        assert door.seen[0]["client"] != ("127.0.0.1", 0)


async def test_a_gateway_with_the_wrong_token_says_so() -> None:
    async with served(index=MemoryIndex()) as door:
        with pytest.raises(IndexUnavailable, match="token") as refused:
            await search(RemoteIndex(door.client("wrong")), "stone")  # type: ignore[arg-type]
    assert refused.value.field == "engine.token"


async def test_what_the_engine_refuses_is_raised_as_it_was_there() -> None:
    index = MemoryIndex()
    await put(index, document("a", ["stone"]))
    async with served(index=index) as door:
        with pytest.raises(InvalidRequest):
            await RemoteIndex(door.client()).search(
                asker(), SearchRequest(collection=COLLECTION, text="x", limit=0)
            )


async def test_the_engine_answers_in_the_format_in_which_it_is_asked() -> None:
    there = HashingEmbedder(dimensions=8)
    body = {"input": ["granite"], "model": there.identity.name}
    async with served(embedder=there) as door:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        url = f"http://engine{EMBEDDINGS}"
        unix = aiohttp.UnixConnector(door.path)
        async with aiohttp.ClientSession(connector=unix, headers=headers) as http:
            async with http.post(url, json=body) as plain:
                assert plain.content_type == "application/json"
                said = await plain.json()
            packed_type = {"Content-Type": MESSAGE_PACK}
            packed_body = msgspec.msgpack.encode(body)
            async with http.post(url, data=packed_body, headers=packed_type) as packed:
                assert packed.content_type == MESSAGE_PACK
                assert msgspec.msgpack.decode(await packed.read()) == said
            async with http.post(url, data=b"{}", headers=packed_type) as neither:
                assert (neither.status, neither.content_type) == (400, "application/json")
    assert said["data"][0]["embedding"] == await there.embed_query("granite")


async def test_an_answer_that_cannot_be_read_is_a_failure_of_the_engine() -> None:
    async with served(embedder=HashingEmbedder(dimensions=8)) as door:
        with pytest.raises(DependencyError, match="cannot be read"):
            await door.client().ask(
                EMBEDDINGS,
                {"input": ["granite"], "model": ""},
                msgspec.msgpack.Decoder(int),
                DependencyError,
            )


async def test_vectors_are_the_same_to_the_last_bit() -> None:
    there = HashingEmbedder(dimensions=48)
    texts = ["granite kerb", "soft chalk", "x" * 5000]
    async with served(embedder=there) as door:
        here = RemoteEmbedder(door.client(), there.identity)
        assert await here.embed_documents(texts) == await there.embed_documents(texts)
        assert await here.embed_query(texts[0]) == await there.embed_query(texts[0])
        assert await here.embed_documents([]) == []


class CountedEmbedder(HashingEmbedder):
    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        count_tokens(7 * len(texts))
        return await super().embed_documents(texts)


async def test_what_the_engines_provider_counted_is_told() -> None:
    there = CountedEmbedder(dimensions=8)
    async with served(embedder=there) as door:
        here = RemoteEmbedder(door.client(), there.identity)
        with metered() as meter:
            await here.embed_documents(["granite", "chalk", "kerb"])
        with metered() as uncounted:
            await here.embed_query("granite")
    assert (meter.tokens, uncounted.tokens) == (21, 0)


async def test_a_question_waits_for_an_engine_that_is_started_again() -> None:
    index = MemoryIndex()
    await put(index, document("a", ["stone"]))
    async with served(index=index) as first:
        remote = RemoteIndex(client := first.client())
        assert len((await search(remote, "stone")).passages) == 1  # type: ignore[arg-type]
        first.clients.clear()
        path = first.path
    waiting = asyncio.create_task(search(remote, "stone"))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    os.makedirs(os.path.dirname(path))
    async with served(index=index, path=path):
        assert len((await waiting).passages) == 1
        await client.close()


async def test_an_engine_that_stays_away_is_given_up_in_time() -> None:
    async with served() as door:
        client = door.client(timeout_seconds=0.05)
    with pytest.raises(IndexUnavailable, match="gave no answer"):
        await client.ask(SEARCH, None, ANYTHING, IndexUnavailable)


async def test_what_breaks_the_engine_is_sent_three_times_at_most() -> None:
    heard = 0

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        await reader.readuntil(b"\r\n\r\n")
        heard += 1
        writer.close()

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = await asyncio.start_server(hang_up, sock=listener)
    client = EngineClient(
        address_of(f"http://127.0.0.1:{listener.getsockname()[1]}"), token="", timeout_seconds=30
    )
    with pytest.raises(EmbedderError):
        await client.ask(SEARCH, None, ANYTHING, EmbedderError)
    server.close()
    await client.close()
    assert heard == 3


async def test_an_engine_that_listens_and_says_nothing_is_given_up_sooner() -> None:
    listener = socket.socket(socket.AF_UNIX)
    folder = tempfile.mkdtemp(prefix="door-")
    listener.bind(path := f"{folder}/socket")
    listener.listen()
    client = EngineClient(EngineAddress(socket=path), token="", timeout_seconds=1e6)
    with pytest.raises(IndexUnavailable, match="gave no answer"):
        await client.ask(SEARCH, None, ANYTHING, IndexUnavailable, answer_seconds=0.05)
    await client.close()
    listener.close()
    shutil.rmtree(folder)


async def test_connections_of_a_burst_are_not_all_kept() -> None:
    index = MemoryIndex()
    await put(index, document("a", ["stone"]))
    async with served(index=index) as door:
        remote = RemoteIndex(client := door.client())
        found = await asyncio.gather(
            *(search(remote, "stone") for _ in range(80))  # type: ignore[arg-type]
        )
        assert all(len(result.passages) == 1 for result in found)
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(client._open) <= 32


async def test_a_cancelled_question_leaves_no_answer_to_the_next() -> None:
    index = MemoryIndex()
    await put(index, document("a", ["stone"]), document("b", ["chalk"]))
    async with served(index=index) as door:
        remote = RemoteIndex(door.client())
        for turns in range(12):
            asking = asyncio.create_task(
                search(remote, "stone", mode="lexical")  # type: ignore[arg-type]
            )
            for _ in range(turns):
                await asyncio.sleep(0)
            asking.cancel()
            found = await search(remote, "chalk", mode="lexical")  # type: ignore[arg-type]
            assert [passage.document_id for passage in found.passages] == ["b"]
            await asyncio.gather(asking, return_exceptions=True)


def test_an_error_of_another_process_keeps_its_class() -> None:
    error = startup_error("port_in_use", "Port 1 is in use.", "Give another.", "server.port")
    assert type(error).__name__ == "PortInUse"
    assert (error.message, error.remedy, error.field) == (
        "Port 1 is in use.",
        "Give another.",
        "server.port",
    )
