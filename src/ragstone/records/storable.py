"""What text the databases can hold, decided in one place so that every adapter agrees.

PostgreSQL cannot hold NUL and no driver can encode a lone surrogate (as in a file name that
is not UTF-8). In content each such character is replaced by one U+FFFD, so that character
offsets stay true; in a name it is refused, because two different names must never become one.
"""

import math
import re
from collections.abc import Sequence

from ragstone.domain.document import Metadata, Scalar
from ragstone.domain.errors import InvalidRequest
from ragstone.domain.job import DocumentError

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable_text(text: str) -> str:
    """The text with each character that cannot be stored replaced by U+FFFD."""
    if text.isascii() and "\x00" not in text:
        return text
    return _UNSTORABLE.sub("\ufffd", text)


def storable_name(name: str) -> str:
    """The name itself. Raises `InvalidRequest` for one that cannot be stored."""
    if _UNSTORABLE.search(name):
        raise InvalidRequest(
            f"The name {name!r} holds a character that cannot be stored.",
            remedy="Leave NUL characters and unpaired surrogates out of names.",
        )
    return name


def storable_metadata(metadata: Metadata) -> Metadata:
    """A copy that JSON can hold. Raises `InvalidRequest` for a number that is not finite."""
    kept: Metadata = {}
    for field, value in metadata.items():
        if isinstance(value, list):
            kept[storable_text(field)] = [_scalar(field, item) for item in value]
        else:
            kept[storable_text(field)] = _scalar(field, value)
    return kept


def storable_errors(errors: Sequence[DocumentError]) -> list[DocumentError]:
    """Copies whose names and reasons can be stored."""
    return [
        DocumentError(
            external_id=storable_text(error.external_id),
            code=error.code,
            message=storable_text(error.message),
        )
        for error in errors
    ]


def _scalar(field: str, value: Scalar) -> Scalar:
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidRequest(
            f"The metadata field {field!r} holds {value}, which is not a finite number.",
            remedy="Leave the field out where there is no value.",
            field=field,
        )
    return value
