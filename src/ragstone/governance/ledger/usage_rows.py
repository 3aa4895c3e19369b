"""What was used, summed up by hour, tenant, application, model, key and user."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from ragstone.domain.budget import Amount, Spender, UsageRow
from ragstone.domain.usage import Usage
from ragstone.governance.ledger.sharing import share

UNFINISHED: Final = "unfinished"
"""Stands for the model in the usage of what was reserved and never settled."""

_HOUR: Final = 3_600
_UNSUMMED: Final = 512
"""Rows that are kept as they came: adding up many at once costs less, and memory is bounded."""

_Key = tuple[int, str, str, str, str, str]


class UsageRows:
    """Collects rows until they are taken."""

    def __init__(self) -> None:
        self._rows: list[UsageRow] = []
        self._summed = 0

    def add(self, rows: Iterable[UsageRow]) -> None:
        self._rows.extend(rows)
        if len(self._rows) >= max(_UNSUMMED, 2 * self._summed):
            self._rows = summed(self._rows)
            self._summed = len(self._rows)

    def take(self) -> list[UsageRow]:
        rows, self._rows, self._summed = summed(self._rows), [], 0
        return rows

    def __bool__(self) -> bool:
        return bool(self._rows)


def at_hour(rows: Sequence[UsageRow], now: float) -> Sequence[UsageRow]:
    """Those without an hour get that of `now`, in Unix seconds."""
    hour = int(now) // _HOUR * _HOUR
    return [row if row.hour else msgspec.structs.replace(row, hour=hour) for row in rows]


def unfinished_rows(spenders: Sequence[Spender], upper: Amount, at: float) -> Sequence[UsageRow]:
    """Of a reservation that nobody settled, which is charged in full to those who share it."""
    parties = len(spenders)
    rows = [
        UsageRow(
            hour=0,
            tenant=spender.tenant,
            application=spender.application,
            model=UNFINISHED,
            key_id=spender.key_id or "",
            user=spender.user or "",
            usage=Usage(input_tokens=share(upper.tokens, parties, place), estimated=True),
            nanodollars=share(upper.nanodollars, parties, place),
        )
        for place, spender in enumerate(spenders)
    ]
    return at_hour(rows, at)


def summed(rows: Iterable[UsageRow]) -> list[UsageRow]:
    """One row for each hour, tenant, application, model, key and user."""
    sums: dict[_Key, UsageRow] = {}
    for row in rows:
        key = (row.hour, row.tenant, row.application, row.model, row.key_id, row.user)
        earlier = sums.get(key)
        sums[key] = row if earlier is None else _plus(earlier, row)
    return list(sums.values())


def _plus(one: UsageRow, other: UsageRow) -> UsageRow:
    return UsageRow(
        hour=one.hour,
        tenant=one.tenant,
        application=one.application,
        model=one.model,
        key_id=one.key_id,
        user=one.user,
        questions=one.questions + other.questions,
        cached=one.cached + other.cached,
        usage=one.usage + other.usage,
        nanodollars=one.nanodollars + other.nanodollars,
        saved_nanodollars=one.saved_nanodollars + other.saved_nanodollars,
    )
