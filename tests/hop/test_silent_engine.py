"""What an engine costs its questions that falls silent, or is killed: on virtual time."""

import asyncio
from typing import cast

import msgspec
import pytest

from ragstone.domain.errors import IndexUnavailable
from ragstone.hop.address import EngineAddress
from ragstone.hop.client import ANSWER_SECONDS, EngineClient
from ragstone.hop.connection import ConnectionBroken, EngineConnection
from ragstone.hop.patience import SHORT_SECONDS
from tests.virtual_loop import run

_ANSWERS = msgspec.msgpack.Decoder(int)
_SEVEN = (200, msgspec.msgpack.encode(7))


class Engine:
    """Takes `seconds` for an answer to what is asked from now on."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.life = 0
        """One more after each kill."""
        self.client = Client(self)

    async def ask(self) -> int:
        return await self.client.ask("/", None, _ANSWERS, IndexUnavailable)

    async def refusal(self) -> float:
        """Asks in vain; for how long."""
        now = asyncio.get_running_loop().time
        began = now()
        with pytest.raises(IndexUnavailable):
            await self.ask()
        return now() - began


class Connection:
    is_usable = True

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._life = engine.life

    async def exchange(self, request: bytes, seconds: float) -> tuple[int, bytes]:
        async with asyncio.timeout(seconds):
            await asyncio.sleep(self._engine.seconds)
        if self._life != self._engine.life:
            raise ConnectionBroken
        return _SEVEN

    def close(self) -> None:
        """Nothing is open."""


class Client(EngineClient):
    def __init__(self, engine: Engine) -> None:
        super().__init__(EngineAddress(socket="-"), token="-", timeout_seconds=30)
        self._engine = engine

    async def _connect(self) -> EngineConnection:
        return cast(EngineConnection, Connection(self._engine))


def test_only_the_first_question_waits_long_for_an_engine_that_is_silent() -> None:
    async def scenario() -> None:
        engine = Engine()
        engine.seconds = 1000.0
        assert await engine.refusal() == pytest.approx(ANSWER_SECONDS)
        for _ in range(20):  # the tries among them as well: others may wait for the same
            assert await engine.refusal() == pytest.approx(SHORT_SECONDS)
        await engine.client.close()

    run(scenario())


def test_an_engine_that_is_only_slow_is_found_out_by_a_question_that_nobody_waits_for() -> None:
    async def scenario() -> None:
        engine = Engine()
        engine.seconds = 1000.0
        await engine.refusal()
        engine.seconds = 2 * SHORT_SECONDS
        assert await engine.refusal() == pytest.approx(SHORT_SECONDS)
        await asyncio.sleep(SHORT_SECONDS + 0.01)  # its try has been answered
        assert await engine.ask() == 7
        await engine.client.close()

    run(scenario())


def test_a_killed_engine_costs_one_sending_however_many_connections_it_breaks() -> None:
    async def scenario() -> None:
        engine = Engine()
        engine.seconds = 0.001
        await asyncio.gather(*(engine.ask() for _ in range(8)))
        engine.life += 1  # the loop has not read yet that the kept connections have ended
        assert await engine.ask() == 7
        await engine.client.close()

    run(scenario())
