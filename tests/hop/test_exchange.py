"""What a gateway and an engine of two versions tell, and how much an engine reads."""

from collections.abc import AsyncIterator

import aiohttp
import msgspec
import pytest

from ragstone import __version__
from ragstone.assembly import gateway
from ragstone.domain.errors import DependencyError
from ragstone.hop.exchange import EXCHANGE, EXCHANGE_HEADER, MISMATCH, require_theirs
from ragstone.hop.messages import ABOUT, GENERATION, MESSAGE_PACK
from ragstone.hop.refusals import refusal_of
from ragstone.models.embedders.fake import HashingEmbedder
from tests.hop.engine import TOKEN, Door, served


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    async with served(embedder=HashingEmbedder()) as opened:
        yield opened


async def _refusal(door: Door, path: str, body: object, **headers: str) -> DependencyError:
    """As a gateway reads it."""
    head = {"Authorization": f"Bearer {TOKEN}", "Content-Type": MESSAGE_PACK, **headers}
    unix = aiohttp.UnixConnector(door.path)
    async with (
        aiohttp.ClientSession(connector=unix) as http,
        http.post(
            f"http://engine{path}", data=msgspec.msgpack.encode(body), headers=head
        ) as response,
    ):
        refusal = refusal_of(response.status, await response.read(), DependencyError)
    return refusal  # type: ignore[return-value]


async def test_a_newer_gateway_is_told_both_versions(door: Door) -> None:
    refusal = await _refusal(door, ABOUT, None, **{EXCHANGE_HEADER: "99; Ragstone 7.1.0"})
    assert type(refusal) is DependencyError
    assert refusal.field == MISMATCH
    assert "7.1.0 (exchange 99)" in refusal.message
    assert f"{__version__} (exchange {EXCHANGE})" in refusal.message


async def test_a_request_that_does_not_fit_is_told_the_version(door: Door) -> None:
    """Of a gateway that does not say which exchange is its own."""
    refusal = await _refusal(door, GENERATION, {"else": 1})
    assert f"Ragstone {__version__}" in refusal.message


async def test_a_gateway_does_not_begin_with_an_older_engine(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = door.client()
    about = await gateway._first_about(client)
    assert (about.exchange, about.version) == (EXCHANGE, __version__)
    monkeypatch.setattr("ragstone.hop.exchange.EXCHANGE", EXCHANGE + 1)
    with pytest.raises(DependencyError, match="do not understand each other") as told:
        await gateway._first_about(client)
    assert told.value.field == MISMATCH


def test_an_engine_without_a_number_has_the_first() -> None:
    with pytest.raises(DependencyError, match=r"its engine of 0\.0\.9 \(exchange 1\)"):
        require_theirs(1, "0.0.9")


@pytest.mark.parametrize("pieces", [1, 40])
async def test_an_engine_reads_no_more_than_it_ever_needs(
    door: Door, monkeypatch: pytest.MonkeyPatch, pieces: int
) -> None:
    monkeypatch.setattr("ragstone.server.engine.LARGEST_BODY", 1000)

    async def body() -> AsyncIterator[bytes]:
        for _ in range(pieces):
            yield b"x" * (2000 // pieces)

    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": MESSAGE_PACK}
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(door.path)) as http:
        async with http.post(f"http://engine{ABOUT}", data=body(), headers=headers) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (
                413,
                "payload_too_large",
            )
        small = msgspec.msgpack.encode(None)
        async with http.post(f"http://engine{ABOUT}", data=small, headers=headers) as response:
            assert response.status == 200
