from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ragstone.index.memory import MemoryIndex
from ragstone.index.qdrant_edge import QdrantEdgeIndex
from ragstone.ports import Index


@pytest.fixture(params=["memory", "edge"])
async def index(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Index]:
    opened: Index = MemoryIndex() if request.param == "memory" else QdrantEdgeIndex(tmp_path)
    yield opened
    await opened.close()


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[QdrantEdgeIndex]:
    opened = QdrantEdgeIndex(tmp_path)
    yield opened
    await opened.close()
