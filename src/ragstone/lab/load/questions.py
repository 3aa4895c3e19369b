"""What is asked, and with which keys."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from ragstone.domain.errors import InvalidExperiment
from ragstone.domain.principal import PRIORITIES, Priority
from ragstone.domain.query import Turn


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One question of a file. A line of text is a question alone."""

    question: str
    collection: str | None = None
    conversation: list[Turn] = []
    """Earlier messages, oldest first."""
    key: str | None = None
    """Name of a key, or a key itself; None: the arrival's."""
    priority: Priority | None = None
    """For the report; the target goes by the key."""


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One API key of a file, and what share of the arrivals has it."""

    key: str
    name: str = ""
    """In the report, where the key itself never stands."""
    weight: float = 1.0
    priority: Priority | None = None
    """For the report; the target knows its keys' priorities."""


_T = TypeVar("_T")

_REMEDY: Final = 'Give one question a line, or JSON lines like {"question": "..."}.'
_KEY_REMEDY: Final = 'Give JSON lines like {"key": "...", "name": "shop", "weight": 3}.'


def sample_questions() -> tuple[Question, ...]:
    """The hand-written questions about the sample corpus's help documents."""
    from ragstone.sample.questions import load_help_questions

    return tuple(Question(question=one.text) for one in load_help_questions())


def read_questions(path: Path) -> tuple[Question, ...]:
    """A text file, or JSON lines with `question` (or `text`). Raises `InvalidExperiment`."""
    found = []
    for number, line in _lines(path, "questions", _REMEDY):
        if not line.startswith("{"):
            found.append(Question(question=line))
            continue
        record = _record(line, path, number, _REMEDY)
        if "text" in record:  # as in the sample corpus's files of queries
            record = {"question": record["text"], **record}
        found.append(_converted(record, Question, path, number, _REMEDY))
    return tuple(found)


def read_keys(path: Path) -> tuple[Key, ...]:
    """JSON lines with `key`, or one key a line. Raises `InvalidExperiment`."""
    found = []
    for number, line in _lines(path, "keys", _KEY_REMEDY):
        record = {"key": line}
        if line.startswith("{"):
            record = _record(line, path, number, _KEY_REMEDY)
        found.append(_converted(record, Key, path, number, _KEY_REMEDY))
    return named_keys(found)


def named_keys(keys: list[Key]) -> tuple[Key, ...]:
    """Those without a name get one by their place. Raises `InvalidExperiment`."""
    if any(not key.key.isascii() or not key.key.isprintable() for key in keys):
        raise InvalidExperiment(
            "A key has characters that no HTTP header can carry.",
            remedy="Give the keys as `ragstone keys create` printed them.",
        )
    if any(not 0 <= key.weight < 1e9 for key in keys) or not any(key.weight for key in keys):
        raise InvalidExperiment(
            "The weights of the keys cannot be used.",
            remedy="Give numbers from 0 up, at least one of them above 0.",
        )
    return tuple(
        msgspec.structs.replace(key, name=key.name or f"key {number}")
        for number, key in enumerate(keys, start=1)
    )


def with_own_keys(
    questions: tuple[Question, ...], keys: tuple[Key, ...]
) -> tuple[tuple[Question, ...], tuple[Key, ...]]:
    """Questions whose `key` is a key's name, and the keys with those that only questions have.

    The latter stand behind `keys`, and no arrival draws them.
    """
    known = {name: key.name for key in keys for name in (key.name, key.key)}
    own = dict.fromkeys(one.key for one in questions if one.key and one.key not in known)
    added = [Key(key=secret, name=f"key {n}") for n, secret in enumerate(own, len(keys) + 1)]
    if added:
        keys = (*keys, *named_keys(added))
        known |= {key.key: key.name for key in added}
    return tuple(
        msgspec.structs.replace(one, key=known[one.key]) if one.key else one for one in questions
    ), keys


def _lines(path: Path, what: str, remedy: str) -> Iterator[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidExperiment(
            f"The {what} in {path} cannot be read: {reason}.", remedy=remedy
        ) from None
    lines = [(n, line.strip()) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise InvalidExperiment(f"There are no {what} in {path}.", remedy=remedy)
    yield from lines


def _record(line: str, path: Path, number: int, remedy: str) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except (ValueError, TypeError):
        raise InvalidExperiment(
            f"Line {number} of {path} is not valid JSON.", remedy=remedy
        ) from None


def _converted(record: dict[str, Any], kind: type[_T], path: Path, number: int, remedy: str) -> _T:
    try:
        return msgspec.convert(record, kind)
    except msgspec.ValidationError as error:
        raise InvalidExperiment(
            f"Line {number} of {path} does not fit: {error}.",
            remedy=f"{remedy} Priorities are {', '.join(PRIORITIES)}.",
        ) from None
