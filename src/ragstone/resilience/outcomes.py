"""What a call to a dependency has been, judged by the class of the error that ended it."""

from typing import Final, Literal

from ragstone.domain.errors import (
    BudgetExhausted,
    CircuitOpen,
    DeadlineExceeded,
    DependencyBusy,
    DependencyError,
    EmbedderRejected,
    ModelAuthentication,
    ModelFailed,
    ModelNotFound,
    ModelQuotaExhausted,
    ModelRateLimited,
    ModelRejectedRequest,
    ModelTimedOut,
    Overloaded,
    RagstoneError,
    RecordsUnavailable,
    TooManyRequests,
)

CallOutcome = Literal[
    "ok",
    "error",
    "timeout",
    "rate_limited",
    "set_aside",
    "rejected",
    "cancelled",
    "out_of_time",
    "circuit_open",
    "busy",
]
"""The last two and some of `out_of_time` never reached the endpoint."""

_OUTCOMES: Final[tuple[tuple[tuple[type[Exception], ...], CallOutcome], ...]] = (
    ((ModelRateLimited,), "rate_limited"),
    ((ModelTimedOut, TimeoutError), "timeout"),
    ((ModelQuotaExhausted, ModelAuthentication, ModelNotFound), "set_aside"),
    ((ModelRejectedRequest, EmbedderRejected), "rejected"),
    ((CircuitOpen, DependencyBusy), "busy"),
    ((DependencyError,), "error"),
    ((RagstoneError,), "rejected"),  # a filter or a field that cannot be: the endpoint works
)
"""The first that fits; anything else is an `error`."""


def outcome_of(error: BaseException, *, had_fair_chance: bool) -> CallOutcome:
    """Of a call that was sent. A fair chance: see `dependency`."""
    if not isinstance(error, Exception):
        return "cancelled"  # CancelledError, GeneratorExit
    if isinstance(error, BudgetExhausted | TooManyRequests | RecordsUnavailable):
        return "cancelled"  # nothing could be reserved, with the permit in hand: nothing was sent
    if isinstance(error, DeadlineExceeded):
        return "timeout" if had_fair_chance else "out_of_time"
    for kinds, outcome in _OUTCOMES:
        if isinstance(error, kinds):
            return outcome
    return "error"


def outcome_of_refusal(error: BaseException) -> CallOutcome:
    """Of a call that was not sent."""
    match error:
        case CircuitOpen():
            return "circuit_open"
        case DeadlineExceeded():
            return "out_of_time"
        case DependencyBusy() | Overloaded():
            return "busy"
        case _:
            return "cancelled"


def is_overload(error: Exception) -> bool:
    """Whether the endpoint refused the call for want of room, as far as can be told."""
    return isinstance(error, ModelRateLimited | ModelFailed)
