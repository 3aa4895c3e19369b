"""What the engine refused with, as the error that it raised."""

from typing import Final

import msgspec

from ragstone.domain.errors import (
    Conflict,
    DependencyError,
    Forbidden,
    InvalidRequest,
    NotFound,
    Overloaded,
    RagstoneError,
    StartupError,
    Unauthenticated,
)


class _Said(msgspec.Struct):
    code: str
    message: str
    remedy: str | None = None
    param: str | None = None
    retry_after: float | None = None


class _Refusal(msgspec.Struct):
    error: _Said


_DECODER: Final = msgspec.json.Decoder(_Refusal)

_HANDED_ON: Final = (Conflict, DependencyError, InvalidRequest, NotFound, Overloaded)
"""What a question may raise. Anything else is a fault between gateway and engine."""


def refusal_of(status: int, body: bytes, failure: type[DependencyError]) -> RagstoneError:
    """`failure` where the answer says nothing that a question may raise."""
    try:
        said = _DECODER.decode(body).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return failure(f"The engine answered with status {status} and no reason.")
    known = _CLASSES.get(said.code)
    if known is not None and issubclass(known, _HANDED_ON):
        return _made(known, said)
    if known is not None and issubclass(known, Unauthenticated | Forbidden):
        return failure(
            "The engine refused this gateway's token.",
            remedy="Give engine.token the same value here and there.",
            field="engine.token",
        )
    return failure(f"The engine failed: {said.message[:200]}")


def startup_error(code: str, message: str, remedy: str | None, field: str | None) -> StartupError:
    """As another process raised it."""
    known = _CLASSES.get(code, StartupError)
    kind = known if issubclass(known, StartupError) else StartupError
    return kind(message, remedy=remedy, field=field)


def _made(kind: type[RagstoneError], said: _Said) -> RagstoneError:
    return kind(said.message, remedy=said.remedy, field=said.param, retry_after=said.retry_after)


def _by_code(root: type[RagstoneError]) -> dict[str, type[RagstoneError]]:
    """The most general class of each code."""
    found: dict[str, type[RagstoneError]] = {}
    level = [root]
    while level:
        for kind in level:
            found.setdefault(kind.code, kind)
        level = [child for kind in level for child in kind.__subclasses__()]
    return found


_CLASSES: Final = _by_code(RagstoneError)
