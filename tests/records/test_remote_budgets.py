"""A gateway's ledger gets slices and reports through its engine, each exactly once."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest

from ragstone.domain.budget import Grant, LedgerReport, Want
from ragstone.domain.errors import InvalidRequest, RecordsUnavailable
from ragstone.hop.address import EngineAddress
from ragstone.hop.client import EngineClient
from ragstone.hop.messages import LEASE, LeaseAsked, ReportGiven
from ragstone.ports import BudgetRecords
from ragstone.records.memory_budgets import MemoryBudgets
from ragstone.records.remote_budgets import RemoteBudgets
from tests.clock import VirtualClock
from tests.hop.engine import served
from tests.records.budget_samples import a_budget, a_report, a_row, a_want, an_account

SECONDS = 30.0


@pytest.fixture
async def remote(budgets: BudgetRecords) -> AsyncIterator[RemoteBudgets]:
    async with served(budgets=budgets) as door:
        yield RemoteBudgets(door.client())


async def test_what_a_ledger_needs_is_as_in_the_engine(
    budgets: BudgetRecords, remote: RemoteBudgets, clock: VirtualClock
) -> None:
    made = await budgets.put_budget(a_budget(name="schön", scope="user", hard_limit=2**62))
    assert await remote.budgets("acme") == [made]
    assert await remote.budgets("evil") == []
    account = an_account(name="schön", pool="hard")
    wants = [a_want(account, most=2**61), a_want(an_account("none"))]
    (grant, nothing) = await remote.lease("h1", wants, seconds=SECONDS)
    assert (grant.account, grant.amount, grant.used, grant.cap) == (account, 2**61, 2**61, 2**62)
    assert nothing.amount == 0
    report = a_report(1, (account, 5, 2**61 - 10), usage=(a_row(), a_row()))
    await remote.report(report, seconds=SECONDS)
    (line,) = await budgets.spent("acme")
    assert (line.hard_settled, line.hard_outstanding) == (5, 5)
    clock.advance(SECONDS)
    assert await remote.expire() == ["h1"]
    (line,) = await budgets.spent("acme")
    assert (line.hard_settled, line.hard_outstanding) == (10, 0)


async def test_a_number_of_the_ledgers_own_is_kept(
    budgets: BudgetRecords, remote: RemoteBudgets
) -> None:
    await budgets.put_budget(a_budget())
    numbers = [7, 7, 8, None, None]
    for number in numbers:
        await remote.lease("h1", [a_want()], seconds=SECONDS, number=number)
    (line,) = await budgets.spent("acme")
    assert line.outstanding == 40


async def test_what_the_engine_refuses_is_raised_as_it_was_there(remote: RemoteBudgets) -> None:
    with pytest.raises(InvalidRequest, match="less than nothing"):
        await remote.report(a_report(1, (an_account(), -1, 0)), seconds=SECONDS)


async def test_an_answer_that_is_none_is_said(clock: VirtualClock) -> None:
    class OfAnotherVersion(MemoryBudgets):
        async def lease(
            self, holder: str, wants: Sequence[Want], *, seconds: float, number: int | None = None
        ) -> list[Grant]:
            return ["granted"]  # type: ignore[list-item]

    async with served(budgets=OfAnotherVersion(clock)) as door:
        with pytest.raises(RecordsUnavailable, match="cannot be read"):
            await RemoteBudgets(door.client()).lease("h1", [], seconds=SECONDS)


@pytest.mark.parametrize("lost", [1, 2])
async def test_answers_lost_on_the_way_neither_grant_nor_book_twice(
    lost: int, clock: VirtualClock
) -> None:
    budgets = MemoryBudgets(clock)
    await budgets.put_budget(a_budget())
    async with LosingAnswers(budgets, lost) as address:
        client = EngineClient(address, token="", timeout_seconds=30)
        remote = RemoteBudgets(client)
        (grant,) = await remote.lease("h1", [a_want()], seconds=SECONDS)
        assert grant.amount == 10
        await remote.report(a_report(1, (an_account(), 3, 2)), seconds=SECONDS)
        await client.close()
    (line,) = await budgets.spent("acme")
    assert (line.settled, line.outstanding) == (3, 5)


class LosingAnswers:
    """An engine that carries everything out, and breaks off before it answers, `lost` times."""

    def __init__(self, budgets: MemoryBudgets, lost: int) -> None:
        self._budgets = budgets
        self._lost = dict.fromkeys((True, False), lost)
        self._serving: set[asyncio.Task[None]] = set()
        self._folder = Path(tempfile.mkdtemp(prefix="door-"))

    async def __aenter__(self) -> EngineAddress:
        path = str(self._folder / "socket")
        self._server = await asyncio.start_unix_server(self._serve, path)
        return EngineAddress(socket=path)

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await asyncio.gather(*self._serving)
        shutil.rmtree(self._folder)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        while head := await reader.readline():
            length = 0
            while (line := await reader.readline()).strip():
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            body = await reader.readexactly(length)
            leases = LEASE.encode() in head
            answer = msgspec.msgpack.encode(await self._carry_out(leases, body))
            if self._lost[leases]:
                self._lost[leases] -= 1
                break
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))
        writer.close()
        await writer.wait_closed()

    async def _carry_out(self, leases: bool, body: bytes) -> object:
        if not leases:
            given = msgspec.msgpack.decode(body, type=ReportGiven)
            assert isinstance(given.report, LedgerReport)
            await self._budgets.report(given.report, seconds=given.seconds)
            return None
        asked = msgspec.msgpack.decode(body, type=LeaseAsked)
        return await self._budgets.lease(
            asked.holder, asked.wants, seconds=asked.seconds, number=asked.number
        )
