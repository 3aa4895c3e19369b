"""Accounts, their slices and who holds them. Functions over a connection inside a transaction.

Rows are locked in one order for everybody: the holder's, the budgets', the accounts' by their
keys, the hours' of usage. So nobody waits for one who waits for him.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, RowMapping, Select, delete, insert, select, tuple_, update

from ragstone.domain.budget import Account, Grant, LedgerReport, Want
from ragstone.records import budget_rows, usage_rows
from ragstone.records.slices import (
    Counted,
    Slice,
    booked,
    cap_of,
    charged,
    freed,
    grant,
    granted,
    wanted_of,
)
from ragstone.records.statements import BATCH, insert_or_ignore, insert_or_replace
from ragstone.records.tables import budget_accounts as accounts
from ragstone.records.tables import budget_grants as answers
from ragstone.records.tables import budget_holders as holders
from ragstone.records.tables import budget_slices as slices

_ACCOUNT: Final = ("budget_id", "name", "period_start", "pool")
_Standing = dict[Account, tuple[Counted, Slice]]


def lease(
    connection: Connection,
    holder: str,
    wants: Sequence[Want],
    *,
    number: int | None,
    until: float,
    now: float,
    answers_since: float,
) -> list[Grant]:
    """`number`'s earlier grants where it had some since `answers_since`."""
    ended = _prolong(connection, holder, until).ended
    if number is not None:
        earlier = _answered(connection, holder, number, since=answers_since)
        if earlier is not None:
            return earlier
    grants = _grant(connection, holder, wants, ended=ended)
    if number is not None:
        _answer(connection, holder, number, grants, now=now)
    return grants


def report(connection: Connection, given: LedgerReport, *, until: float) -> None:
    holder = given.holder
    if given.sequence <= _prolong(connection, holder, until).sequence:
        return
    own = _slices(connection, holder) if given.last else {}
    standing = _standing(connection, holder, {*own, *(of.account for of in given.accounts)})
    for of in given.accounts:
        counted, slice_ = standing[of.account]
        standing[of.account] = booked(counted, slice_, of)
    if given.last:
        standing = {account: (freed(*both), Slice()) for account, both in standing.items()}
        connection.execute(delete(answers).where(answers.c.holder == holder))
    _put(connection, holder, standing)
    usage_rows.add(connection, given.usage)
    connection.execute(
        update(holders)
        .where(holders.c.holder == holder)
        .values(sequence=given.sequence, ended=holders.c.ended | given.last)
    )


def expired(connection: Connection, *, now: float) -> list[str]:
    """Holders of something, whose lease has run out."""
    query = (
        select(holders.c.holder)
        .where(holders.c.lease_until <= now)
        .where(
            select(slices.c.holder)
            .where(slices.c.holder == holders.c.holder, slices.c.held > 0)
            .exists()
        )
        .order_by(holders.c.holder)
    )
    return list(connection.execute(query).scalars())


def charge(connection: Connection, holder: str, *, now: float) -> bool:
    """False if its lease was prolonged meanwhile, or if it holds nothing any more."""
    query = select(holders.c.lease_until).where(holders.c.holder == holder).with_for_update()
    until = connection.execute(query).scalar_one_or_none()
    if until is None or until > now:
        return False
    out = [account for account, slice_ in _slices(connection, holder).items() if slice_.held]
    standing = _standing(connection, holder, out)
    _put(connection, holder, {account: charged(*both) for account, both in standing.items()})
    return bool(out)


def forget(connection: Connection, *, before: float, days: int) -> None:
    """What nobody will ask for again: holders and accounts that are long over. So many days with
    usage must follow them, too: a clock that is ahead makes a few, whatever it says."""
    busy = usage_rows.day_back(connection, days)
    if busy is None:
        return
    before = min(before, busy)
    old = select(holders.c.holder).where(holders.c.lease_until < before)
    for table in (slices, answers, holders):
        connection.execute(delete(table).where(table.c.holder.in_(old)))
    connection.execute(
        delete(accounts).where(accounts.c.period_start < before, accounts.c.outstanding == 0)
    )


def _prolong(connection: Connection, holder: str, until: float) -> Row[Any]:
    """The holder's row as it was, locked."""
    new = {"holder": holder, "lease_until": until, "sequence": 0, "ended": False}
    insert_or_ignore(connection, holders, [new])
    row = connection.execute(
        update(holders)
        .where(holders.c.holder == holder)
        .values(lease_until=until)
        .returning(holders.c.sequence, holders.c.ended)
    )
    return row.one()


