"""How a usage report names its lines, alike for every implementation."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import msgspec

from ragstone.domain.budget import UsageBy, UsageRow, UsageTotal
from ragstone.records.storable import storable_text

HOUR: Final = 3_600
DAY: Final = 86_400


def whole_hours(since: float, until: float) -> tuple[int, int]:
    """The first hour, and the end (not part of it), of what a report sums up."""
    return int(since // HOUR) * HOUR, int(-(-until // HOUR)) * HOUR


def day_text(start: int) -> str:
    return datetime.fromtimestamp(start, UTC).strftime("%Y-%m-%d")


def hour_text(start: int) -> str:
    return datetime.fromtimestamp(start, UTC).strftime("%Y-%m-%dT%H:00Z")


LABELS: Final[dict[UsageBy, Callable[[UsageRow], str]]] = {
    "tenant": lambda row: row.tenant,
    "application": lambda row: row.application,
    "model": lambda row: row.model,
    "key": lambda row: row.key_id,
    "user": lambda row: row.user,
    "day": lambda row: day_text(row.hour - row.hour % DAY),
    "hour": lambda row: hour_text(row.hour),
}


def storable_row(row: UsageRow) -> UsageRow:
    """Of its full hour, with names that can be stored: a report must not fail for a name."""
    return msgspec.structs.replace(
        row,
        hour=row.hour - row.hour % HOUR,
        tenant=storable_text(row.tenant),
        application=storable_text(row.application),
        model=storable_text(row.model),
        key_id=storable_text(row.key_id),
        user=storable_text(row.user),
    )


def in_order(totals: list[UsageTotal], by: UsageBy) -> list[UsageTotal]:
    """By time, or the dearest first."""
    return sorted(totals, key=lambda total: total.place(by))
