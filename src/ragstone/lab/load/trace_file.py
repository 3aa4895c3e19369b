"""Arrival times recorded elsewhere, for replay.

Read are CSV files with a header, JSON lines, and plain lists of one time a line. The time is an
ISO 8601 date or seconds as a number. Known names of its column are in `COLUMNS`; the traces of
Azure's language model services (https://github.com/Azure/AzurePublicDataset) are such files.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ragstone.domain.errors import InvalidExperiment

COLUMNS: Final = ("timestamp", "time", "arrival", "arrival_time", "arrived", "seconds", "ts", "t")

_FRACTION: Final = re.compile(r"\.(\d{6})\d+")
"""`datetime` knows microseconds; Azure's traces have seven decimals."""


def read_trace(
    path: Path, *, start: float = 0.0, length: float | None = None, speed: float = 1.0
) -> NDArray[np.float64]:
    """Seconds of each arrival since the beginning of the cut, ascending.

    `start` and `length` cut seconds out of the trace as it was recorded; `speed` then makes them
    pass faster. Raises `InvalidExperiment`.
    """
    if speed <= 0:
        raise InvalidExperiment(
            f"A trace cannot be replayed at {speed:g} times its speed.",
            remedy="Give a factor above 0.",
        )
    times = np.sort(np.fromiter(_times(path), dtype=np.float64))
    if len(times) == 0:
        raise InvalidExperiment(f"The trace {path} has no arrivals.", remedy=_REMEDY)
    times -= times[0]
    end = np.inf if length is None else start + length
    cut = times[(times >= start) & (times < end)]
    if len(cut) == 0:
        raise InvalidExperiment(
            f"The trace {path} has no arrivals from second {start:g} on for that long; "
            f"it lasts {times[-1]:,.0f} s.",
            remedy="Cut another part of it.",
        )
    return np.asarray((cut - start) / speed, dtype=np.float64)


_REMEDY: Final = (
    "Give a CSV file with a header, JSON lines, or one time a line; the time, in seconds or as a "
    f"date, under one of the names {', '.join(COLUMNS)}."
)


def _times(path: Path) -> Iterator[float]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidExperiment(
            f"The trace {path} cannot be read: {reason}.", remedy=_REMEDY
        ) from None
    for number, value in _values(text, path):
        try:
            yield _seconds(value)
        except ValueError:
            raise InvalidExperiment(
                f"The trace {path} has no time in line {number}: {str(value)[:40]!r}.",
                remedy=_REMEDY,
            ) from None


def _values(text: str, path: Path) -> Iterable[tuple[int, object]]:
    """Line number and time of each record; the first line tells the format."""
    first = text.lstrip().partition("\n")[0].strip()
    if first.startswith("{"):
        return _of_json_lines(text)
    column = _column(next(csv.reader([first]), []))
    if column is not None:
        return _of_csv(text, column)
    try:
        _seconds(first.partition(",")[0])
    except ValueError:
        if not first:
            return ()
        raise InvalidExperiment(
            f"The trace {path} begins with {first[:60]!r}, which is no known format.",
            remedy=_REMEDY,
        ) from None
    return _of_csv(text, 0, header=False)


def _of_json_lines(text: str) -> Iterator[tuple[int, object]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        names = list(record) if isinstance(record, dict) else []
        column = _column(names)
        yield number, line if column is None else record[names[column]]


def _of_csv(text: str, column: int, *, header: bool = True) -> Iterator[tuple[int, object]]:
    rows = csv.reader(io.StringIO(text))
    for row in rows:
        if row and not (header and rows.line_num == 1):
            yield rows.line_num, row[column] if column < len(row) else ""


def _column(names: list[str]) -> int | None:
    lowered = [name.strip().lower() for name in names]
    return next((lowered.index(known) for known in COLUMNS if known in lowered), None)


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("neither a number nor a text")
    try:
        seconds = float(value)
    except ValueError:
        date = datetime.fromisoformat(_FRACTION.sub(r".\1", str(value).strip()))
        seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    if not np.isfinite(seconds):
        raise ValueError("not finite")
    return seconds
