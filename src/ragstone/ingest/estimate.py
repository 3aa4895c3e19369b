"""What ingesting a source would do and cost, before anything is embedded or stored."""

from collections.abc import Sequence
from contextlib import aclosing

import msgspec

from ragstone.domain.document import DocumentSource, ParsedDocument
from ragstone.domain.errors import BudgetExhausted, RagstoneError
from ragstone.domain.usage import NANODOLLARS
from ragstone.ingest.chunk import Chunker
from ragstone.ingest.funds import Funds
from ragstone.ingest.intake import Ticket
from ragstone.ingest.prepare import cut, identified, same
from ragstone.ingest.publish import Prepared
from ragstone.ports import Parser, Records

_LOOKED_UP = 64
"""Documents compared with the records at once."""


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """Of one source. It is read and cut as it would be, so only the tokens are an estimate."""

    source_name: str
    documents: int = 0
    """That can be read."""
    unchanged: int = 0
    """Of these, there already: they cost nothing."""
    failed: int = 0
    """That cannot be read."""
    chunks: int = 0
    """To be embedded."""
    tokens: int = 0
    nanodollars: int = 0
    """0 where the embedder costs nothing."""


class Estimator:
    """Reads and cuts sources, and adds up."""

    def __init__(
        self, parser: Parser, records: Records, chunker: Chunker, funds: Funds | None
    ) -> None:
        self._parser = parser
        self._records = records
        self._chunker = chunker
        self._funds = funds

    async def estimate(self, ticket: Ticket, source: DocumentSource) -> Estimate:
        """Raises `Unreadable`, `RecordsUnavailable`."""
        total, waiting = Estimate(source_name=source.name), list[Prepared]()
        async with aclosing(self._parser.parse(source)) as items:
            async for item in items:
                prepared = _prepared(ticket, item) if isinstance(item, ParsedDocument) else None
                if prepared is None:
                    total = _plus(total, failed=1)
                    continue
                waiting.append(prepared)
                if len(waiting) == _LOOKED_UP:
                    total = await self._with(total, ticket.lane[0], waiting)
                    waiting.clear()
        return await self._with(total, ticket.lane[0], waiting)

    async def check(self, ticket: Ticket, source: DocumentSource) -> None:
        """Nothing where there is no cap. Raises `BudgetExhausted` above it."""
        if self._funds is None or not (most := self._funds.most_nanodollars):
            return
        cost = (await self.estimate(ticket, source)).nanodollars
        if cost > most:
            raise BudgetExhausted(
                f"Embedding {source.name!r} would cost about ${cost / NANODOLLARS:.6f}; "
                f"{_SETTING} allows ${most / NANODOLLARS:.6f} for one job.",
                remedy=f"Raise {_SETTING}, or ingest less at once.",
                field=_SETTING,
            )

    async def _with(self, total: Estimate, tenant: str, items: Sequence[Prepared]) -> Estimate:
        ids = [item.document_id for item in items]
        known = await self._records.documents_by_id(tenant, ids) if ids else {}
        for item in items:
            if same(item, known):
                total = _plus(total, documents=1, unchanged=1)
                continue
            await cut(self._chunker, item)
            texts = item.embedding_texts
            if self._funds is None:
                tokens, cost = sum(map(self._chunker.counter.count, texts)), 0
            else:
                found = self._funds.cost(texts)
                tokens, cost = found.tokens, found.nanodollars
            total = _plus(total, documents=1, chunks=len(texts), tokens=tokens, nanodollars=cost)
        return total


_SETTING = "ingest.max_cost_dollars"


def _prepared(ticket: Ticket, parsed: ParsedDocument) -> Prepared | None:
    try:
        return identified(ticket, parsed)
    except RagstoneError:
        return None


def _plus(
    total: Estimate,
    *,
    documents: int = 0,
    unchanged: int = 0,
    failed: int = 0,
    chunks: int = 0,
    tokens: int = 0,
    nanodollars: int = 0,
) -> Estimate:
    return Estimate(
        source_name=total.source_name,
        documents=total.documents + documents,
        unchanged=total.unchanged + unchanged,
        failed=total.failed + failed,
        chunks=total.chunks + chunks,
        tokens=total.tokens + tokens,
        nanodollars=total.nanodollars + nanodollars,
    )
