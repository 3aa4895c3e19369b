"""When a call is worth repeating, and how long to wait before.

Retries multiply load exactly when there is too much of it. So there is one layer of them in
this server, with a budget: a token bucket that each first attempt fills by a share and each
retry empties by one (Google SRE book, ch. 21; Finagle's RetryBudget). The pause is drawn
between zero and a bound that doubles ("full jitter": M. Brooker, "Exponential Backoff And
Jitter", AWS Architecture Blog, 2015), and never ends before a `Retry-After`.
"""

from dataclasses import dataclass
from random import Random
from typing import Final

from ragstone.domain.errors import (
    ModelFailed,
    ModelProtocolError,
    ModelRateLimited,
    ModelUnreachable,
    RagstoneError,
)

_FIRST_TOKENS: Final = 1.0
"""What a server that has just begun may repeat."""
_MOST_TOKENS: Final = 10.0
"""Saved in calm times; more would let a burst of retries through when calm ends."""
_LONGEST_PAUSE: Final = 2.0
_SHORT_RETRY_AFTER: Final = 2.0
"""Seconds a question may wait for the same endpoint; longer, another one or an extract answers."""
_MARGIN: Final = 0.001
"""A timer may fire a moment early; `Retry-After` may not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySettings:
    """See `settings.ResilienceSettings`."""

    budget: float = 0.1
    attempts: int = 2
    base_seconds: float = 0.1


class RetryBudget:
    """So that attempts are at most `1 + share` times the first attempts, in the long run."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._tokens = _FIRST_TOKENS if share > 0 else 0.0

    def deposit(self) -> None:
        """A first attempt was made."""
        self._tokens = min(_MOST_TOKENS, self._tokens + self._share)

    def withdraw(self) -> bool:
        """Whether a retry may be made now; it is then paid for."""
        if self._tokens < 1.0 - 1e-9:  # ten tenths are a little less than one
            return False
        self._tokens -= 1.0
        return True


def is_worth_repeating(error: RagstoneError) -> bool:
    """Whether the same call at the same endpoint may do better in a moment.

    Not a timeout: the time is spent. Not a quota, a key, an unknown model or a rejected
    request: those stay. Not our own refusals. A rate limit only when it says that it is short.
    """
    if isinstance(error, ModelRateLimited) and error.retry_after is None:
        return False
    if (error.retry_after or 0.0) > _SHORT_RETRY_AFTER:
        return False
    return type(error) in _REPEATED


_REPEATED: Final = (ModelUnreachable, ModelFailed, ModelProtocolError, ModelRateLimited)


class Retries:
    """One endpoint's policy and budget."""

    def __init__(self, settings: RetrySettings, *, random: Random) -> None:
        self._settings = settings
        self._random = random
        self.budget = RetryBudget(settings.budget)

    def pause(self, error: RagstoneError, *, attempts: int, time_left: float) -> float | None:
        """Seconds to wait before the next attempt, paid from the budget; None: give up.

        `attempts` have been made. `time_left` is what the pause has to fit into.
        """
        if attempts >= self._settings.attempts or not is_worth_repeating(error):
            return None
        bound = min(_LONGEST_PAUSE, self._settings.base_seconds * 2 ** (attempts - 1))
        seconds = (error.retry_after or 0.0) + _MARGIN + self._random.uniform(0.0, bound)
        if seconds >= time_left or not self.budget.withdraw():
            return None
        return seconds