def _grant(
    connection: Connection, holder: str, wants: Sequence[Want], *, ended: bool
) -> list[Grant]:
    budgets = budget_rows.held_still(connection, (want.account.budget_id for want in wants))
    there = {want.account for want in wants if wanted_of(budgets, want)}
    standing = _standing(connection, holder, there)
    grants, changed = [], {}
    for want in wants:
        account = want.account
        if (budget := wanted_of(budgets, want)) is None:
            grants.append(Grant(account=account, amount=0, used=0, cap=0))
            continue
        cap = cap_of(budget, account.pool)
        counted, slice_ = standing[account]
        amount = 0 if ended else grant(counted, want, cap)
        if amount:
            counted, slice_ = granted(counted, slice_, amount)
            standing[account] = changed[account] = counted, slice_
        grants.append(Grant(account=account, amount=amount, used=counted.used, cap=cap))
    _put(connection, holder, changed)
    return grants


def _answered(
    connection: Connection, holder: str, number: int, *, since: float
) -> list[Grant] | None:
    connection.execute(
        delete(answers).where(answers.c.holder == holder, answers.c.granted_at < since)
    )
    found = connection.execute(
        select(answers.c.grants).where(answers.c.holder == holder, answers.c.number == number)
    ).scalar_one_or_none()
    return None if found is None else msgspec.convert(found, list[Grant])


def _answer(
    connection: Connection, holder: str, number: int, grants: list[Grant], *, now: float
) -> None:
    connection.execute(
        insert(answers),
        {
            "holder": holder,
            "number": number,
            "granted_at": now,
            "grants": msgspec.to_builtins(grants),
        },
    )


def _standing(connection: Connection, holder: str, of: Collection[Account]) -> _Standing:
    """Each account, locked, and what the holder has of it."""
    wanted = sorted(of, key=_key)
    counted: dict[Account, Counted] = {}
    own: dict[Account, Slice] = {}
    for start in range(0, len(wanted), BATCH):
        batch = wanted[start : start + BATCH]
        zero = {"settled": 0, "outstanding": 0}
        insert_or_ignore(connection, accounts, [{**_columns(one), **zero} for one in batch])
        keys = [_key(one) for one in batch]
        where = tuple_(*(accounts.c[name] for name in _ACCOUNT)).in_(keys)
        order = [accounts.c[name] for name in _ACCOUNT]
        query = select(accounts).where(where).order_by(*order).with_for_update()
        for row in connection.execute(query).mappings():
            counted[_account(row)] = Counted(row["settled"], row["outstanding"])
        where = tuple_(*(slices.c[name] for name in _ACCOUNT)).in_(keys)
        own |= _found(connection, select(slices).where(slices.c.holder == holder, where))
    return {account: (counted[account], own.get(account, Slice())) for account in wanted}


def _slices(connection: Connection, holder: str) -> dict[Account, Slice]:
    return _found(connection, select(slices).where(slices.c.holder == holder))


def _found(connection: Connection, query: Select[Any]) -> dict[Account, Slice]:
    return {
        _account(row): Slice(row["held"], row["charged"])
        for row in connection.execute(query).mappings()
    }


def _put(connection: Connection, holder: str, standing: _Standing) -> None:
    if not standing:
        return
    insert_or_replace(
        connection,
        accounts,
        [
            {**_columns(account), "settled": counted.settled, "outstanding": counted.outstanding}
            for account, (counted, _) in standing.items()
        ],
    )
    insert_or_replace(
        connection,
        slices,
        [
            {
                "holder": holder,
                **_columns(account),
                "held": slice_.held,
                "charged": slice_.charged,
            }
            for account, (_, slice_) in standing.items()
        ],
    )
    connection.execute(
        delete(slices).where(slices.c.holder == holder, slices.c.held == 0, slices.c.charged == 0)
    )


def _account(row: RowMapping) -> Account:
    return Account(row["budget_id"], row["name"], row["period_start"], row["pool"])


def _columns(account: Account) -> dict[str, Any]:
    return dict(zip(_ACCOUNT, _key(account), strict=True))


def _key(account: Account) -> tuple[str, str, int, str]:
    return (account.budget_id, account.name, account.period_start, account.pool)
