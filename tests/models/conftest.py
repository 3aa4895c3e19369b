"""A session, a server and the wire formats for tests of the language models."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from ragstone.models.llms.connection import open_session
from tests.models.model_server import (
    ModelServer,
    model_server,
)
from tests.models.wires import WIRES, Wire


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest) -> Wire:
    return WIRES[request.param]


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    # One connection: whatever leaks it makes the next call wait for ever.
    async with await open_session(max_connections=1) as opened:
        yield opened


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    async with model_server() as running:
        yield running
