"""Lists in pages, each of which names the place, as `next`, behind which the following begins."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TypeVar

import msgspec

from ragstone.domain.errors import InvalidRequest

_T = TypeVar("_T", bound=msgspec.Struct)


def word_for(place: msgspec.Struct) -> str:
    """Tells nobody anything; of letters that an address may hold."""
    return urlsafe_b64encode(msgspec.msgpack.encode(place)).decode().rstrip("=")


def place_of(word: str | None, places: "msgspec.msgpack.Decoder[_T]") -> _T | None:
    """None for the first page. Raises `InvalidRequest` for what no page named as `next`."""
    if not word:
        return None
    try:
        return places.decode(urlsafe_b64decode(word + "=" * (-len(word) % 4)))
    except (ValueError, msgspec.MsgspecError):
        raise InvalidRequest(
            f"`after` is {word[:40]!r}, which no page named.",
            remedy="Give the `next` of the page before, or leave it out for the first page.",
            field="after",
        ) from None
