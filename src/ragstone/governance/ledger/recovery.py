"""What the journal of a process that has ended still has to say."""

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from ragstone.domain.budget import AccountReport, Amount, LedgerReport, Spender, UsageRow
from ragstone.domain.errors import RagstoneError
from ragstone.governance.ledger.journal import (
    FORMAT,
    SUFFIX,
    Begun,
    Damaged,
    Joined,
    Named,
    Record,
    Reported,
    Reporting,
    Reserved,
    Settled,
    Used,
    boot_id,
    dead_journal,
    read_records,
)
from ragstone.governance.ledger.usage_rows import summed, unfinished_rows
from ragstone.ports import BudgetStore

_AT_ONCE: Final = 256
"""Records that are read without a pause: about a millisecond."""

_log = structlog.get_logger("ragstone.ledger")


async def recover_journals(folder: Path, store: BudgetStore, *, seconds: float) -> int:
    """Reports what processes that ended in the midst of things left, and removes their journals;
    returns how many there were. Raises `RecordsUnavailable`; what was not recovered then is there
    for the next call, and nothing counts twice."""
    recovered = 0
    for path in _journals(folder):
        with dead_journal(path) as content:
            if content is None:
                continue
            try:
                for report in await reports_of(content, inode=path.stat().st_ino):
                    await store.report(report, seconds=seconds)
            except Exception as error:
                if isinstance(error, RagstoneError) and error.retriable:
                    raise
                _set_aside(path)
                continue
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            recovered += 1
            _log.warning("recovered the ledger of a process that ended", holder=path.stem)
    return recovered


def _set_aside(path: Path) -> None:
    """So that one journal which says what cannot be does not keep the others waiting. The end of
    the lease charges all that its process held."""
    _log.exception("a journal of the ledger cannot be recovered", path=str(path))
    with contextlib.suppress(OSError):
        path.rename(path.with_suffix(".damaged"))


async def reports_of(content: bytes, *, inode: int) -> list[LedgerReport]:
    """The report that may not have arrived, then the rest of it. Open reservations are charged
    in full: their model may have been asked. Nothing from a file without a beginning, and from
    the copy of one: its process may live.

    Where the end of what was written may be missing, as after a crash of the machine or behind a
    damaged or torn record, the report is not the last: the rest is charged when the lease runs out.
    """
    records = read_records(content)
    try:
        begun = next(records, None)
    except Damaged:
        return []
    if not isinstance(begun, Begun) or (begun.format, begun.inode) != (FORMAT, inode):
        return []
    left, whole = _Left(begun.holder), begun.boot == boot_id()
    try:
        for count, record in enumerate(records):
            left.hear(record)
            if count % _AT_ONCE == 0:
                await asyncio.sleep(0)  # others may go on meanwhile
    except Damaged:
        whole = False
    return left.reports(last=whole)


def _journals(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"[!.]*{SUFFIX}"))


@dataclass(slots=True)
class _Left:
    """Follows a journal to its end."""

    holder: str
    sequence: int = 0
    accounts: dict[int, Named] = field(default_factory=dict)
    open: dict[int, tuple[Reserved, list[Spender], list[int]]] = field(default_factory=dict)
    charged: Counter[int] = field(default_factory=Counter)
    rows: list[UsageRow] = field(default_factory=list)
    under_way: LedgerReport | None = None

    def hear(self, record: Record) -> None:
        match record:
            case Named():
                self.accounts[record.number] = record
            case Reserved():
                self.open[record.number] = (record, [record.spender], list(record.slices))
            case Joined():
                _, spenders, slices = self.open[record.number]
                spenders.append(record.spender)
                slices.extend(record.slices)
            case Settled():
                self.open.pop(record.number, None)
                self.charged.update(dict(record.charges))
                self.rows.extend(record.rows)
            case Used():
                self.rows.extend(record.rows)
            case Reporting():
                self._reporting(record)
            case Reported():
                self.under_way = None

    def reports(self, *, last: bool) -> list[LedgerReport]:
        for reserved, spenders, slices in self.open.values():
            for number in slices:
                self.charged[number] += self._in_unit(number, reserved.upper)
            self.rows.extend(unfinished_rows(spenders, reserved.upper, reserved.at))
        accounts = [
            AccountReport(self.accounts[number].account, settled, 0)
            for number, settled in self.charged.items()
            if settled
        ]
        rest = LedgerReport(
            holder=self.holder,
            sequence=self.sequence + 1,
            accounts=accounts,
            usage=summed(self.rows),
            last=last,
        )
        return [rest] if self.under_way is None else [self.under_way, rest]

    def _reporting(self, record: Reporting) -> None:
        self.sequence = record.sequence
        self.under_way = LedgerReport(
            holder=self.holder,
            sequence=record.sequence,
            accounts=[
                AccountReport(self.accounts[number].account, settled, returned)
                for number, settled, returned in record.accounts
            ],
            usage=summed(self.rows),
        )
        self.rows = []
        for number, settled, _ in record.accounts:
            self.charged[number] -= settled

    def _in_unit(self, number: int, amount: Amount) -> int:
        return amount.tokens if self.accounts[number].tokens else amount.nanodollars
