"""What a metadata filter means: checked against known fields, and evaluated on a document.

A field's values are of up to three kinds, kept apart because engines index them apart: text,
numbers and booleans. `any_of`, `gte` and `lte` hold when any element of a list satisfies
them (a lower and an upper bound must be met by the same element); `none_of` holds when no
element equals any of its values, and when the field is absent.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

from ragstone.domain.document import Metadata, Scalar
from ragstone.domain.errors import InvalidFilter, did_you_mean
from ragstone.domain.query import Filter

Kind = Literal["text", "number", "flag"]

KnownFields = Mapping[str, Iterable[Kind]]
"""Every metadata field of a shard with the kinds of its values."""

_KIND_NAMES: dict[Kind, str] = {"text": "text", "number": "numbers", "flag": "true/false values"}


def kind_of(value: Scalar) -> Kind:
    """`True` is a flag, not the number 1."""
    if isinstance(value, bool):
        return "flag"
    return "text" if isinstance(value, str) else "number"


def values_by_kind(metadata: Metadata) -> dict[tuple[str, Kind], list[Scalar]]:
    """A document's metadata taken apart: the values of each field and kind."""
    found: dict[tuple[str, Kind], list[Scalar]] = {}
    for field, value in metadata.items():
        for element in value if isinstance(value, list) else [value]:
            found.setdefault((field, kind_of(element)), []).append(element)
    return found


def check(filters: Iterable[Filter], known: KnownFields) -> None:
    """Raises `InvalidFilter` for a field that no document has, or has in another kind."""
    for condition in filters:
        if condition.field not in known:
            raise InvalidFilter(
                f"No document of this collection has the field {condition.field!r}.",
                remedy=did_you_mean(condition.field, known, what="fields"),
                field=condition.field,
            )
        kinds = set(known[condition.field])
        for asked in _kinds_asked(condition):
            if asked not in kinds:
                has = " and ".join(sorted(_KIND_NAMES[kind] for kind in kinds))
                raise InvalidFilter(
                    f"The field {condition.field!r} holds {has} and cannot be compared with "
                    f"{_KIND_NAMES[asked]}.",
                    remedy=f"Give {has}, or filter on another field.",
                    field=condition.field,
                )


def _kinds_asked(condition: Filter) -> set[Kind]:
    values = [*(condition.any_of or ()), *(condition.none_of or ())]
    kinds = {kind_of(value) for value in values}
    if condition.gte is not None or condition.lte is not None:
        kinds.add("number")
    return kinds


def matches(metadata: Metadata, filters: Iterable[Filter]) -> bool:
    """Whether a document with this metadata passes all of the filters."""
    return all(_holds(metadata, condition) for condition in filters)


def _holds(metadata: Metadata, condition: Filter) -> bool:
    value = metadata.get(condition.field)
    elements = [] if value is None else value if isinstance(value, list) else [value]
    typed = {(kind_of(element), element) for element in elements}
    if condition.any_of is not None and typed.isdisjoint(_typed(condition.any_of)):
        return False
    if condition.none_of is not None and not typed.isdisjoint(_typed(condition.none_of)):
        return False
    if condition.gte is None and condition.lte is None:
        return True
    return any(kind == "number" and _within(float(element), condition) for kind, element in typed)


def _typed(values: Iterable[Scalar]) -> set[tuple[Kind, Scalar]]:
    return {(kind_of(value), value) for value in values}


def _within(number: float, condition: Filter) -> bool:
    return (condition.gte is None or number >= condition.gte) and (
        condition.lte is None or number <= condition.lte
    )
