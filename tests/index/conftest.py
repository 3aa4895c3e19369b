from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ragstone.index.memory import MemoryIndex
from ragstone.index.qdrant_edge import QdrantEdgeIndex
from ragstone.index.remote import RemoteIndex
from ragstone.ports import Index, Searcher
from tests.hop.engine import served


class SearchedOverHop:
    """Implements `ports.Index`: searches as a gateway does, changes as its engine does."""

    def __init__(self, engine: Index, searcher: Searcher) -> None:
        self.search = searcher.search
        self.replace = engine.replace
        self.delete = engine.delete
        self.optimize = engine.optimize
        self.drop = engine.drop
        self.close = engine.close


@pytest.fixture(params=["memory", "edge", "remote"])
async def index(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Index]:
    opened: Index = MemoryIndex() if request.param == "memory" else QdrantEdgeIndex(tmp_path)
    if request.param == "remote":
        async with served(index=opened) as door:
            yield SearchedOverHop(opened, RemoteIndex(door.client()))
    else:
        yield opened
    await opened.close()


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[QdrantEdgeIndex]:
    opened = QdrantEdgeIndex(tmp_path)
    yield opened
    await opened.close()
