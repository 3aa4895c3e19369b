"""How documents are read."""

from collections.abc import AsyncGenerator
from typing import Protocol

from ragstone.domain.document import DocumentSource, ParsedDocument
from ragstone.domain.job import DocumentError


class Parser(Protocol):
    """Bytes to documents, outside of this process."""

    def parse(self, source: DocumentSource) -> AsyncGenerator[ParsedDocument | DocumentError, None]:
        """Every document of the source, or why one of them could not be read.

        Closing the generator (`aclosing`) ends the reading.

        Raises `Unreadable` when the source as a whole cannot be read.
        """
        ...

    async def close(self) -> None: ...
