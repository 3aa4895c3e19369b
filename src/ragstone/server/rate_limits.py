"""What a limited caller is told with every response: how its quotas stand.

The names are those that OpenAI's API uses, so that its clients read them.
"""

from typing import Final

from ragstone.domain.principal import Principal
from ragstone.domain.quota import RateLimit
from ragstone.system import System

RateLimitHeaders = list[tuple[bytes, bytes]]

_NAMES: Final = {
    unit: tuple(b"x-ratelimit-%b-%b" % (what, unit) for what in (b"limit", b"remaining", b"reset"))
    for unit in (b"requests", b"tokens")
}


def limit_headers(system: System, principal: Principal) -> RateLimitHeaders:
    """As they stand now: tokens that a question still uses are taken at their upper bound. None
    for a caller without limits."""
    quotas = system.services.quotas
    standing = None if quotas is None else quotas.standing(principal)
    if standing is None:
        return []
    found = [] if standing.requests is None else _headers(b"requests", standing.requests)
    return found if standing.tokens is None else found + _headers(b"tokens", standing.tokens)


def _headers(unit: bytes, limit: RateLimit) -> RateLimitHeaders:
    said = (b"%d" % limit.limit, b"%d" % limit.remaining, b"%.3fs" % limit.reset_seconds)
    return list(zip(_NAMES[unit], said, strict=True))
