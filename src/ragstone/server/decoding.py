"""A request's JSON as what it says; what does not fit is refused with its place and what may stand
there."""

import re
from collections.abc import Iterator
from typing import Final, TypeVar

import msgspec
from msgspec import inspect

from ragstone.domain.errors import InvalidRequest, nearest

_T = TypeVar("_T")

_MISFIT: Final = re.compile(r"(.+?)(?: - at `\$\.?([^`]*)`)?", re.DOTALL)
"""What msgspec says, and the place below the body: `conversation[0].role`."""

_MISSING: Final = re.compile(r"Object missing required field `(.+)`", re.DOTALL)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.+)`", re.DOTALL)
_STEP: Final = re.compile(r"\[[^\]]*\]|[^.\[]+")

_SHOWN: Final = 40
"""Characters of a name that was sent."""

_HALF_PAIR: Final = re.compile(
    rb"(?<!\\)(?:\\\\)*(\\u[dD][89abAB][0-9a-fA-F]{2})(?!\\u[dD][c-fC-F])"
)

_EXPLAINED_BYTES: Final = 64_000
"""Larger bodies are not searched for what is wrong with them: it takes 30 ms a megabyte."""


def decode(raw: bytes, decoder: "msgspec.json.Decoder[_T]") -> _T:
    """Raises `InvalidRequest` saying where and why."""
    if not raw.strip():
        raise InvalidRequest("The request has no body.", remedy="Send a JSON object.")
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise _misfit(str(error), decoder.type) from None
    except RecursionError:
        raise InvalidRequest(
            "The request body is nested too deeply.", remedy="See /docs for its fields."
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(
            f"The request body is not valid JSON: {_reason(raw, error)}.",
            remedy="Send UTF-8 encoded JSON.",
        ) from None


def _misfit(said: str, expected: type) -> InvalidRequest:
    found = _MISFIT.fullmatch(said)
    what, path = (found[1], found[2] or "") if found else (said, "")
    kinds = list(_at(inspect.type_info(expected), _STEP.findall(path)))
    if missing := _MISSING.fullmatch(what):
        field = _below(path, missing[1])
        remedy = "Give it: /docs says what it may be."
        return InvalidRequest(
            f"The request does not say its `{field}`.", remedy=remedy, field=field
        )
    if unknown := _UNKNOWN.fullmatch(what):
        field = _below(path, unknown[1][:_SHOWN])
        remedy = _names(unknown[1], [each.encode_name for kind in kinds for each in _fields(kind)])
        return InvalidRequest(f"There is no field `{field}`.", remedy=remedy, field=field)
    values = ", ".join(str(value) for kind in kinds for value in _values(kind))
    remedy = f"Give one of: {values}." if values else "See /docs for its fields."
    return InvalidRequest(
        f"The request does not fit: {_plain(said)}.", remedy=remedy, field=path or None
    )


def _names(sent: str, known: list[str]) -> str:
    meant = nearest(sent[:_SHOWN], known)
    if meant:
        return f"Did you mean `{meant}`?"
    return f"Known ones: {', '.join(known)}." if known else "See /docs for its fields."


def _at(kind: inspect.Type, steps: list[str]) -> Iterator[inspect.Type]:
    """What may stand at the end of the path below `kind`."""
    if isinstance(kind, inspect.UnionType):
        for each in kind.types:
            yield from _at(each, steps)
    elif not steps:
        yield kind
    elif steps[0].startswith("["):
        for each in _elements(kind):
            yield from _at(each, steps[1:])
    else:
        for field in _fields(kind):
            if field.encode_name == steps[0]:
                yield from _at(field.type, steps[1:])


def _elements(kind: inspect.Type) -> list[inspect.Type]:
    if isinstance(kind, inspect.DictType):
        return [kind.value_type]
    return [kind.item_type] if isinstance(kind, inspect.CollectionType) else []


def _fields(kind: inspect.Type) -> tuple[inspect.Field, ...]:
    return kind.fields if isinstance(kind, inspect.StructType) else ()


def _values(kind: inspect.Type) -> list[object]:
    if isinstance(kind, inspect.EnumType):
        return [each.value for each in kind.cls]
    return list(kind.values) if isinstance(kind, inspect.LiteralType) else []


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _reason(raw: bytes, error: Exception) -> str:
    half = _HALF_PAIR.search(raw) if len(raw) <= _EXPLAINED_BYTES else None
    if half is not None:
        return f"it holds {half[1].decode()}, one half of a surrogate pair without the other"
    return _plain(str(error))


def _plain(said: str) -> str:
    """As the rest of a sentence: `Expected ...` becomes `expected ...`, `JSON ...` stays."""
    text = said.rstrip(".")
    return text if text[:2].isupper() else text[:1].lower() + text[1:]
