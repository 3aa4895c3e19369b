"""Errors as HTTP: the one place where statuses are known.

The body is a superset of OpenAI's, so that its clients understand ours:
`{"error": {"message", "type", "param", "code", "remedy", "retriable", "retry_after",
"trace_id"}}`.
"""

import math
from typing import Final

import msgspec
from starlette.responses import Response

from ragstone.domain import errors
from ragstone.domain.errors import RagstoneError

_STATUS: Final[list[tuple[type[RagstoneError], int, str]]] = [
    (errors.PayloadTooLarge, 413, "invalid_request_error"),
    (errors.RequestTimeout, 408, "timeout_error"),
    (errors.InvalidRequest, 400, "invalid_request_error"),
    (errors.Unauthenticated, 401, "authentication_error"),
    (errors.Forbidden, 403, "permission_error"),
    (errors.NotFound, 404, "not_found_error"),
    (errors.Conflict, 409, "invalid_request_error"),
    (errors.Unreadable, 422, "invalid_request_error"),
    (errors.TooManyRequests, 429, "rate_limit_error"),
    (errors.BudgetExhausted, 429, "insufficient_quota"),
    (errors.Overloaded, 503, "overloaded_error"),
    (errors.DeadlineExceeded, 504, "timeout_error"),
    (errors.ModelError, 502, "upstream_error"),
    (errors.DependencyError, 503, "upstream_error"),
    (RagstoneError, 500, "server_error"),
]
"""The first class that fits decides, so subclasses stand before their parents."""

_found: Final[dict[type[RagstoneError], tuple[int, str]]] = {}
_encoder: Final = msgspec.json.Encoder()


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """What a client learns of a failure."""

    message: str
    type: str
    param: str | None
    code: str
    remedy: str | None
    retriable: bool
    retry_after: float | None
    trace_id: str


class ErrorResponse(msgspec.Struct, frozen=True):
    error: ErrorBody


def status_of(error: RagstoneError) -> int:
    return _entry(error)[0]


def error_body(error: RagstoneError, trace_id: str) -> ErrorBody:
    return ErrorBody(
        message=error.message,
        type=_entry(error)[1],
        param=error.field,
        code=error.code,
        remedy=error.remedy,
        retriable=error.retriable,
        retry_after=_retry_after(error),
        trace_id=trace_id,
    )


def error_response(error: RagstoneError, trace_id: str) -> Response:
    status, headers, body = rendered(error, trace_id)
    return Response(body, status, headers, "application/json")


def rendered(error: RagstoneError, trace_id: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and JSON body."""
    headers = {"X-Trace-Id": trace_id, "X-Content-Type-Options": "nosniff"}
    if isinstance(error, errors.RequestTimeout):
        headers["Connection"] = "close"  # the rest of the body is not waited for
    if (seconds := _retry_after(error)) is not None:
        headers["Retry-After"] = str(max(1, math.ceil(seconds)))
    if isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return status_of(error), headers, _encoder.encode(ErrorResponse(error_body(error, trace_id)))


def stopping() -> errors.ShuttingDown:
    """What a request is told that the server's stop cut off."""
    return errors.ShuttingDown(
        "The server is stopping; the answer was cut off.",
        remedy="Ask again: another process, or the next, answers.",
        retry_after=1.0,
    )


def _retry_after(error: RagstoneError) -> float | None:
    """What is away and does not say until when: a second, so that clients pace themselves."""
    if error.retry_after is None and error.retriable and status_of(error) == 503:
        return 1.0
    return error.retry_after


def _entry(error: RagstoneError) -> tuple[int, str]:
    kind = type(error)
    if kind not in _found:
        _found[kind] = next(
            (status, name) for cls, status, name in _STATUS if issubclass(kind, cls)
        )
    return _found[kind]
