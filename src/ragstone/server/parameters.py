"""Query parameters: an operation names those it takes, and others are refused, since who writes
`?colection=help` means something by it."""

from collections import Counter
from collections.abc import Collection
from typing import Final

from starlette.requests import Request

from ragstone.domain.errors import InvalidRequest, nearest

_MOST_ON_A_PAGE: Final = 1000
_SHOWN: Final = 40
"""Characters of a name that was sent."""


def require_known(request: Request, known: Collection[str] | None) -> None:
    """None: whatever is sent is ignored. Raises `InvalidRequest`."""
    if known is None or not request.scope["query_string"]:
        return
    sent = Counter(name for name, _ in request.query_params.multi_items())
    for name, times in sent.items():
        if name not in known:
            raise _unknown(name, known)
        if times > 1:
            raise InvalidRequest(
                f"The query parameter `{name}` is given {times} times.",
                remedy="Give it once.",
                field=name,
            )


def page_size(text: str | None, *, default: int = 100) -> int:
    """How many a page is to hold, as the parameter `limit` says. Raises `InvalidRequest`."""
    if text is None:
        return default
    # Python refuses to read thousands of digits, so the length is looked at first.
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if not 1 <= number <= _MOST_ON_A_PAGE:
        raise InvalidRequest(
            f"`limit` is {text[:_SHOWN]!r}.",
            remedy=f"Give a number from 1 to {_MOST_ON_A_PAGE}.",
            field="limit",
        )
    return number


def _unknown(name: str, known: Collection[str]) -> InvalidRequest:
    shown = name[:_SHOWN]
    meant = nearest(shown, known)
    remedy = f"Did you mean `{meant}`? " if meant is not None else ""
    names = ", ".join(f"`{each}`" for each in known)
    return InvalidRequest(
        f"There is no query parameter {shown!r} here.",
        remedy=f"{remedy}Known ones: {names}." if known else "Leave it out: there are none.",
        field=shown,
    )
