"""What a model server's refusals mean: HTTP statuses and error bodies to `ModelError`s.

Decided by status and by the provider's own error code, never by searching a sentence. The
key never appears: a refusal of the key is told in our words only, and everywhere else it is
struck out should a provider echo it.
"""

import email.utils
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import aiohttp
import msgspec

from ragstone.domain.errors import (
    DeadlineExceeded,
    ModelAuthentication,
    ModelError,
    ModelFailed,
    ModelNotFound,
    ModelProtocolError,
    ModelQuotaExhausted,
    ModelRateLimited,
    ModelRejectedRequest,
    ModelTimedOut,
    ModelUnreachable,
    did_you_mean,
)
from ragstone.ports import Clock

MAX_PROVIDER_MESSAGE: Final = 300
"""Characters of a provider's own words that are passed on."""

_QUOTA_CODES: Final = frozenset(
    {"insufficient_quota", "billing_error", "billing_hard_limit_reached", "billing_not_active"}
)
_UNKNOWN_MODEL_CODES: Final = frozenset({"model_not_found"})

_STATUS_OF_TYPE: Final[Mapping[str, int]] = {
    # OpenAI's and Anthropic's error types, for errors that arrive inside a stream.
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "api_error": 500,
    "server_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


class ProviderProblem(msgspec.Struct, frozen=True):
    """The error object of both wire formats."""

    message: str | None = None
    type: str | None = None
    code: str | int | None = None

    @property
    def codes(self) -> frozenset[str]:
        return frozenset(str(code) for code in (self.type, self.code) if code is not None)


class _ErrorBody(msgspec.Struct, frozen=True):
    error: ProviderProblem | str | None = None
    message: str | None = None
    detail: Any = None


_error_body = msgspec.json.Decoder(_ErrorBody)


class UpstreamErrors:
    """Makes the errors of one model server.

    `server` is its host and port; the clock serves `Retry-After` dates.
    """

    def __init__(self, *, server: str, model: str, api_key: str, clock: Clock) -> None:
        self._server = server
        self._model = model
        self._api_key = api_key
        self._clock = clock

    def from_status(self, status: int, headers: Mapping[str, str], body: bytes) -> ModelError:
        """The error for an HTTP response that is not a success."""
        if 300 <= status < 400:
            return self.protocol(f"answered with a redirect ({status})")
        problem = read_problem(body)
        return self._error(status, problem, retry_after_seconds(headers, self._clock.time()))

    def from_stream(self, problem: ProviderProblem | str) -> ModelError:
        """The error for an error object inside a stream that began well."""
        if isinstance(problem, str):
            problem = ProviderProblem(message=problem)
        return self._error(_status_of(problem), problem, None)

    def _error(
        self, status: int, problem: ProviderProblem, retry_after: float | None
    ) -> ModelError:
        codes = problem.codes
        if status == 402 or codes & _QUOTA_CODES:
            return self._quota_exhausted()
        if status in (401, 403):
            return self._authentication(status)
        if status == 404 or codes & _UNKNOWN_MODEL_CODES:
            return self.model_not_found(())
        if status == 429:
            return ModelRateLimited(
                f"The model server {self._server} refuses further requests for now (429).",
                remedy="Wait, or raise the rate limit of the account.",
                retry_after=retry_after,
            )
        words = self._words(problem)
        if status in (408, 409) or status >= 500:
            return ModelFailed(
                f"The model server {self._server} failed ({status}){words}",
                remedy="Try again; if it lasts, look into the model server's log.",
                retry_after=retry_after,
            )
        return ModelRejectedRequest(
            f"The model server {self._server} rejected the request ({status}){words}",
            remedy="Check RAGSTONE_LLM__MODEL and the settings under RAGSTONE_LLM__.",
            field="llm.model",
        )

    def _quota_exhausted(self) -> ModelQuotaExhausted:
        return ModelQuotaExhausted(
            f"The account at {self._server} has no quota or credit left.",
            remedy="Add credit, or set RAGSTONE_LLM__API_KEY to a key of another account.",
            field="llm.api_key",
        )

    def _authentication(self, status: int) -> ModelAuthentication:
        given = "did not accept the API key" if self._api_key else "asks for an API key"
        return ModelAuthentication(
            f"The model server {self._server} {given} ({status}).",
            remedy="Set RAGSTONE_LLM__API_KEY to a key that may use this model.",
            field="llm.api_key",
        )

    def model_not_found(self, known: Sequence[str]) -> ModelNotFound:
        """`known`: what the server lists, where it was asked."""
        hint = did_you_mean(self._model, known, what="models") + " " if known else ""
        return ModelNotFound(
            f"The model server {self._server} does not know the model {self._model!r}.",
            remedy=f"{hint}Check RAGSTONE_LLM__MODEL, and that RAGSTONE_LLM__BASE_URL ends where "
            "the API begins (often in /v1).",
            field="llm.model",
        )

    def unreachable(self, error: Exception) -> ModelError:
        """The error for a call that got no HTTP response."""
        if isinstance(error, aiohttp.ClientResponseError):
            return self.protocol("answered with something that is not HTTP")
        return ModelUnreachable(
            f"The model server {self._server} {_why_unreachable(error)}.",
            remedy="Check that it runs and that RAGSTONE_LLM__BASE_URL is its address.",
            field="llm.base_url",
        )

    def protocol(self, what: str) -> ModelProtocolError:
        """The error for an answer that is not the wire format; `what` follows the name."""
        return ModelProtocolError(
            f"The model server {self._server} {what}.",
            remedy="Check that RAGSTONE_LLM__BASE_URL names a language model's API, and that "
            "RAGSTONE_LLM__PROVIDER is its wire format.",
            field="llm.base_url",
        )

    def deadline(self) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"The model server {self._server} did not finish in time.",
            remedy="Try again, or raise RAGSTONE_LLM__TIMEOUT_SECONDS.",
            field="llm.timeout_seconds",
        )

    def silent(self, limit: Literal["first_token", "gap"], seconds: float) -> ModelTimedOut:
        """The error for a call that was accepted and says nothing, or nothing more."""
        what = "first content" if limit == "first_token" else "further content"
        return ModelTimedOut(
            f"The model server {self._server} sent no {what} for {seconds:g} seconds.",
            remedy=f"Try again, or raise RAGSTONE_LLM__{limit.upper()}_SECONDS.",
            field=f"llm.{limit}_seconds",
        )

    def _words(self, problem: ProviderProblem) -> str:
        """The provider's sentence as the end of ours: one line, bounded, without the key."""
        words = " ".join((problem.message or "").split())
        if self._api_key:
            words = words.replace(self._api_key, "***")
        if len(words) > MAX_PROVIDER_MESSAGE:
            words = words[: MAX_PROVIDER_MESSAGE - 1] + "…"
        return f": {words}" if words else "."


