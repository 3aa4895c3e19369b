"""Experiments as frozen structs that JSON changes in part, at the start or while they run."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec

from ragstone.domain.errors import InvalidExperiment, did_you_mean

_S = TypeVar("_S", bound=msgspec.Struct)


def changed(current: _S, change: bytes | Mapping[str, Any], *, what: str) -> _S:
    """`current` with the fields that `change` names; structs inside are changed in part too.

    Raises `InvalidExperiment` for what is not JSON, an unknown name (with the nearest), and a
    value that cannot be. `what` names the thing in the sentence: "behaviour".
    """
    fields = _decoded(change, what) if isinstance(change, bytes) else change
    _check_names(type(current), fields, what)
    merged = _merged(msgspec.to_builtins(current), fields)
    try:
        return msgspec.convert(merged, type(current))
    except msgspec.ValidationError as error:
        raise InvalidExperiment(
            f"The {what} cannot be so: {str(error)[:200].rstrip('.')}.",
            remedy=f"docs/lab.md lists the fields of a {what} and their bounds.",
            field=what,
        ) from None


def read_change(given: str, *, what: str) -> bytes:
    """The JSON of an option: itself when it begins with `{`, else the file of that name.

    Raises `InvalidExperiment` when there is no such file.
    """
    if given.lstrip().startswith("{"):
        return given.encode()
    try:
        return Path(given).read_bytes()
    except OSError as error:
        raise InvalidExperiment(
            f"The {what} {given[:100]!r} cannot be read: {(error.strerror or str(error)).lower()}.",
            remedy="Give a file with JSON, or the JSON itself.",
            field=what,
        ) from None


def _decoded(change: bytes, what: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(change, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidExperiment(
            f"The {what} is not a JSON object: {str(error)[:100].rstrip('.')}.",
            remedy='Write it like {"tokens": 20}.',
            field=what,
        ) from None


def _check_names(kind: type[msgspec.Struct], fields: Mapping[str, Any], what: str) -> None:
    hints = get_type_hints(kind)
    for name, value in fields.items():
        if name not in kind.__struct_fields__:
            raise InvalidExperiment(
                f"A {what} has no field {name[:80]!r}.",
                remedy=did_you_mean(name[:80], kind.__struct_fields__, what="fields"),
                field=name[:80],
            )
        inner = _structs_in(hints[name])
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, dict) and inner:
                _check_names(_closest(inner, part), part, what)


def _structs_in(hint: Any) -> list[type[msgspec.Struct]]:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return [hint]
    return [found for argument in get_args(hint) for found in _structs_in(argument)]


def _closest(kinds: list[type[msgspec.Struct]], part: Mapping[str, Any]) -> type[msgspec.Struct]:
    """Of a union's structs the one whose fields are most like the given names."""

    def likeness(kind: type[msgspec.Struct]) -> int:
        return sum(
            bool(difflib.get_close_matches(name, kind.__struct_fields__, n=1)) for name in part
        )

    return max(kinds, key=likeness)


def _merged(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        before = merged.get(name)
        if isinstance(before, dict) and isinstance(value, Mapping):
            merged[name] = _merged(before, value)
        else:
            merged[name] = value
    return merged
