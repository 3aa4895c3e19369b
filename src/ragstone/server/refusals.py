"""Refusing in time: a server with ten times its load refuses more than it answers.

A refusal is made from the head of the request, as soon as it is known who asks. It is counted in
the metrics; the log gets one line a second with how many there were.
"""

import asyncio
from collections import Counter
from typing import Final

import structlog
from starlette.types import Send

from ragstone.domain.errors import (
    BudgetExhausted,
    DeadlineExceeded,
    Overloaded,
    RagstoneError,
    TooManyRequests,
)
from ragstone.server.errors import rendered
from ragstone.server.rate_limits import RateLimitHeaders

_LOG_SECONDS: Final = 1.0
_log = structlog.get_logger("ragstone.request")


def is_refusal(error: RagstoneError) -> bool:
    """Whether nothing was wrong but the moment: too much to do, too late for it, or all spent."""
    return isinstance(error, Overloaded | TooManyRequests | DeadlineExceeded | BudgetExhausted)


class RefusalLog:
    """One line a second at most."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def count(self, code: str) -> None:
        if not self._counts:
            asyncio.get_running_loop().call_later(_LOG_SECONDS, self._tell)
        self._counts[code] += 1

    def _tell(self) -> None:
        counts, self._counts = self._counts, Counter()
        _log.warning("refused", seconds=_LOG_SECONDS, **counts)


async def send_refusal(
    refusal: RagstoneError, trace_id: str, limits: RateLimitHeaders, send: Send
) -> None:
    """Without the `Response` that all other answers have: a refusal is to cost little."""
    status, said, body = rendered(refusal, trace_id)
    headers = [(name.lower().encode(), value.encode()) for name, value in said.items()]
    headers += limits
    headers.append((b"content-type", b"application/json"))
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
