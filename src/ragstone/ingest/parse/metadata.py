"""Whatever an author wrote about a document, as flat fields that can be filtered on."""

import json
import math
from collections.abc import Iterator, Mapping
from datetime import date, datetime

from ragstone.domain.document import Metadata, Scalar
from ragstone.ingest.parse.normalize import clean, one_line

_DEEPEST = 8
_INT64 = range(-(2**63), 2**63)


def flatten(values: Mapping[object, object]) -> Metadata:
    """Nested mappings become dotted keys; lists of one scalar type stay lists; null is left out.

    Dates become ISO 8601. Anything else, also a number that neither an int64 nor a finite
    double can hold, becomes text.
    """
    return dict(_flat(values, "", 1))


def _flat(
    values: Mapping[object, object], prefix: str, depth: int
) -> Iterator[tuple[str, Scalar | list[Scalar]]]:
    for key, value in values.items():
        name = prefix + one_line(str(key))
        if isinstance(value, Mapping) and depth < _DEEPEST:
            yield from _flat(value, name + ".", depth + 1)
        elif isinstance(value, list | tuple | set | frozenset):
            if items := [_scalar(item) for item in value if item is not None]:
                yield name, _uniform(items)
        elif value is not None and name:
            yield name, _scalar(value)


def _uniform(items: list[Scalar]) -> list[Scalar]:
    if all(isinstance(item, int) and not isinstance(item, bool) for item in items):
        return items
    if all(isinstance(item, int | float) and not isinstance(item, bool) for item in items):
        return [float(item) for item in items]
    return [item if isinstance(item, str) else json.dumps(item) for item in items]


def _scalar(value: object) -> Scalar:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        if value in _INT64:
            return value
        # str() refuses numbers of more than some 4,300 digits.
        return str(value) if value.bit_length() <= 4096 else hex(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Mapping | list | tuple):
        return clean(json.dumps(value, ensure_ascii=False, default=str))
    return clean(str(value))