def read_problem(body: bytes) -> ProviderProblem:
    """The error object of a response's body; an empty one where it holds none."""
    try:
        decoded = _error_body.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ProviderProblem()
    if isinstance(decoded.error, ProviderProblem):
        return decoded.error
    detail = decoded.detail if isinstance(decoded.detail, str) else None
    return ProviderProblem(message=decoded.error or decoded.message or detail)


def retry_after_seconds(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait by `retry-after-ms` or `Retry-After` (RFC 9110, 10.2.3).

    None where there is none, or it is neither a number nor a date; a date in the past is 0.
    """
    if (milliseconds := _finite(headers.get("retry-after-ms"))) is not None:
        return max(0.0, milliseconds / 1000)
    value = headers.get("Retry-After")
    if (seconds := _finite(value)) is not None:
        return max(0.0, seconds)
    try:
        date = email.utils.parsedate_to_datetime(value or "")
        return max(0.0, date.timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _finite(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _status_of(problem: ProviderProblem) -> int:
    for code in (problem.code, problem.type):
        if isinstance(code, str) and code in _STATUS_OF_TYPE:
            return _STATUS_OF_TYPE[code]
        if code is not None and str(code).isdecimal() and 400 <= int(code) < 600:
            return int(code)
    return 500


def _why_unreachable(error: Exception) -> str:
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "has a name that cannot be resolved"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return "could not be trusted: its TLS certificate or handshake failed"
        case aiohttp.ServerTimeoutError():
            return "did not accept a connection in time"
        case aiohttp.ServerDisconnectedError():
            return "closed the connection before it answered"
        case aiohttp.ClientConnectorError(os_error=ConnectionRefusedError()):
            return "refuses connections"
        case _:
            return "cannot be reached"
